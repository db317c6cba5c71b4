/** What happens when a guest touches memory on the wrong side, or asks for a conversion: one policy for every vCPU of a machine. */
import { KernelError } from '../kernel/errors.ts';
import type { HypercallExit, MemoryFaultExit } from '../kvm/exits.ts';
import { KVM_HC, KVM_HC_ERROR, KVM_MAP_GPA_RANGE } from '../uapi/index.ts';
import type { MachineEnd, MachineMemory, Side } from './words.ts';

const PAGE = 4096;
const { KVM_EINVAL, KVM_ENOSYS, KVM_EFAULT } = KVM_HC_ERROR.value;
const ENCRYPTED = BigInt(KVM_MAP_GPA_RANGE.value.KVM_MAP_GPA_RANGE_ENCRYPTED);

export interface Conversion {
  readonly gpa: number;
  /** Bytes. */
  readonly size: number;
  readonly to: Side;
  /** `fault`: the guest touched it (implicit). `hypercall`: the guest asked (explicit). */
  readonly cause: 'fault' | 'hypercall';
  readonly vcpu: number;
}

/**
 * Whether a conversion is carried out. `refuse`: a fault ends the machine, a hypercall gets -KVM_EINVAL. Default: `convert`, always.
 */
export type ConversionPolicy = (conversion: Conversion) => 'convert' | 'refuse';

interface LastFault {
  readonly fault: MemoryFaultExit;
  /** Conversions of the whole machine at the time when it was answered. */
  readonly epoch: number;
}

const same = (a: MemoryFaultExit, b: MemoryFaultExit): boolean =>
  a.gpa === b.gpa && a.size === b.size && a.flags === b.flags;

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class Converter {
  readonly #memory: MachineMemory | undefined;
  readonly #policy: ConversionPolicy;
  readonly #done: (conversion: Conversion) => void;
  readonly #last = new Map<number, LastFault>();
  #epoch = 0;

  constructor(
    memory: MachineMemory | undefined,
    policy: ConversionPolicy | undefined,
    done: (conversion: Conversion) => void,
  ) {
    this.#memory = memory;
    this.#policy = policy ?? (() => 'convert');
    this.#done = done;
  }

  #convert(conversion: Conversion): void {
    const { gpa, size, to } = conversion;
    this.#memory?.convert?.({ gpa, size }, to);
    this.#epoch++;
    this.#done(conversion);
  }

  /** The vCPU came back for another reason than a fault: it got on. */
  progress(vcpu: number): void {
    if (this.#last.size > 0) this.#last.delete(vcpu);
  }

  /** Undefined when the vCPU may run again. */
  fault(vcpu: number, fault: MemoryFaultExit): MachineEnd | undefined {
    const before = this.#last.get(vcpu);
    // Another vCPU may have converted the page back in between: then the guest quarrels with itself, and that is progress.
    if (before !== undefined && same(before.fault, fault) && before.epoch === this.#epoch) {
      return { kind: 'fault-loop', vcpu, faults: [before.fault, fault] };
    }
    const refused = (reason: string): MachineEnd => ({ kind: 'fault', vcpu, fault, reason });
    if (this.#memory?.convert === undefined) {
      // Nobody converts here; a fault that another party repairs may still go away once.
      this.#last.set(vcpu, { fault, epoch: this.#epoch });
      return before === undefined ? undefined : refused('the machine has no memory that can be converted');
    }
    const { gpa, size } = fault;
    const to: Side = fault.private ? 'private' : 'shared';
    const conversion: Conversion = { gpa, size, to, cause: 'fault', vcpu };
    if (this.#policy(conversion) === 'refuse') return refused(`the policy refuses to make it ${to}`);
    try {
      this.#convert(conversion);
    } catch (error) {
      return refused(textOf(error));
    }
    this.#last.set(vcpu, { fault, epoch: this.#epoch });
    return undefined;
  }

  /** What the hypercall returns to the guest, as KVM's own ones do: 0 or a negated KVM error. */
  hypercall(vcpu: number, exit: HypercallExit): bigint {
    const [gpa = 0n, pages = 0n, attributes = 0n] = exit.args;
    if (exit.nr !== KVM_HC.value.KVM_HC_MAP_GPA_RANGE || this.#memory?.convert === undefined)
      return -BigInt(KVM_ENOSYS);
    const size = pages * BigInt(PAGE);
    if (gpa % BigInt(PAGE) !== 0n || pages === 0n || gpa + size > BigInt(Number.MAX_SAFE_INTEGER)) {
      return -BigInt(KVM_EINVAL);
    }
    const to: Side = (attributes & ENCRYPTED) !== 0n ? 'private' : 'shared';
    const conversion: Conversion = { gpa: Number(gpa), size: Number(size), to, cause: 'hypercall', vcpu };
    if (this.#policy(conversion) === 'refuse') return -BigInt(KVM_EINVAL);
    try {
      this.#convert(conversion);
      return 0n;
    } catch (error) {
      // The guest named what is no RAM, or the kernel refused: it may go on with what it had.
      return -BigInt(error instanceof KernelError ? KVM_EFAULT : KVM_EINVAL);
    }
  }
}
