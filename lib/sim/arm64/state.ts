/** The architectural state of one vCPU at EL1 and EL0, with translation off. */
import { at, getPair, N, PC, SP, setPair, WORDS } from './registers.ts';
import { type Abandoned, EXCEPTION, STOPPED, type Stop } from './stop.ts';
import { SystemState } from './system-state.ts';

/** PSTATE as SPSR has it. */
const FLAGS_SHIFT = 28;
const DAIF_MASK = 0x3c0n;
const MODE_MASK = 0xfn;
export const EL0T = 0x0;
export const EL1T = 0x4;
export const EL1H = 0x5;
/** EL1h, D, A, I and F masked: a reset, and the entry to an exception. */
const RESET_PSTATE = 0x3c5n;
const IL = 0x0200_0000;
const CLASS_SHIFT = 26;
const SYNC_OFFSET = { [EL1T]: 0x000n, [EL1H]: 0x200n, [EL0T]: 0x400n } as const;

export interface Exception {
  readonly class: number;
  readonly syndrome: number;
  /** For FAR_EL1, where the exception has an address. */
  readonly address?: bigint;
}

export class State {
  readonly r: Int32Array = new Int32Array(WORDS);
  readonly system: SystemState;
  mode: typeof EL0T | typeof EL1T | typeof EL1H = EL1H;
  daif = DAIF_MASK;
  /** Bits of PSTATE that nothing here acts on: kept for whoever reads it. */
  #otherBits = 0n;
  /** Stack pointers of EL0 and EL1; the one in use is in `r`. */
  readonly #stacks: [el0: bigint, el1: bigint] = [0n, 0n];
  /** Exclusive monitor: the address and what was loaded. */
  monitor: { readonly low: number; readonly high: number; readonly size: number; value: bigint } | undefined;
  stop: Stop = { kind: 'budget' };
  exception: Exception = { class: 0, syndrome: 0 };

  constructor(id: number) {
    this.system = new SystemState(id);
  }

  get #stackInUse(): 0 | 1 {
    return this.mode === EL1H ? 1 : 0;
  }

  get pstate(): bigint {
    const { r } = this;
    let flags = 0n;
    for (let i = 0; i < 4; i++) flags = (flags << 1n) | BigInt(at(r, N + i));
    return (flags << BigInt(FLAGS_SHIFT)) | this.#otherBits | this.daif | BigInt(this.mode);
  }

  set pstate(value: bigint) {
    for (let i = 0; i < 4; i++) this.r[N + i] = Number((value >> BigInt(FLAGS_SHIFT + 3 - i)) & 1n);
    this.daif = value & DAIF_MASK;
    this.#otherBits = value & ~(DAIF_MASK | MODE_MASK | (0xfn << BigInt(FLAGS_SHIFT)));
    const mode = Number(value & MODE_MASK);
    this.#switch(mode === EL0T || mode === EL1T ? mode : EL1H);
  }

  /** SPSel. */
  selectStack(own: boolean): void {
    if (this.mode !== EL0T) this.#switch(own ? EL1H : EL1T);
  }

  #switch(mode: State['mode']): void {
    this.#stacks[this.#stackInUse] = getPair(this.r, SP);
    this.mode = mode;
    setPair(this.r, SP, this.#stacks[this.#stackInUse]);
  }

  /** SP_EL0 or SP_EL1. */
  getStack(level: 0 | 1): bigint {
    return level === this.#stackInUse ? getPair(this.r, SP) : this.#stacks[level];
  }

  setStack(level: 0 | 1, value: bigint): void {
    this.#stacks[level] = value;
    if (level === this.#stackInUse) setPair(this.r, SP, value);
  }

  reset(): void {
    this.r.fill(0);
    this.#stacks.fill(0n);
    this.pstate = RESET_PSTATE;
    this.monitor = undefined;
    this.system.reset();
  }

  /** To be thrown. */
  abandon(stop: Stop): Abandoned {
    this.stop = stop;
    return STOPPED;
  }

  /** To be thrown. */
  raise(exception: Exception): Abandoned {
    this.exception = exception;
    return EXCEPTION;
  }

  /** To be thrown, for instructions that do not exist, or not at EL0. */
  undefined(): Abandoned {
    return this.raise({ class: 0, syndrome: 0 });
  }

  /** Enters an exception; the pc is what is to be returned to. Arm ARM, AArch64.TakeException */
  take({ class: number, syndrome, address }: Exception): void {
    const { r, system } = this;
    system.elr = getPair(r, PC);
    system.spsr = this.pstate;
    system.esr = BigInt(((number << CLASS_SHIFT) | IL | syndrome) >>> 0);
    if (address !== undefined) system.far = address;
    const vector = system.vbar + SYNC_OFFSET[this.mode];
    this.pstate = RESET_PSTATE;
    this.monitor = undefined;
    setPair(r, PC, vector);
  }

  eret(): void {
    setPair(this.r, PC, this.system.elr);
    this.pstate = this.system.spsr;
    this.monitor = undefined;
  }
}
