/** The vocabulary of a lifecycle: the states of April 2022, outcomes, and who enforced what. */
import { StateError } from '../kernel/errors.ts';

/** `none` is before creation; the rest is the discussion's own vocabulary. */
export type State =
  | 'none'
  /** Created; nothing is allowed but bind and close. */
  | 'unbound'
  /** Created by a design without UNBOUND: an ordinary shared file that no technology knows about. */
  | 'brand-new'
  /** Tied to a VM, in the initial state of its technology. */
  | 'bound'
  /** Initialisation declared complete: earlier mappings are gone, no new host access. */
  | 'initialized'
  | 'closed';

export type Outcome =
  | 'ok'
  /** A call or a request was turned down. */
  | 'refused'
  /** An access to memory met a signal. */
  | 'fault'
  /** It went through, and data did not survive it. */
  | 'lost'
  /** The kernel at hand cannot do it. */
  | 'unsupported';

/**
 * A rule that somebody keeps, by what can be said of the answer: the call and its errno (`mmap ENODEV`), signal and code, exit and errno, or
 * `library`. Any other refusal breaks the promise: it has another cause.
 */
export interface Rule {
  readonly outcome: 'refused' | 'fault';
  readonly by: readonly string[];
}

export const refusedBy = (...by: string[]): Rule => ({ outcome: 'refused', by });
export const faultsBy = (...by: string[]): Rule => ({ outcome: 'fault', by });

/** What a design answers; a run is compared with it. `any`: the technology or the kernel decides, and it is only recorded. */
export type Promised = 'ok' | 'lost' | 'unsupported' | 'any' | Rule;

/**
 * Who makes the rule of the step hold. `kernel`: it acted or refused. `library`: the design's rule is kept by this package only; another
 * program would get through. `nobody`: the discussion asks for a rule here and nothing keeps it.
 */
export type Enforcer = 'kernel' | 'library' | 'nobody';

/** What the guest and the host find in a part of the memfile. */
export type MemoryState =
  /** The guest's alone. */
  | 'private'
  /** Host and guest. */
  | 'shared'
  /** Nothing is there. */
  | 'unbacked'
  /** The access of this step faulted there. */
  | 'faulting';

/** A run of pages of the memfile that are alike, in bytes from its start. */
export interface MemoryRun {
  readonly offset: number;
  readonly length: number;
  readonly state: MemoryState;
}

export interface Step {
  readonly name: string;
  readonly from: State;
  readonly to: State;
  readonly outcome: Outcome;
  /** By name, for a refusal by the kernel. */
  readonly errno?: string;
  /** The signal and its code, for a fault of the host: `SIGBUS BUS_ADRERR`; the exit and its errno, for one of the guest: `KVM_EXIT_MEMORY_FAULT EFAULT`. */
  readonly fault?: string;
  readonly enforcedBy: Enforcer;
  /** System calls made. */
  readonly calls: number;
  /** Wall time of the step in microseconds, the guest's included. */
  readonly micros: number;
  readonly detail: string;
  /** What usually causes the refusal, and the next step. */
  readonly hint?: string;
  /** Values that the guest reported in this step, in hexadecimal, by what they mean. */
  readonly reported?: Readonly<Record<string, string>>;
  /** The memfile after the step, from its start to its end without gaps; absent while there is none. */
  readonly memory?: readonly MemoryRun[];
  /** The outcome that the design promises; absent where it promises none and the step only finds out. */
  readonly promised?: Outcome;
  /** Whether the outcome is what the design promises, if anything, and every content as it must be. */
  readonly expected: boolean;
}

/** How the steps of a lifecycle that passed are to be read: what was promised and kept, and what was only found out. */
export function verdictText(steps: readonly Step[]): string {
  const promised = steps.filter((step) => step.promised !== undefined).length;
  const found = steps.length - promised;
  return `passed: ${promised} steps as the design promises${found === 0 ? '' : `, ${found} recorded without a promise`}`;
}

export interface LifecycleReport {
  readonly backend: 'kvm' | 'sim';
  /** Release of the kernel, as `uname -r` gives it. */
  readonly kernel: string;
  readonly arch: string;
  readonly design: string;
  readonly technology: string;
  /** Size of the private memory in bytes. */
  readonly size: number;
  readonly passed: boolean;
  readonly steps: readonly Step[];
}

/**
 * A rule that this package keeps for a design whose kernel does not. Where the kernel has the rule, the kernel is asked and this is never thrown;
 * with `guards: false` it is not thrown at all.
 */
export class LibraryRefusal extends StateError {
  readonly state: State;
  /** What was asked for. */
  readonly step: string;
  /** What can be asked for in that state. */
  readonly allowed: readonly string[];

  constructor(state: State, step: string, allowed: readonly string[], why: string) {
    super(`${step} in state ${state}: ${why}; allowed now: ${allowed.join(', ') || 'nothing'}`);
    this.name = 'StateError';
    this.state = state;
    this.step = step;
    this.allowed = allowed;
  }
}

/** Something that the step needs, and that is not its subject, cannot be had: nothing is learnt of the promise. */
export class NotTried extends Error {}

/** What has no place in the guest yet cannot be asked for: there is no gpa to name. */
export const notBound = (): LibraryRefusal =>
  new LibraryRefusal('unbound', 'ask for a place of the memfile', ['bind', 'close'], 'it has no gpa yet');

/** The exit by which KVM tells of such an access: KVM_EXIT_MEMORY_FAULT, or KVM_EXIT_MEMORY_ERROR of the 2022 series. */
export interface GuestFaultExit {
  readonly name: string;
  readonly gpa: number;
  /** Bytes. */
  readonly size: number;
  readonly private: boolean;
  /** The errno of KVM_RUN by name. */
  readonly code: string;
}

/** The guest touched memory that its state or its backing denies it: an outcome, and the vCPU can go on once that is mended. */
export class GuestFault extends Error {
  readonly exit: GuestFaultExit;

  constructor(exit: GuestFaultExit) {
    const { name, code, gpa, size } = exit;
    super(
      `${name} (${code}) on ${exit.private ? 'private' : 'shared'} gpa 0x${gpa.toString(16)}, ${size} bytes; the instruction was not executed`,
    );
    this.name = 'GuestFault';
    this.exit = exit;
  }
}

/** An outcome that is no error of the program: contents that are not what they must be, an exit that nobody expects. */
export class Unexpected extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'Unexpected';
  }
}
