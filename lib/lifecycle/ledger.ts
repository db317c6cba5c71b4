/** The step ledger: runs each step, counts its calls, and turns what happened into an outcome. Nothing here decides an outcome. */
import { KernelError, MemoryFaultError, UnsupportedError } from '../kernel/errors.ts';
import type { CallCounter } from './call-counter.ts';
import type { Promised } from './designs/index.ts';
import {
  type Enforcer,
  GuestFault,
  LibraryRefusal,
  type MemoryRun,
  type Outcome,
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
  /** False for contents that are wrong although every call went through. */
  readonly sound: boolean;
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
    const { sound, ...shown } = verdict;
    const { expect = 'ok' } = options;
    const made = this.#counter.count - calls;
    const memory = this.#observer.memory?.(failure);
    const step: Step = {
      name: options.name,
      from,
      to: this.#state,
      ...shown,
      calls: made,
      micros,
      ...(memory === undefined ? {} : { memory }),
      ...(expect === 'any' ? {} : { promised: expect }),
      expected: sound && (expect === 'any' || verdict.outcome === expect),
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
      sound: true,
    };
  }
  if (error instanceof MemoryFaultError) {
    const { kind, code, offset, bytesDone } = error.fault;
    const detail = `${kind} (${code}) at offset 0x${offset.toString(16)} after ${bytesDone} bytes; the process goes on`;
    return { outcome: 'fault', enforcedBy: 'kernel', fault: `${kind} ${code}`, detail, sound: true };
  }
  if (error instanceof GuestFault) {
    const fault = `${error.exit.name} ${error.exit.code}`;
    return { outcome: 'fault', enforcedBy: 'kernel', fault, detail: error.message, sound: true };
  }
  if (error instanceof LibraryRefusal) {
    return { outcome: 'refused', enforcedBy: 'library', detail: error.message, sound: true };
  }
  if (error instanceof UnsupportedError) {
    return { outcome: 'unsupported', enforcedBy: 'kernel', detail: `${error.missing}: ${error.reason}`, sound: true };
  }
  if (error instanceof Unexpected) {
    return { outcome: 'lost', enforcedBy: 'nobody', detail: error.message, sound: false };
  }
  throw error;
}
