/** Guest-physical memory of a trust domain: the shared bit names the side; code and page tables are private always. */
import { EIO } from '../errno.ts';
import { servesNoShared } from '../kvm/slot.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import type { BusAccess, BusMiss, GuestBus } from '../vcpu/bus.ts';
import type { TdxVm } from './tdx-vm.ts';

export const VE_VECTOR = 20;
const NO_CODE = -1;
const VIRTUALIZATION: BusMiss = { kind: 'exception', vector: VE_VECTOR, errorCode: NO_CODE };
/** Code cannot come from shared memory: a page fault with a reserved bit. */
const SHARED_CODE: BusMiss = { kind: 'exception', vector: 14, errorCode: 0x19 };
const DEAD: BusMiss = { kind: 'unreachable', errno: EIO };
/** A file that serves both sides has no shared pages that the guest could get. */
const DISAGREES: BusMiss = { kind: 'retry' };

export class TdxBus implements GuestBus {
  readonly #domain: TdxVm;
  readonly #vcpu: Vcpu;

  constructor(domain: TdxVm, vcpu: Vcpu) {
    this.#domain = domain;
    this.#vcpu = vcpu;
  }

  get generation(): number {
    return this.#domain.vm.memory.generation;
  }

  page(gfn: number, access: BusAccess): Uint8Array | BusMiss {
    const { sharedFrame } = this.#domain;
    const shared = gfn >= sharedFrame && this.#vcpu.cpu.hasWideEntries;
    if (!shared) return this.#private(gfn);
    return access === 'fetch' ? SHARED_CODE : this.#shared(gfn - sharedFrame, access === 'write');
  }

  table(gfn: number): Uint8Array | BusMiss {
    return this.#private(gfn);
  }

  #shared(gfn: number, write: boolean): Uint8Array | BusMiss {
    const { memory } = this.#domain.vm;
    const found = memory.sided(gfn, write, false);
    if (!(found instanceof Uint8Array)) return found.kind === 'mmio' ? VIRTUALIZATION : found;
    return servesNoShared(memory.slotAt(gfn), gfn) ? DISAGREES : found;
  }

  #private(gfn: number): Uint8Array | BusMiss {
    const found = this.#domain.faultIn(gfn);
    if ('kind' in found) return found;
    if (found.entry.state === 'mapped') return found.page;
    // Without the attribute the guest is told; with it, KVM gives the domain up.
    if (!this.#domain.stopsUnaccepted) return VIRTUALIZATION;
    this.#domain.vm.dead = true;
    return DEAD;
  }
}
