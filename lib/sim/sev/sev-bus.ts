/**
 * Guest-physical memory of SEV and SEV-ES guests. The C-bit of a page-table entry chooses between plaintext and what lies in memory; code and
 * page tables are always encrypted, and everything is without page tables that could say. AMD64 manual volume 2, 15.34.5.
 */
import type { GuestMemory } from '../kvm/guest-memory.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import type { PhysicalMemory } from '../physical.ts';
import type { BusAccess, BusMiss, GuestBus } from '../vcpu/bus.ts';
import { VC, VC_VECTOR } from './protected-cpu.ts';
import { C_FRAME, type SevBase } from './sev-base.ts';

/** Memory that only the hypervisor could emulate, for guests that it cannot look into. */
export const NOT_MEMORY: BusMiss = { kind: 'exception', vector: VC_VECTOR, errorCode: VC.nestedFault };

export class SevBus implements GuestBus {
  protected readonly technology: SevBase;
  protected readonly memory: GuestMemory;
  protected readonly physical: PhysicalMemory;
  readonly #vcpu: Vcpu;

  constructor(technology: SevBase, vcpu: Vcpu) {
    this.technology = technology;
    this.memory = technology.vm.memory;
    this.physical = technology.vm.process.physical;
    this.#vcpu = vcpu;
  }

  get generation(): number {
    return this.memory.generation;
  }

  page(gfn: number, access: BusAccess): Uint8Array | BusMiss {
    const marked = gfn >= C_FRAME;
    const secret = marked || access === 'fetch' || !this.#vcpu.cpu.hasWideEntries;
    return this.reach(marked ? gfn - C_FRAME : gfn, access === 'write', secret);
  }

  table(gfn: number, write: boolean): Uint8Array | BusMiss {
    return this.reach(gfn >= C_FRAME ? gfn - C_FRAME : gfn, write, true);
  }

  /** KVM knows no private memory of these guests: every fault is one on userspace_addr. */
  protected reach(gfn: number, write: boolean, secret: boolean): Uint8Array | BusMiss {
    const found = this.memory.page(gfn, write ? 'write' : 'read');
    if (!(found instanceof Uint8Array)) {
      return found.kind === 'mmio' && this.technology.esActive ? NOT_MEMORY : found;
    }
    return this.face(gfn, found, write, secret, false);
  }

  /** The page with or without the key. */
  protected face(gfn: number, raw: Uint8Array, write: boolean, secret: boolean, isPrivate: boolean): Uint8Array {
    const frame = this.memory.frameOf(gfn, isPrivate);
    if (frame === undefined) return raw;
    const number = this.physical.number(frame);
    const { pages } = this.technology;
    if (secret) return pages.plain(number, raw, write);
    pages.expose(number);
    return raw;
  }
}
