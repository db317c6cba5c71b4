/** The memory attributes of a VM: which gpas are private. They belong to gpas, not to slots. virt/kvm/kvm_main.c, kvm_vm_ioctl_set_mem_attributes */
import { EINVAL } from '../errno.ts';
import { IntervalMap } from '../interval-map.ts';
import { isAligned, pageOf } from '../page.ts';

const WRAP = 1n << 64n;

export interface AttributeRequest {
  readonly address: bigint;
  readonly size: bigint;
  readonly attributes: bigint;
  readonly flags: bigint;
}

export class MemoryAttributes {
  readonly #private = new IntervalMap<true>();
  readonly #supported: bigint;
  readonly #changed: (from: number, to: number, isPrivate: boolean) => void;

  /**
   * @param supported bits that this VM knows: none without private memory.
   * @param changed called when the pages [from, to) became private or shared.
   */
  constructor(supported: bigint, changed: (from: number, to: number, isPrivate: boolean) => void) {
    this.#supported = supported;
    this.#changed = changed;
  }

  /** Places at which the attribute changes: what the state costs. */
  get fragments(): number {
    return this.#private.size;
  }

  isPrivate(gfn: number): boolean {
    return this.#private.get(gfn) === true;
  }

  /** 0 or a negated errno. */
  set({ address, size, attributes, flags }: AttributeRequest): number {
    if (flags !== 0n) return -EINVAL;
    if ((attributes & ~this.#supported) !== 0n) return -EINVAL;
    if (size === 0n || address + size >= WRAP) return -EINVAL;
    if (!isAligned(address) || !isAligned(size)) return -EINVAL;
    const from = pageOf(address);
    const to = pageOf(address + size);
    const value = attributes === 0n ? undefined : true;
    const old = this.#private.rangeAt(from);
    // Already so: nothing is zapped.
    if (old.value === value && old.to >= to) return 0;
    this.#private.set(from, to, value);
    this.#changed(from, to, value === true);
    return 0;
  }
}
