/** KVM_PRE_FAULT_MEMORY with what it says about its progress, and the attribute of a frame as it shows it. */
import type { Int } from '../kernel/kernel.ts';
import type { Result } from '../kernel/raw.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Vm } from '../kvm/vm.ts';
import { KVM_PRE_FAULT_MEMORY, kvm_pre_fault_memory } from '../uapi/index.ts';
import { Broken, same } from './check.ts';
import type { Context } from './context.ts';
import type { Needs } from './needs.ts';
import { PAGE } from './two-sided.ts';

export const PRE_FAULT: Needs = { caps: { KVM_CAP_PRE_FAULT_MEMORY: 1 } };

export interface PreFaulted {
  readonly result: Result<number>;
  /** What the struct holds afterwards. */
  readonly gpa: bigint;
  readonly size: bigint;
}

/** One call. */
export function preFault(vcpu: Vcpu, gpa: Int, size: Int, flags: Int = 0): PreFaulted {
  const range = kvm_pre_fault_memory.encode({ gpa, size, flags });
  const result = vcpu.raw.ioctl(KVM_PRE_FAULT_MEMORY, range);
  const at = kvm_pre_fault_memory.offsets;
  const view = new DataView(range.buffer, range.byteOffset, range.byteLength);
  return { result, gpa: view.getBigUint64(at.gpa, true), size: view.getBigUint64(at.size, true) };
}

const ENOENT = 2;
const EFAULT = 14;

/** The attribute of a frame that no slot covers: pre-faulting finds MMIO there when it is shared, and nothing to map when it is private. */
export function isPrivate(vcpu: Vcpu, gpa: Int): boolean {
  const range = kvm_pre_fault_memory.encode({ gpa, size: PAGE });
  // Below the errors with their decoded arguments: thousands of frames are looked at.
  const result = vcpu.sys.kernel.ioctl(vcpu.fd, KVM_PRE_FAULT_MEMORY.request, range);
  if (result === -ENOENT) return false;
  if (result === -EFAULT) return true;
  throw new Broken(`pre-faulting gpa 0x${gpa.toString(16)} without a slot`, 'ENOENT or EFAULT', String(result));
}

/** Frames without slots whose attributes are looked at one by one. */
export class Frames {
  readonly vm: Vm;
  readonly #vcpu: Vcpu;
  readonly base: number;

  constructor(t: Context, base: number) {
    this.vm = t.vm();
    this.#vcpu = this.vm.createVcpu();
    this.base = base;
  }

  /** Sets frames from (inclusive) to (exclusive), counted from the base. */
  set(from: number, to: number, isPrivate: boolean): void {
    this.vm.setMemoryAttributes(this.base + from * PAGE, (to - from) * PAGE, isPrivate ? 8 : 0);
  }

  /** Exactly these of the first `count` frames are private. */
  privateAre(expected: readonly number[], count: number, what: string): void {
    const found: number[] = [];
    for (let i = 0; i < count; i++) if (isPrivate(this.#vcpu, this.base + i * PAGE)) found.push(i);
    same(found, [...expected], `private frames ${what}`);
  }
}

/** from, from + 1, ... to - 1. */
export const span = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
