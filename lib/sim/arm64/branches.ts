/** Branches, conditional selects and compares. */
import { CONDITIONS, type Condition } from '../../guest/a64/operands.ts';
import { add32Flags, add64Flags } from './arithmetic.ts';
import { immediateAt, JUMPED, NEXT, type Operation, operandAt, plain, type Site, source, target } from './machine.ts';
import { at, C, N, PC, V, Z } from './registers.ts';

type Test = () => boolean;

function conditionAt(site: Site, index: number): Condition {
  const operand = operandAt(site, index);
  if (operand.kind !== 'condition') throw new TypeError(`operand ${index} is no condition`);
  return operand.condition;
}

function compileCondition(r: Int32Array, condition: Condition): Test {
  const number = CONDITIONS.indexOf(condition);
  if (number >= 14) return () => true;
  const opposite = (number & 1) === 1;
  const tests: readonly Test[] = [
    () => at(r, Z) !== 0,
    () => at(r, C) !== 0,
    () => at(r, N) !== 0,
    () => at(r, V) !== 0,
    () => at(r, C) !== 0 && at(r, Z) === 0,
    () => at(r, N) === at(r, V),
    () => at(r, N) === at(r, V) && at(r, Z) === 0,
  ];
  const test = tests[number >> 1] ?? (() => true);
  return opposite ? () => !test() : test;
}

/** Where a relative branch leads. */
function place(site: Site, index: number): { readonly low: number; readonly high: number } {
  const operand = operandAt(site, index);
  if (operand.kind !== 'relative') throw new TypeError(`operand ${index} is no distance`);
  const sum = (site.low >>> 0) + operand.displacement;
  const carry = sum > 0xffff_ffff ? 1 : sum < 0 ? -1 : 0;
  return { low: sum | 0, high: (site.high + carry) | 0 };
}

/** When `test` holds; always without. */
function compileJump(site: Site, index: number, test?: Test): Operation {
  const { r } = site.machine;
  const { low, high } = place(site, index);
  if (test === undefined) {
    return () => {
      r[PC] = low;
      r[PC + 1] = high;
      return JUMPED;
    };
  }
  return () => {
    if (!test()) return NEXT;
    r[PC] = low;
    r[PC + 1] = high;
    return JUMPED;
  };
}

function compileLink(site: Site): () => void {
  const { r } = site.machine;
  const sum = (site.low >>> 0) + 4;
  const [low, high] = [sum | 0, (site.high + (sum > 0xffff_ffff ? 1 : 0)) | 0];
  return () => {
    r[60] = low;
    r[61] = high;
  };
}

export const compileBranch = (site: Site): Operation => compileJump(site, 0);

export function compileBranchLink(site: Site): Operation {
  const [link, jump] = [compileLink(site), compileJump(site, 0)];
  return () => {
    link();
    return jump();
  };
}

export const compileBranchIf = (site: Site): Operation =>
  compileJump(site, 1, compileCondition(site.machine.r, conditionAt(site, 0)));

export function compileCompareBranch(site: Site, zero: boolean): Operation {
  const { r } = site.machine;
  const from = source(site, 0);
  const wide = site.instruction.form.bits === 64;
  const test = wide ? () => ((at(r, from) | at(r, from + 1)) === 0) === zero : () => (at(r, from) === 0) === zero;
  return compileJump(site, 1, test);
}

export function compileTestBranch(site: Site, zero: boolean): Operation {
  const { r } = site.machine;
  const bit = Number(immediateAt(site, 1));
  const from = source(site, 0) + (bit >> 5);
  const mask = 1 << (bit & 31);
  return compileJump(site, 2, () => ((at(r, from) & mask) === 0) === zero);
}

/** br, blr, ret. */
export function compileIndirect(site: Site, links: boolean): Operation {
  const { r } = site.machine;
  const from = source(site, 0);
  const link = links ? compileLink(site) : undefined;
  return () => {
    const [low, high] = [at(r, from), at(r, from + 1)];
    link?.();
    r[PC] = low;
    r[PC + 1] = high;
    return JUMPED;
  };
}

/** csel and its kin: the first source, or the second as it is, plus one, inverted, or negated. */
export function compileSelect(site: Site, kind: 'csel' | 'csinc' | 'csinv' | 'csneg'): Operation {
  const { r } = site.machine;
  const [to, n, m] = [target(site, 0), source(site, 1), source(site, 2)];
  const test = compileCondition(r, conditionAt(site, 3));
  const wide = site.instruction.form.bits === 64;
  const invert = kind === 'csinv' || kind === 'csneg' ? -1 : 0;
  const more = kind === 'csinc' || kind === 'csneg' ? 1 : 0;
  return () => {
    const first = test();
    const from = first ? n : m;
    const sum = first ? at(r, from) >>> 0 : ((at(r, from) ^ invert) >>> 0) + more;
    const high = first ? at(r, from + 1) : (at(r, from + 1) ^ invert) + (sum > 0xffff_ffff ? 1 : 0);
    r[to] = sum;
    r[to + 1] = wide ? high : 0;
    return NEXT;
  };
}

/** A comparison where the condition holds, given flags where it does not. */
export function compileConditionalCompare(site: Site, subtract: boolean): Operation {
  const { r } = site.machine;
  const from = source(site, 0);
  const second = plain(site, 1);
  if (second === undefined) throw new TypeError('operand 1 is neither register nor number');
  const { words, at: other } = second;
  const nzcv = Number(immediateAt(site, 2));
  const test = compileCondition(r, conditionAt(site, 3));
  const [invert, carry] = subtract ? [-1, 1] : [0, 0];
  const wide = site.instruction.form.bits === 64;
  return () => {
    if (!test()) {
      r[N] = nzcv >> 3;
      r[Z] = (nzcv >> 2) & 1;
      r[C] = (nzcv >> 1) & 1;
      r[V] = nzcv & 1;
    } else if (wide) {
      const [low, high] = [at(words, other) ^ invert, at(words, other + 1) ^ invert];
      add64Flags(r, at(r, from), at(r, from + 1), low, high, carry);
    } else add32Flags(r, at(r, from), at(words, other) ^ invert, carry);
    return NEXT;
  };
}
