import type { Integer } from '../numbers.ts';
import { AssemblerCore, type Extended, type Label, type Shifted } from './assembler-core.ts';
import type { Condition, Register } from './operands.ts';

/** The last operand of arithmetic and logic. */
type Second = Register | Integer | Shifted | Extended;

/** Arithmetic, logic and branches: one method per mnemonic, the destination first. */
export class ComputingAssembler extends AssemblerCore {
  add(d: Register, n: Register, m: Second): this {
    return this.emit('add', [d, n, m]);
  }
  adds(d: Register, n: Register, m: Second): this {
    return this.emit('adds', [d, n, m]);
  }
  sub(d: Register, n: Register, m: Second): this {
    return this.emit('sub', [d, n, m]);
  }
  subs(d: Register, n: Register, m: Second): this {
    return this.emit('subs', [d, n, m]);
  }
  and(d: Register, n: Register, m: Second): this {
    return this.emit('and', [d, n, m]);
  }
  ands(d: Register, n: Register, m: Second): this {
    return this.emit('ands', [d, n, m]);
  }
  bic(d: Register, n: Register, m: Second): this {
    return this.emit('bic', [d, n, m]);
  }
  bics(d: Register, n: Register, m: Second): this {
    return this.emit('bics', [d, n, m]);
  }
  orr(d: Register, n: Register, m: Second): this {
    return this.emit('orr', [d, n, m]);
  }
  orn(d: Register, n: Register, m: Second): this {
    return this.emit('orn', [d, n, m]);
  }
  eor(d: Register, n: Register, m: Second): this {
    return this.emit('eor', [d, n, m]);
  }
  eon(d: Register, n: Register, m: Second): this {
    return this.emit('eon', [d, n, m]);
  }
  adc(d: Register, n: Register, m: Register): this {
    return this.emit('adc', [d, n, m]);
  }
  adcs(d: Register, n: Register, m: Register): this {
    return this.emit('adcs', [d, n, m]);
  }
  sbc(d: Register, n: Register, m: Register): this {
    return this.emit('sbc', [d, n, m]);
  }
  sbcs(d: Register, n: Register, m: Register): this {
    return this.emit('sbcs', [d, n, m]);
  }
  udiv(d: Register, n: Register, m: Register): this {
    return this.emit('udiv', [d, n, m]);
  }
  sdiv(d: Register, n: Register, m: Register): this {
    return this.emit('sdiv', [d, n, m]);
  }
  lslv(d: Register, n: Register, m: Register): this {
    return this.emit('lslv', [d, n, m]);
  }
  lsrv(d: Register, n: Register, m: Register): this {
    return this.emit('lsrv', [d, n, m]);
  }
  asrv(d: Register, n: Register, m: Register): this {
    return this.emit('asrv', [d, n, m]);
  }
  rorv(d: Register, n: Register, m: Register): this {
    return this.emit('rorv', [d, n, m]);
  }
  smulh(d: Register, n: Register, m: Register): this {
    return this.emit('smulh', [d, n, m]);
  }
  umulh(d: Register, n: Register, m: Register): this {
    return this.emit('umulh', [d, n, m]);
  }
  madd(d: Register, n: Register, m: Register, a: Register): this {
    return this.emit('madd', [d, n, m, a]);
  }
  msub(d: Register, n: Register, m: Register, a: Register): this {
    return this.emit('msub', [d, n, m, a]);
  }
  smaddl(d: Register, n: Register, m: Register, a: Register): this {
    return this.emit('smaddl', [d, n, m, a]);
  }
  smsubl(d: Register, n: Register, m: Register, a: Register): this {
    return this.emit('smsubl', [d, n, m, a]);
  }
  umaddl(d: Register, n: Register, m: Register, a: Register): this {
    return this.emit('umaddl', [d, n, m, a]);
  }
  umsubl(d: Register, n: Register, m: Register, a: Register): this {
    return this.emit('umsubl', [d, n, m, a]);
  }
  movz(d: Register, value: Integer, shift: 0 | 16 | 32 | 48 = 0): this {
    return this.emit('movz', [d, value, shift]);
  }
  movn(d: Register, value: Integer, shift: 0 | 16 | 32 | 48 = 0): this {
    return this.emit('movn', [d, value, shift]);
  }
  movk(d: Register, value: Integer, shift: 0 | 16 | 32 | 48 = 0): this {
    return this.emit('movk', [d, value, shift]);
  }
  ubfm(d: Register, n: Register, rotate: number, last: number): this {
    return this.emit('ubfm', [d, n, rotate, last]);
  }
  sbfm(d: Register, n: Register, rotate: number, last: number): this {
    return this.emit('sbfm', [d, n, rotate, last]);
  }
  bfm(d: Register, n: Register, rotate: number, last: number): this {
    return this.emit('bfm', [d, n, rotate, last]);
  }
  extr(d: Register, n: Register, m: Register, lsb: number): this {
    return this.emit('extr', [d, n, m, lsb]);
  }
  rbit(d: Register, n: Register): this {
    return this.emit('rbit', [d, n]);
  }
  rev16(d: Register, n: Register): this {
    return this.emit('rev16', [d, n]);
  }
  rev32(d: Register, n: Register): this {
    return this.emit('rev32', [d, n]);
  }
  rev(d: Register, n: Register): this {
    return this.emit('rev', [d, n]);
  }
  clz(d: Register, n: Register): this {
    return this.emit('clz', [d, n]);
  }
  cls(d: Register, n: Register): this {
    return this.emit('cls', [d, n]);
  }
  csel(d: Register, n: Register, m: Register, condition: Condition): this {
    return this.emit('csel', [d, n, m, { condition }]);
  }
  csinc(d: Register, n: Register, m: Register, condition: Condition): this {
    return this.emit('csinc', [d, n, m, { condition }]);
  }
  csinv(d: Register, n: Register, m: Register, condition: Condition): this {
    return this.emit('csinv', [d, n, m, { condition }]);
  }
  csneg(d: Register, n: Register, m: Register, condition: Condition): this {
    return this.emit('csneg', [d, n, m, { condition }]);
  }
  ccmp(n: Register, m: Register | number, nzcv: number, condition: Condition): this {
    return this.emit('ccmp', [n, m, nzcv, { condition }]);
  }
  ccmn(n: Register, m: Register | number, nzcv: number, condition: Condition): this {
    return this.emit('ccmn', [n, m, nzcv, { condition }]);
  }
  adr(d: Register, target: Label): this {
    return this.emit('adr', [d, target]);
  }
  /** The page of the label. */
  adrp(d: Register, target: Label): this {
    return this.emit('adrp', [d, target]);
  }
  b(target: Label): this {
    return this.emit('b', [target]);
  }
  bl(target: Label): this {
    return this.emit('bl', [target]);
  }
  bcond(condition: Condition, target: Label): this {
    return this.emit('b.cond', [{ condition }, target]);
  }
  cbz(t: Register, target: Label): this {
    return this.emit('cbz', [t, target]);
  }
  cbnz(t: Register, target: Label): this {
    return this.emit('cbnz', [t, target]);
  }
  tbz(t: Register, bit: number, target: Label): this {
    return this.emit('tbz', [t, bit, target]);
  }
  tbnz(t: Register, bit: number, target: Label): this {
    return this.emit('tbnz', [t, bit, target]);
  }
  br(n: Register): this {
    return this.emit('br', [n]);
  }
  blr(n: Register): this {
    return this.emit('blr', [n]);
  }
  ret(n: Register = 'x30'): this {
    return this.emit('ret', [n]);
  }
  eret(): this {
    return this.emit('eret', []);
  }
}
