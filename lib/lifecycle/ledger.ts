/** The step ledger: runs each step, counts its calls, and turns what happened into an outcome. Nothing here decides an outcome. */
import { KernelError, MemoryFaultError, UnsupportedError } from '../kernel/errors.ts';
import type { CallCounter } from './call-counter.ts';
import {
  type Enforcer,
  GuestFault,
  LibraryRefusal,
  type MemoryRun,
  NotTried,
  type Outcome,
  type Promised,
  type State,
  type Step,
  Unexpected,
} from './words.ts';

/** What the body of a step may say about itself. */
export interface StepResult {
  readonly detail: string;
  /** Default `ok`. */
  readonly outcome?: 'ok' | 'lost' | 'unsupported';
  /** Default `kernel`. */
  readonly enforcedBy?: Enforcer;
  readonly reported?: Readonly<Record<string, string>>;
}

export interface StepOptions {
  readonly name: string;
  /** The state after the step, if it goes through. Default: the state stays. */
  readonly to?: State;
  /** What the design promises. Default `ok`. `any`: nothing, and the outcome is only recorded. */
  readonly expect?: Promised;
}

interface Verdict {
  readonly outcome: Outcome;
  readonly enforcedBy: Enforcer;
  readonly detail: string;
  readonly hint?: string;
  readonly errno?: string;
  readonly fault?: string;
  readonly reported?: Readonly<Record<string, string>>;
  /** What a {@link Rule} is compared with; absent for what went through. */
  readonly by?: string;
  /** False for contents that are wrong although every call went through, and for refusals that say nothing of any rule. */
  readonly sound: boolean;
}

/** The host lacks something: such a refusal is nobody's rule. */
const SHORTAGE: readonly string[] = ['ENOMEM', 'EMFILE', 'ENFILE'];

function keeps(promised: Promised, { outcome, by }: Verdict): boolean {
  if (promised === 'any') return true;
  if (typeof promised === 'string') return outcome === promised;
  return outcome === promised.outcome && by !== undefined && promised.by.includes(by);
}

/** Told of every step, for progress. */
export interface StepObserver {
  /** How the memfile looks, after a step that ended with this error or with none. */
  readonly memory?: ((error: unknown) => readonly MemoryRun[] | undefined) | undefined;
  readonly onStepStart?: ((name: string) => void) | undefined;
  readonly onStep?: ((step: Step) => void) | undefined;
}

export class Ledger {
  readonly steps: Step[] = [];
  readonly #counter: CallCounter;
  readonly #observer: StepObserver;
  #state: State = 'none';

  constructor(counter: CallCounter, observer: StepObserver = {}) {
    this.#counter = counter;
    this.#observer = observer;
  }

  get state(): State {
    return this.#state;
  }

  get passed(): boolean {
    return this.steps.length > 0 && this.steps.every((step) => step.expected);
  }

  /** Runs one step. Errors that are outcomes are recorded; any other is a bug or an interruption and is thrown on. */
  async step(options: StepOptions, body: () => StepResult | Promise<StepResult>): Promise<Step> {
    this.#observer.onStepStart?.(options.name);
    const from = this.#state;
    const calls = this.#counter.count;
    const start = process.hrtime.bigint();
    let verdict: Verdict;
    let failure: unknown;
    try {
      verdict = { outcome: 'ok', enforcedBy: 'kernel', sound: true, ...(await body()) };
    } catch (error) {
      failure = error;
      verdict = verdictOf(error);
    }
    const micros = Number(process.hrtime.bigint() - start) / 1000;
    const went = verdict.outcome === 'ok' || verdict.outcome === 'lost';
    if (went && options.to !== undefined) this.#state = options.to;
    const { sound, by, ...shown } = verdict;
    const expect = failure instanceof NotTried ? 'any' : (options.expect ?? 'ok');
    const kept = keeps(expect, verdict);
    const made = this.#counter.count - calls;
    const memory = this.#observer.memory?.(failure);
    const step: Step = {
      name: options.name,
      from,
      to: this.#state,
      ...shown,
      ...(kept || typeof expect === 'string' ? {} : { detail: `${shown.detail}; promised: ${expect.by.join(' or ')}` }),
      calls: made,
      micros,
      ...(memory === undefined ? {} : { memory }),
      ...(expect === 'any' ? {} : { promised: typeof expect === 'string' ? expect : expect.outcome }),
      expected: sound && kept,
    };
    this.steps.push(step);
    this.#observer.onStep?.(step);
    return step;
  }
}

function verdictOf(error: unknown): Verdict {
  if (error instanceof KernelError) {
    const call = error.request ?? error.syscall;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    return {
      outcome: 'refused',
      enforcedBy: 'kernel',
      errno: error.code,
      detail: `${call} is refused`,
      ...hint,
      by: `${call} ${error.code}`,
      sound: !SHORTAGE.includes(error.code),
    };
  }
  if (error instanceof MemoryFaultError) {
    const { kind, code, offset, bytesDone } = error.fault;
    const detail = `${kind} (${code}) at offset 0x${offset.toString(16)} after ${bytesDone} bytes; the process goes on`;
    const fault = `${kind} ${code}`;
    return { outcome: 'fault', enforcedBy: 'kernel', fault, detail, by: fault, sound: true };
  }
  if (error instanceof GuestFault) {
    const fault = `${error.exit.name} ${error.exit.code}`;
    return { outcome: 'fault', enforcedBy: 'kernel', fault, detail: error.message, by: fault, sound: true };
  }
  if (error instanceof LibraryRefusal) {
    return { outcome: 'refused', enforcedBy: 'library', detail: error.message, by: 'library', sound: true };
  }
  if (error instanceof UnsupportedError) {
    return { outcome: 'unsupported', enforcedBy: 'kernel', detail: `${error.missing}: ${error.reason}`, sound: true };
  }
  if (error instanceof NotTried) {
    return { outcome: 'unsupported', enforcedBy: 'kernel', detail: error.message, sound: true };
  }
  if (error instanceof Unexpected) {
    return { outcome: 'lost', enforcedBy: 'nobody', detail: error.message, sound: false };
  }
  throw error;
}
