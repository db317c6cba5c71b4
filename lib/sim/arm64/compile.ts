/** From a decoded instruction to something that can be called: one entry for each meaning in the instruction table. */
import { decode } from '../../guest/a64/decode.ts';
import type { Semantics } from '../../guest/a64/form.ts';
import * as arithmetic from './arithmetic.ts';
import * as branches from './branches.ts';
import * as logic from './logic.ts';
import { type Machine, NEXT, type Operation, type Site } from './machine.ts';
import * as memory from './memory.ts';
import * as system from './system.ts';

type Compile = (site: Site) => Operation;

const nothing: Compile = () => () => NEXT;

const COMPILERS: Readonly<Record<Semantics, Compile>> = {
  add: (site) => arithmetic.compileAdd(site, false, false),
  adds: (site) => arithmetic.compileAdd(site, false, true),
  sub: (site) => arithmetic.compileAdd(site, true, false),
  subs: (site) => arithmetic.compileAdd(site, true, true),
  adc: (site) => arithmetic.compileAddCarry(site, false, false),
  adcs: (site) => arithmetic.compileAddCarry(site, false, true),
  sbc: (site) => arithmetic.compileAddCarry(site, true, false),
  sbcs: (site) => arithmetic.compileAddCarry(site, true, true),
  adr: (site) => arithmetic.compileAddress(site, false),
  adrp: (site) => arithmetic.compileAddress(site, true),
  madd: (site) => arithmetic.compileMultiplyAdd(site, false),
  msub: (site) => arithmetic.compileMultiplyAdd(site, true),
  smaddl: (site) => arithmetic.compileMultiplyLong(site, true, false),
  smsubl: (site) => arithmetic.compileMultiplyLong(site, true, true),
  umaddl: (site) => arithmetic.compileMultiplyLong(site, false, false),
  umsubl: (site) => arithmetic.compileMultiplyLong(site, false, true),
  smulh: (site) => arithmetic.compileMultiplyHigh(site, true),
  umulh: (site) => arithmetic.compileMultiplyHigh(site, false),
  udiv: (site) => arithmetic.compileDivide(site, false),
  sdiv: (site) => arithmetic.compileDivide(site, true),
  and: (site) => logic.compileLogic(site, 'and', false),
  ands: (site) => logic.compileLogic(site, 'and', true),
  bic: (site) => logic.compileLogic(site, 'bic', false),
  bics: (site) => logic.compileLogic(site, 'bic', true),
  orr: (site) => logic.compileLogic(site, 'orr', false),
  orn: (site) => logic.compileLogic(site, 'orn', false),
  eor: (site) => logic.compileLogic(site, 'eor', false),
  eon: (site) => logic.compileLogic(site, 'eon', false),
  movz: (site) => logic.compileMoveWide(site, 'movz'),
  movn: (site) => logic.compileMoveWide(site, 'movn'),
  movk: (site) => logic.compileMoveWide(site, 'movk'),
  ubfm: (site) => logic.compileBitfield(site, 'ubfm'),
  sbfm: (site) => logic.compileBitfield(site, 'sbfm'),
  bfm: (site) => logic.compileBitfield(site, 'bfm'),
  extr: logic.compileExtract,
  lslv: (site) => logic.compileShift(site, 'lslv'),
  lsrv: (site) => logic.compileShift(site, 'lsrv'),
  asrv: (site) => logic.compileShift(site, 'asrv'),
  rorv: (site) => logic.compileShift(site, 'rorv'),
  rbit: (site) => logic.compileOneSource(site, 'rbit'),
  rev16: (site) => logic.compileOneSource(site, 'rev16'),
  rev32: (site) => logic.compileOneSource(site, 'rev32'),
  rev: (site) => logic.compileOneSource(site, 'rev'),
  clz: (site) => logic.compileOneSource(site, 'clz'),
  cls: (site) => logic.compileOneSource(site, 'cls'),
  csel: (site) => branches.compileSelect(site, 'csel'),
  csinc: (site) => branches.compileSelect(site, 'csinc'),
  csinv: (site) => branches.compileSelect(site, 'csinv'),
  csneg: (site) => branches.compileSelect(site, 'csneg'),
  ccmp: (site) => branches.compileConditionalCompare(site, true),
  ccmn: (site) => branches.compileConditionalCompare(site, false),
  b: branches.compileBranch,
  bl: branches.compileBranchLink,
  'b.cond': branches.compileBranchIf,
  cbz: (site) => branches.compileCompareBranch(site, true),
  cbnz: (site) => branches.compileCompareBranch(site, false),
  tbz: (site) => branches.compileTestBranch(site, true),
  tbnz: (site) => branches.compileTestBranch(site, false),
  br: (site) => branches.compileIndirect(site, false),
  blr: (site) => branches.compileIndirect(site, true),
  ret: (site) => branches.compileIndirect(site, false),
  eret: system.compileReturn,
  load: memory.compileLoad,
  store: memory.compileStore,
  'load-literal': memory.compileLiteral,
  'load-pair': (site) => memory.compilePair(site, true),
  'store-pair': (site) => memory.compilePair(site, false),
  'load-exclusive': memory.compileLoadExclusive,
  'store-exclusive': memory.compileStoreExclusive,
  clrex: system.compileClear,
  mrs: system.compileReadSystem,
  msr: system.compileWriteSystem,
  'msr-immediate': system.compileWritePstate,
  nop: nothing,
  // One instruction is finished before the next begins, on every vCPU: there is nothing to order.
  barrier: nothing,
  yield: nothing,
  // Nobody sends events; to go on at once is always allowed.
  wfe: nothing,
  wfi: system.compileWait,
  hvc: (site) => system.compileCall(site, 'hvc'),
  smc: (site) => system.compileCall(site, 'smc'),
  svc: (site) => system.compileException(site, 'svc'),
  brk: (site) => system.compileException(site, 'brk'),
};

/** Undefined for a word that is not in the table. */
export function siteOf(machine: Machine, word: number, low: number, high: number): Site | undefined {
  const instruction = decode(word >>> 0);
  return instruction === undefined ? undefined : { machine, instruction, word: word >>> 0, low, high };
}

export function compile(machine: Machine, word: number, low: number, high: number): Operation {
  const site = siteOf(machine, word, low, high);
  if (site !== undefined) return COMPILERS[site.instruction.form.semantics](site);
  const { state } = machine;
  // UDF: permanently undefined, so that zeroed memory is no code.
  const permanentlyUndefined = word >>> 16 === 0;
  return () => {
    throw permanentlyUndefined ? state.undefined() : state.abandon({ kind: 'unknown', word: word >>> 0 });
  };
}
