/** Writes that KVM kept back (KVM_REGISTER_COALESCED_MMIO): one ring for a VM, seen through every vCPU's run page. */
import type { Vcpu } from '../kvm/vcpu.ts';
import { KVM_PAGE_OFFSET_X86, kvm_coalesced_mmio, kvm_coalesced_mmio_ring } from '../uapi/index.ts';
import type { Bus } from './bus.ts';

const PAGE = 4096;
const AT = kvm_coalesced_mmio.offsets;
const RING = kvm_coalesced_mmio_ring;
const ENTRY = kvm_coalesced_mmio.size;
const ENTRIES = Math.floor((PAGE - RING.size) / ENTRY);

export class CoalescedRing {
  readonly #page: DataView;
  readonly #base = KVM_PAGE_OFFSET_X86.value.KVM_COALESCED_MMIO_PAGE_OFFSET * PAGE;

  constructor(vcpu: Vcpu) {
    this.#page = vcpu.runPage;
  }

  /** Carries out, in order, what was kept back: before the exit that came after it. How many there were. */
  drain(ports: Bus, memory: Bus): number {
    const page = this.#page;
    const base = this.#base;
    let count = 0;
    for (;;) {
      const first = page.getUint32(base + RING.offsets.first, true);
      if (first === page.getUint32(base + RING.offsets.last, true)) return count;
      const entry = base + RING.size + (first % ENTRIES) * ENTRY;
      const address = Number(page.getBigUint64(entry + AT.phys_addr, true));
      const length = Math.min(8, page.getUint32(entry + AT.len, true));
      const bus = page.getUint32(entry + AT.pio, true) !== 0 ? ports : memory;
      const data = new Uint8Array(page.buffer, page.byteOffset + entry + AT.data, length).slice();
      // Before the device sees it: one that throws does not see it again.
      page.setUint32(base + RING.offsets.first, (first + 1) % ENTRIES, true);
      bus.write(address, data);
      count++;
    }
  }
}
