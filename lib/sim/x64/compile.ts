/** From a decoded instruction to something that can be called: one entry for each meaning in the instruction table. */
import type { Semantics } from '../../guest/x64/form.ts';
import { FAR } from '../../guest/x64/match.ts';
import { compileBinary, compileCompare, compileNot, compileShift, compileUnary } from './arithmetic.ts';
import { compileBitTest, compileByteSwap, compileScan, compileSpreadSign, compileWiden } from './bits.ts';
import { compileCall, compileJcc, compileJcxz, compileJmp, compileLoop, compileReturn } from './branches.ts';
import { compileCallFar, compileInterruptReturn, compileJumpFar, compileLoadTable, compileReturnFar } from './far.ts';
import type { Operation, Site } from './machine.ts';
import {
  compileCompareExchange,
  compileConditionalMove,
  compileExchange,
  compileExchangeAdd,
  compileExtend,
  compileLea,
  compileMove,
  compileSet,
} from './moves.ts';
import { compileDivide, compileMultiply, compileSignedDivide, compileWideMultiply } from './multiply.ts';
import { compileIns, compileOuts } from './port-strings.ts';
import { at, CF, FLAG, OTHER_FLAGS } from './registers.ts';
import { compileReflected, compileSecure } from './secure.ts';
import {
  compileInterruptFlag,
  compileLeave,
  compilePop,
  compilePopFlags,
  compilePush,
  compilePushFlags,
} from './stack.ts';
import { VECTOR } from './stop.ts';
import { compileString } from './strings.ts';
import {
  compileCpuid,
  compileHlt,
  compileHypercall,
  compileIn,
  compileInvlpg,
  compileMoveControl,
  compileMoveSegment,
  compileOut,
  compileRdmsr,
  compileRdtsc,
  compileWrmsr,
} from './system.ts';

type Compile = (site: Site) => Operation;

const nothing: Compile = () => () => {};

function flag(change: (r: Int32Array) => void): Compile {
  return ({ machine: { r } }) =>
    () =>
      change(r);
}

/** By what an instruction means. Differential tests plant mistakes here. */
export const COMPILERS: Readonly<Record<Semantics, Compile>> = {
  add: (site) => compileBinary(site, 'add'),
  or: (site) => compileBinary(site, 'or'),
  adc: (site) => compileBinary(site, 'adc'),
  sbb: (site) => compileBinary(site, 'sbb'),
  and: (site) => compileBinary(site, 'and'),
  sub: (site) => compileBinary(site, 'sub'),
  xor: (site) => compileBinary(site, 'xor'),
  cmp: (site) => compileCompare(site, 'cmp'),
  test: (site) => compileCompare(site, 'test'),
  inc: (site) => compileUnary(site, 'inc'),
  dec: (site) => compileUnary(site, 'dec'),
  neg: (site) => compileUnary(site, 'neg'),
  not: compileNot,
  mul: (site) => compileWideMultiply(site, false),
  'imul-wide': (site) => compileWideMultiply(site, true),
  imul: compileMultiply,
  div: compileDivide,
  idiv: compileSignedDivide,
  bt: (site) => compileBitTest(site, 'bt'),
  bts: (site) => compileBitTest(site, 'bts'),
  btr: (site) => compileBitTest(site, 'btr'),
  btc: (site) => compileBitTest(site, 'btc'),
  bsf: (site) => compileScan(site, true),
  bsr: (site) => compileScan(site, false),
  bswap: compileByteSwap,
  cbw: compileWiden,
  cwd: compileSpreadSign,
  rol: (site) => compileShift(site, 'rol'),
  ror: (site) => compileShift(site, 'ror'),
  shl: (site) => compileShift(site, 'shl'),
  shr: (site) => compileShift(site, 'shr'),
  sar: (site) => compileShift(site, 'sar'),
  mov: compileMove,
  'mov-control': compileMoveControl,
  'mov-segment': compileMoveSegment,
  movzx: (site) => compileExtend(site, false),
  movsx: (site) => compileExtend(site, true),
  lea: compileLea,
  xchg: compileExchange,
  cmov: compileConditionalMove,
  setcc: compileSet,
  cmpxchg: compileCompareExchange,
  xadd: compileExchangeAdd,
  push: compilePush,
  pop: compilePop,
  pushf: compilePushFlags,
  popf: compilePopFlags,
  call: compileCall,
  ret: compileReturn,
  leave: compileLeave,
  jmp: compileJmp,
  jcc: compileJcc,
  loop: compileLoop,
  jcxz: compileJcxz,
  in: compileIn,
  out: compileOut,
  ins: compileIns,
  outs: compileOuts,
  hlt: compileHlt,
  nop: nothing,
  pause: nothing,
  // One instruction is finished before the next begins, on every vCPU: there is nothing to order.
  fence: nothing,
  cpuid: compileCpuid,
  rdtsc: compileRdtsc,
  rdmsr: compileRdmsr,
  wrmsr: compileWrmsr,
  stos: (site) => compileString(site, 'stos'),
  movs: (site) => compileString(site, 'movs'),
  lods: (site) => compileString(site, 'lods'),
  scas: (site) => compileString(site, 'scas'),
  cmps: (site) => compileString(site, 'cmps'),
  clc: flag((r) => {
    r[CF] = 0;
  }),
  stc: flag((r) => {
    r[CF] = 1;
  }),
  cmc: flag((r) => {
    r[CF] = at(r, CF) ^ 1;
  }),
  cld: flag((r) => {
    r[OTHER_FLAGS] = at(r, OTHER_FLAGS) & ~FLAG.direction;
  }),
  std: flag((r) => {
    r[OTHER_FLAGS] = at(r, OTHER_FLAGS) | FLAG.direction;
  }),
  cli: (site) => compileInterruptFlag(site, false),
  sti: (site) => compileInterruptFlag(site, true),
  int3: (site) => () => {
    throw site.machine.state.trap(VECTOR.breakpoint, site.instruction.length);
  },
  ud2: (site) => () => {
    throw site.machine.state.exception(VECTOR.undefined);
  },
  hypercall: compileHypercall,
  invlpg: compileInvlpg,
  lgdt: compileLoadTable,
  'jmp-far': compileJumpFar,
  'call-far': compileCallFar,
  'ret-far': compileReturnFar,
  iret: compileInterruptReturn,
  // Processors without SEV-ES do not look at the prefix.
  vmgexit: (site) => (site.machine.secure === undefined ? compileHypercall(site) : compileSecure(site, 'vmgexit')),
  pvalidate: (site) => compileSecure(site, 'pvalidate'),
  tdcall: (site) => compileSecure(site, 'tdcall'),
};

export function compile(site: Site): Operation {
  return compileReflected(site, COMPILERS[site.instruction.form.semantics](site));
}

/** They set rip themselves. */
const BRANCHES: ReadonlySet<Semantics> = new Set(['call', 'ret', 'jmp', 'jcc', 'loop', 'jcxz', ...FAR]);
/** What follows may have to be decoded or translated differently, or is not executed at once. */
const LAST: ReadonlySet<Semantics> = new Set([
  ...BRANCHES,
  ...(['in', 'out', 'ins', 'outs', 'hlt', 'hypercall', 'int3', 'ud2'] as const),
  ...(['mov-control', 'mov-segment', 'wrmsr', 'invlpg', 'popf', 'lgdt', 'vmgexit', 'pvalidate', 'tdcall'] as const),
]);

export function setsRip(semantics: Semantics): boolean {
  return BRANCHES.has(semantics);
}

/** Whether a block ends with this instruction. */
export function endsBlock(semantics: Semantics): boolean {
  return LAST.has(semantics);
}
