import type { Integer } from '../numbers.ts';
import { toUnsigned } from '../numbers.ts';
import type { Extended, Shifted } from './assembler-core.ts';
import { SystemAssembler } from './assembler-system.ts';
import { encodeBitmask } from './bitmask.ts';
import { CONDITIONS, type Condition, type Register, registerOperand } from './operands.ts';

export type { AssemblerOperand, Extended, Memory, Shifted } from './assembler-core.ts';
export { Label } from './assembler-core.ts';

type Second = Register | Integer | Shifted | Extended;

const zero = (like: Register): Register => (registerOperand(like).bits === 64 ? 'xzr' : 'wzr');
const HALVES = [0, 16, 32, 48] as const;

/**
 * Writes A64 instructions: one method per mnemonic, and here the aliases that people expect.
 *
 *     const a = new Assembler(0x1000);
 *     const again = a.label('again');
 *     a.mov('x0', 10).bind(again).subs('x0', 'x0', 1).bcond('ne', again).hvc(0);
 *     const bytes = a.bytes();
 *
 * Every method throws RangeError when a number does not fit and TypeError when the instruction does not exist with such operands.
 */
export class Assembler extends SystemAssembler {
  /** A register, or a number in as few instructions as it takes (at most four). */
  mov(d: Register, from: Register | Integer): this {
    if (typeof from !== 'string') return this.#number(d, from);
    const either = d === 'sp' || d === 'wsp' || from === 'sp' || from === 'wsp';
    return either ? this.add(d, from, 0) : this.orr(d, zero(d), from);
  }

  #number(d: Register, number: Integer): this {
    const { bits } = registerOperand(d);
    const value = toUnsigned(number, bits, 'mov');
    if (d !== 'sp' && d !== 'wsp') {
      const halves = HALVES.slice(0, bits / 16).map((shift) => ({ shift, half: (value >> BigInt(shift)) & 0xffffn }));
      const ones = halves.filter(({ half }) => half === 0xffffn).length;
      const zeros = halves.filter(({ half }) => half === 0n).length;
      // What is most common needs no instruction of its own.
      const filler = ones > zeros ? 0xffffn : 0n;
      const [first, ...rest] = halves.filter(({ half }) => half !== filler);
      if (rest.length === 0 || encodeBitmask(value, bits) === undefined) {
        const { shift, half } = first ?? { shift: 0 as const, half: filler };
        if (filler === 0n) this.movz(d, half, shift);
        else this.movn(d, half ^ 0xffffn, shift);
        for (const part of rest) this.movk(d, part.half, part.shift);
        return this;
      }
    }
    return this.orr(d, zero(d), value);
  }

  cmp(n: Register, m: Second): this {
    return this.subs(zero(n), n, m);
  }
  cmn(n: Register, m: Second): this {
    return this.adds(zero(n), n, m);
  }
  tst(n: Register, m: Second): this {
    return this.ands(zero(n), n, m);
  }
  neg(d: Register, m: Register): this {
    return this.sub(d, zero(d), m);
  }
  mvn(d: Register, m: Register): this {
    return this.orn(d, zero(d), m);
  }
  mul(d: Register, n: Register, m: Register): this {
    return this.madd(d, n, m, zero(d));
  }
  umull(d: Register, n: Register, m: Register): this {
    return this.umaddl(d, n, m, 'xzr');
  }
  smull(d: Register, n: Register, m: Register): this {
    return this.smaddl(d, n, m, 'xzr');
  }

  /** By a register, modulo the width, or by a number of bits. */
  lsl(d: Register, n: Register, by: Register | number): this {
    if (typeof by === 'string') return this.lslv(d, n, by);
    const { bits } = registerOperand(d);
    return this.ubfm(d, n, (bits - by) % bits, bits - 1 - by);
  }
  lsr(d: Register, n: Register, by: Register | number): this {
    return typeof by === 'string' ? this.lsrv(d, n, by) : this.ubfm(d, n, by, registerOperand(d).bits - 1);
  }
  asr(d: Register, n: Register, by: Register | number): this {
    return typeof by === 'string' ? this.asrv(d, n, by) : this.sbfm(d, n, by, registerOperand(d).bits - 1);
  }
  ror(d: Register, n: Register, by: Register | number): this {
    return typeof by === 'string' ? this.rorv(d, n, by) : this.extr(d, n, n, by);
  }

  /** 1 where the condition holds, else 0. */
  cset(d: Register, condition: Condition): this {
    const opposite = CONDITIONS[CONDITIONS.indexOf(condition) ^ 1] ?? 'nv';
    return this.csinc(d, zero(d), zero(d), opposite);
  }
}
