import type { Integer } from '../numbers.ts';
import type { GuestProgram } from '../program.ts';
import type { MemoryImage } from '../start.ts';

/** EL1 with its own stack pointer, and every interrupt masked. */
const PSTATE_EL1H_MASKED = 0x3c5n;

/** Core registers to set before the first KVM_RUN. */
export interface CoreStart {
  readonly pc: bigint;
  readonly pstate: bigint;
  readonly sp_el1: bigint;
}

/** Everything that a host sets before the first KVM_RUN, on a vCPU that was initialised (KVM_ARM_VCPU_INIT). */
export interface StartState {
  /** To be written to guest memory: the program. */
  readonly memory: readonly MemoryImage[];
  readonly core: CoreStart;
}

export interface StartOptions {
  /** Initial stack pointer: programs of operations use no stack, `asm` might (default 0). */
  readonly stack?: Integer;
}

/**
 * How to start a program: at EL1, translation off, as a reset leaves it. After an MMIO exit the vCPU owes the end of that instruction, which
 * moves the pc: finish it (`completeIo`) before another program is started.
 */
export function startState(program: GuestProgram, options: StartOptions = {}): StartState {
  return {
    memory: [{ gpa: program.base, bytes: program.bytes }],
    core: { pc: BigInt(program.entry), pstate: PSTATE_EL1H_MASKED, sp_el1: BigInt(options.stack ?? 0) },
  };
}
