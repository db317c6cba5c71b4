/**
 * Guest-physical memory of SEV-SNP guests. The C-bit names the side, KVM checks it against the attribute, and the processor lets a guest at a
 * private page only when it owns the frame at that gpa and has validated it.
 */
import { servesNoShared } from '../kvm/slot.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import type { BusMiss } from '../vcpu/bus.ts';
import { VC, VC_VECTOR } from './protected-cpu.ts';
import { NOT_MEMORY, SevBus } from './sev-bus.ts';
import type { SnpVm } from './snp-vm.ts';

const NOT_VALIDATED: BusMiss = { kind: 'exception', vector: VC_VECTOR, errorCode: VC.notValidated };
/** The table and the page tables disagree, and nothing that KVM does changes that. */
const DISAGREES: BusMiss = { kind: 'retry' };

export class SnpBus extends SevBus {
  readonly #snp: SnpVm;

  constructor(snp: SnpVm, vcpu: Vcpu) {
    super(snp, vcpu);
    this.#snp = snp;
  }

  protected override reach(gfn: number, write: boolean, secret: boolean): Uint8Array | BusMiss {
    // Private pages are always mapped for writing.
    const found = this.memory.sided(gfn, secret || write, secret);
    if (!(found instanceof Uint8Array)) return found.kind === 'mmio' ? NOT_MEMORY : found;
    if (!secret) {
      // A file that serves both sides only has pages that belong to the guest.
      return servesNoShared(this.memory.slotAt(gfn), gfn) ? DISAGREES : found;
    }
    const entry = this.#snp.own(gfn);
    if (entry === undefined || entry.gfn !== gfn || entry.asid !== this.#snp.asid) return DISAGREES;
    return entry.validated ? this.face(gfn, found, write, true, true) : NOT_VALIDATED;
  }
}
