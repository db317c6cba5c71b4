/** Which firmware calls KVM answers, denies or hands out: KVM_ARM_VM_SMCCC_FILTER. arch/arm64/kvm/hypercalls.c, kvm_smccc_set_filter */
import { EBUSY, EEXIST, EINVAL } from '../../errno.ts';

export type SmcccAction = 'handle' | 'deny' | 'forward';

const ACTIONS: readonly SmcccAction[] = ['handle', 'deny', 'forward'];
/** Calls about the processor itself are never handed out. */
const RESERVED = [
  { first: 0x8000_0000, last: 0x8000_ffff },
  { first: 0xc000_0000, last: 0xc000_ffff },
] as const;

interface Range {
  readonly first: number;
  readonly last: number;
  readonly action: SmcccAction;
}

export class SmcccFilter {
  readonly #ranges: Range[] = [];

  set(base: number, count: number, action: number, pad: Uint8Array, hasRun: boolean): number {
    if (pad.some((byte) => byte !== 0)) return -EINVAL;
    const last = (base + count - 1) >>> 0;
    const chosen = ACTIONS[action];
    if (count === 0 || last < base || chosen === undefined) return -EINVAL;
    if (hasRun) return -EBUSY;
    if (this.#ranges.length === 0) {
      for (const range of RESERVED) this.#ranges.push({ ...range, action: 'handle' });
    }
    if (this.#ranges.some((range) => range.first <= last && base <= range.last)) return -EEXIST;
    this.#ranges.push({ first: base, last, action: chosen });
    return 0;
  }

  actionFor(number: number): SmcccAction {
    return this.#ranges.find(({ first, last }) => first <= number && number <= last)?.action ?? 'handle';
  }
}
