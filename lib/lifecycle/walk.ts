/**
 * A lifecycle step by step, in any order: for whoever wants to know what a kernel answers when the order is another. Every step is asked of the
 * kernel; only the rules that a design has and no kernel keeps are this package's, and `guards: false` switches them off.
 */
import type { Sys } from '../kernel/sys.ts';
import { Kvm } from '../kvm/kvm.ts';
import type { Mapping } from '../memory/mapping.ts';
import { CallCounter } from './call-counter.ts';
import { hex, OWN } from './contents.ts';
import { declareComplete, fillInitial, loadCopy } from './initialise.ts';
import { convert } from './intents-guest.ts';
import { atSlot, hostReads, hostWrites } from './intents-host.ts';
import { Ledger, type StepResult } from './ledger.ts';
import { choose, type LifecycleOptions } from './lifecycle.ts';
import { PAGE, Stage } from './stage.ts';
import { LibraryRefusal, type State, type Step } from './words.ts';

const SECOND_TRY = 9;

const BODIES = {
  bind: ({ stage, state }) => {
    // A slot of its own each time: what the kernel refuses is the place, not the number.
    const { slot } = state === 'unbound' || state === 'brand-new' ? stage.bind() : stage.bind(SECOND_TRY);
    return { detail: `memslot ${slot}` };
  },
  'bind-elsewhere': ({ stage }) => {
    const other = stage.openAnother();
    try {
      stage.needMemfile().bindElsewhere(other.vm);
    } finally {
      other.close();
    }
    return { detail: 'a second VM bound the same file', enforcedBy: 'nobody' };
  },
  fill: ({ stage, hold }) => fillInitial(stage, hold),
  'load-copy': ({ stage }) => {
    const needed = stage.design.fillsBeforeBind && stage.technology.initialContents === 'copied-in';
    return needed ? loadCopy(stage) : { detail: 'the launch has what it takes: nothing is given once more' };
  },
  'drop-mappings': ({ drop }) => {
    drop();
    return { detail: 'the host has no mapping of its own' };
  },
  'hold-mapping': ({ stage, hold }) => {
    hold(stage.needMemfile().hostMap({ offset: 0, length: PAGE }));
    return { detail: 'the host keeps a mapping of the first page', enforcedBy: 'nobody' };
  },
  'host-reads': ({ stage }) => hostReads(stage, 0),
  'host-writes': ({ stage }) => hostWrites(stage, 0, 0xcc, 'at that moment'),
  'slot-reads': ({ stage }) => {
    const seen = atSlot(stage, 0, (mapping, at) => mapping.readU64(at));
    return { detail: `at the slot's address the host reads ${hex(seen)}`, enforcedBy: 'nobody' };
  },
  complete: ({ stage, state }) => {
    // Where the launch has ended, the kernel is asked before any rule of a design.
    if (state === 'initialized') stage.needGuarded().finish(stage.needVcpu());
    return declareComplete(stage);
  },
  'guest-reads': async ({ stage }) => {
    const { value } = await stage.guest('load', { address: stage.at(0) });
    return { detail: 'the guest reads its first page', reported: { found: hex(value) } };
  },
  'guest-writes': async ({ stage }) => {
    await stage.guest('store', { address: stage.at(OWN), value: 0x1234n });
    return { detail: 'the guest writes its second page' };
  },
  'to-shared': ({ stage }) => convert(stage, 'shared'),
  'to-private': ({ stage }) => convert(stage, 'private'),
} satisfies Record<string, (walk: WalkView) => StepResult | Promise<StepResult>>;

export type WalkStep = keyof typeof BODIES;
export const WALK_STEPS = Object.keys(BODIES) as readonly WalkStep[];

interface WalkView {
  readonly stage: Stage;
  readonly state: State;
  readonly hold: (mapping: Mapping) => void;
  readonly drop: () => void;
}

/** The state that a step leads to when it goes through. */
function stateAfter(step: WalkStep, state: State): State {
  if (step === 'bind' && (state === 'unbound' || state === 'brand-new')) return 'bound';
  return step === 'complete' && state === 'bound' ? 'initialized' : state;
}

export class Walk {
  readonly #kvm: Kvm;
  readonly #stage: Stage;
  readonly #ledger: Ledger;
  #held: Mapping[] = [];
  #closed = false;

  private constructor(kvm: Kvm, stage: Stage, ledger: Ledger) {
    this.#kvm = kvm;
    this.#stage = stage;
    this.#ledger = ledger;
  }

  /** A VM with its guest, whose launch has begun, and a memfile that nobody has bound. Throws what `runLifecycle` throws, and KernelError. */
  static async open(sys: Sys, options: LifecycleOptions = {}): Promise<Walk> {
    const { size = 8 * PAGE, guards = true, signal = new AbortController().signal } = options;
    const counter = new CallCounter(sys.kernel);
    const kvm = Kvm.open(counter.sys);
    let stage: Stage | undefined;
    try {
      const { design, technology } = choose(kvm, options);
      const made = new Stage(kvm, design, technology, { size, guards, signal });
      stage = made;
      const ledger = new Ledger(counter, { ...options, memory: (error) => made.memory(made.placeOf(error)) });
      made.guarded = technology.open(kvm);
      made.memfile = made.makeMemfile();
      made.makeShared();
      made.startLaunch();
      await ledger.step({ name: 'create', to: design.initialState }, () => ({ detail: 'VM, guest and memfile' }));
      return new Walk(kvm, made, ledger);
    } catch (error) {
      stage?.close();
      kvm.close();
      throw error;
    }
  }

  get state(): State {
    return this.#ledger.state;
  }

  get steps(): readonly Step[] {
    return this.#ledger.steps;
  }

  /**
   * One step. What is refused, by whomever, is recorded and leaves the state as it is. Throws StateError when the walk is closed, and the reason of
   * the signal when that is aborted.
   */
  async do(step: WalkStep): Promise<Step> {
    if (this.#closed) throw new LibraryRefusal('closed', step, [], 'the lifecycle is over');
    const { state } = this;
    const view: WalkView = {
      stage: this.#stage,
      state,
      hold: (mapping) => this.#held.push(mapping),
      drop: () => {
        for (const mapping of this.#held.splice(0)) mapping.close();
      },
    };
    return this.#ledger.step({ name: step, to: stateAfter(step, state), expect: 'any' }, () => BODIES[step](view));
  }

  /** Closes everything. Closing again does nothing. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#ledger.step({ name: 'close', to: 'closed' }, () => {
      for (const mapping of this.#held.splice(0)) mapping.close();
      this.#stage.close();
      this.#kvm.close();
      return { detail: 'slots deleted, file, VM and vCPU closed' };
    });
  }
}
