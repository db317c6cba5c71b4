/** What is about the processor itself: system registers, exceptions, calls to the hypervisor. */
import { SYSTEM_REGISTERS as S } from '../../guest/a64/system-registers.ts';
import {
  immediateAt,
  JUMPED,
  NEXT,
  type Operation,
  operandAt,
  type Site,
  STOP_BEHIND,
  source,
  target,
} from './machine.ts';
import { getPair, PC, setPair } from './registers.ts';
import { EL0T, EL1H, type State } from './state.ts';
import { CLASS } from './stop.ts';
import { SystemState } from './system-state.ts';

const FLAGS = 0xf000_0000n;
const DAIF = 0x3c0n;
/** op1:op2 of MSR immediate. */
const SPSEL = 5n;
const DAIFSET = 30n;
const DAIFCLR = 31n;

function systemAt(site: Site, index: number): number {
  const operand = operandAt(site, index);
  if (operand.kind !== 'system') throw new TypeError(`operand ${index} is no system register`);
  return operand.encoding;
}

function readSystem(state: State, id: number): bigint | undefined {
  switch (id) {
    case S.nzcv:
      return state.pstate & FLAGS;
    case S.daif:
      return state.daif;
    case S.currentel:
      return state.mode === EL0T ? 0n : 4n;
    case S.spsel:
      return state.mode === EL1H ? 1n : 0n;
    case S.sp_el0:
      return state.getStack(0);
    default:
      return state.system.get(id);
  }
}

function writeSystem(state: State, id: number, value: bigint): boolean {
  switch (id) {
    case S.nzcv:
      state.pstate = (state.pstate & ~FLAGS) | (value & FLAGS);
      return true;
    case S.daif:
      state.daif = value & DAIF;
      return true;
    case S.spsel:
      state.selectStack((value & 1n) !== 0n);
      return true;
    case S.sp_el0:
      state.setStack(0, value);
      return true;
    default:
      return state.system.set(id, value);
  }
}

export function compileReadSystem(site: Site): Operation {
  const { r, state } = site.machine;
  const to = target(site, 0);
  const id = systemAt(site, 1);
  return () => {
    if (state.mode === EL0T && !SystemState.allowed(id, false)) throw state.undefined();
    const value = readSystem(state, id);
    if (value === undefined) throw state.abandon({ kind: 'unknown', word: site.word });
    setPair(r, to, value);
    return NEXT;
  };
}

export function compileWriteSystem(site: Site): Operation {
  const { r, state } = site.machine;
  const id = systemAt(site, 0);
  const from = source(site, 1);
  return () => {
    if (state.mode === EL0T && !SystemState.allowed(id, true)) throw state.undefined();
    if (!writeSystem(state, id, getPair(r, from))) throw state.abandon({ kind: 'unknown', word: site.word });
    return state.system.translates ? STOP_BEHIND : NEXT;
  };
}

export function compileWritePstate(site: Site): Operation {
  const { state } = site.machine;
  const field = immediateAt(site, 0);
  const value = immediateAt(site, 1);
  return () => {
    if (state.mode === EL0T) throw state.undefined();
    if (field === DAIFSET) state.daif |= value << 6n;
    else if (field === DAIFCLR) state.daif &= ~(value << 6n);
    else if (field === SPSEL) state.selectStack((value & 1n) !== 0n);
    else throw state.abandon({ kind: 'unknown', word: site.word });
    return NEXT;
  };
}

/** HVC and SMC do not exist at EL0. */
export function compileCall(site: Site, conduit: 'hvc' | 'smc'): Operation {
  const { state } = site.machine;
  const immediate = Number(immediateAt(site, 0));
  return () => {
    if (state.mode === EL0T) throw state.undefined();
    state.stop = { kind: 'call', conduit, immediate };
    return STOP_BEHIND;
  };
}

/** The exception returns behind an SVC, and to a BRK. */
export function compileException(site: Site, kind: 'svc' | 'brk'): Operation {
  const { r, state } = site.machine;
  const syndrome = Number(immediateAt(site, 0));
  const next = ((BigInt(site.high >>> 0) << 32n) | BigInt(site.low >>> 0)) + 4n;
  return () => {
    if (kind === 'brk') throw state.raise({ class: CLASS.breakpoint, syndrome });
    setPair(r, PC, next);
    state.take({ class: CLASS.svc, syndrome });
    return JUMPED;
  };
}

export function compileReturn(site: Site): Operation {
  const { state } = site.machine;
  return () => {
    if (state.mode === EL0T) throw state.undefined();
    state.eret();
    return JUMPED;
  };
}

/** Nothing can interrupt a vCPU without an interrupt controller; whoever runs it decides what becomes of it. */
export function compileWait(site: Site): Operation {
  const { state } = site.machine;
  return () => {
    throw state.abandon({ kind: 'wfi' });
  };
}

export function compileClear(site: Site): Operation {
  const { state } = site.machine;
  return () => {
    state.monitor = undefined;
    return NEXT;
  };
}
