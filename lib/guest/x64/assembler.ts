import type { Label, Memory } from './assembler-core.ts';
import { AssemblerCore, type AssemblerOperand } from './assembler-core.ts';
import type { RepeatPrefix } from './encode.ts';
import type { Bits, Condition } from './operands.ts';

export type { AssemblerOperand, InstructionOptions, Memory } from './assembler-core.ts';
export { Label } from './assembler-core.ts';

/** Destinations and sources of most instructions. */
type Op = AssemblerOperand;
/** A branch target: a label, or an address held in a register or in memory. */
type Target = Exclude<Op, number | bigint>;

/**
 * Writes x86-64 instructions, one method per mnemonic, for 16-, 32- or 64-bit code:
 *
 *     const a = new Assembler(64, 0x1000);
 *     const again = a.label('again');
 *     a.mov('rcx', 10).bind(again).dec('rcx').jcc('ne', again).hlt();
 *     const bytes = a.bytes();
 *
 * The destination comes first. Every method throws RangeError when a number does not fit and TypeError when the
 * instruction does not exist with such operands; `lock(...)` puts a LOCK prefix before the next instruction.
 */
export class Assembler extends AssemblerCore {
  add(to: Op, from: Op): this {
    return this.emit('add', [to, from]);
  }
  or(to: Op, from: Op): this {
    return this.emit('or', [to, from]);
  }
  adc(to: Op, from: Op): this {
    return this.emit('adc', [to, from]);
  }
  sbb(to: Op, from: Op): this {
    return this.emit('sbb', [to, from]);
  }
  and(to: Op, from: Op): this {
    return this.emit('and', [to, from]);
  }
  sub(to: Op, from: Op): this {
    return this.emit('sub', [to, from]);
  }
  xor(to: Op, from: Op): this {
    return this.emit('xor', [to, from]);
  }
  cmp(to: Op, from: Op): this {
    return this.emit('cmp', [to, from]);
  }
  test(to: Op, from: Op): this {
    return this.emit('test', [to, from]);
  }
  mov(to: Op, from: Op): this {
    return this.emit('mov', [to, from]);
  }
  movzx(to: Op, from: Op): this {
    return this.emit('movzx', [to, from]);
  }
  movsx(to: Op, from: Op): this {
    return this.emit('movsx', [to, from]);
  }
  movsxd(to: Op, from: Op): this {
    return this.emit('movsxd', [to, from]);
  }
  lea(to: Op, from: Op): this {
    return this.emit('lea', [to, from]);
  }
  xchg(to: Op, from: Op): this {
    return this.emit('xchg', [to, from]);
  }
  rol(to: Op, from: Op): this {
    return this.emit('rol', [to, from]);
  }
  ror(to: Op, from: Op): this {
    return this.emit('ror', [to, from]);
  }
  shl(to: Op, from: Op): this {
    return this.emit('shl', [to, from]);
  }
  shr(to: Op, from: Op): this {
    return this.emit('shr', [to, from]);
  }
  sar(to: Op, from: Op): this {
    return this.emit('sar', [to, from]);
  }
  /** Two operands: `to *= from`; three: `to = from * factor`. */
  imul(to: Op, from: Op, factor?: number | bigint): this {
    return this.emit('imul', factor === undefined ? [to, from] : [to, from, factor]);
  }
  inc(operand: Op): this {
    return this.emit('inc', [operand]);
  }
  dec(operand: Op): this {
    return this.emit('dec', [operand]);
  }
  not(operand: Op): this {
    return this.emit('not', [operand]);
  }
  neg(operand: Op): this {
    return this.emit('neg', [operand]);
  }
  mul(operand: Op): this {
    return this.emit('mul', [operand]);
  }
  div(operand: Op): this {
    return this.emit('div', [operand]);
  }
  cmpxchg(to: Op, from: Op): this {
    return this.emit('cmpxchg', [to, from]);
  }
  xadd(to: Op, from: Op): this {
    return this.emit('xadd', [to, from]);
  }
  cmov(condition: Condition, to: Op, from: Op): this {
    return this.emit('cmovcc', [to, from], { condition });
  }
  set(condition: Condition, to: Op): this {
    return this.emit('setcc', [to], { condition });
  }
  push(operand: Op): this {
    return this.emit('push', [operand]);
  }
  pop(operand: Op): this {
    return this.emit('pop', [operand]);
  }
  jmp(target: Target): this {
    return this.emit('jmp', [target]);
  }
  call(target: Target): this {
    return this.emit('call', [target]);
  }
  jcc(condition: Condition, target: Label): this {
    return this.emit('jcc', [target], { condition });
  }
  loop(target: Label): this {
    return this.emit('loop', [target]);
  }
  loope(target: Label): this {
    return this.emit('loope', [target]);
  }
  loopne(target: Label): this {
    return this.emit('loopne', [target]);
  }
  /** `port` is a number below 256 or 'dx'. */
  in(to: 'al' | 'ax' | 'eax', port: number | 'dx'): this {
    return this.emit('in', [to, port]);
  }
  /** `port` is a number below 256 or 'dx'. */
  out(port: number | 'dx', from: 'al' | 'ax' | 'eax'): this {
    return this.emit('out', [port, from]);
  }
  invlpg(address: Memory): this {
    return this.emit('invlpg', [address]);
  }
  stos(bits: Bits, repeat?: RepeatPrefix): this {
    return this.emit('stos', [], repeat === undefined ? { bits } : { bits, repeat });
  }
  movs(bits: Bits, repeat?: RepeatPrefix): this {
    return this.emit('movs', [], repeat === undefined ? { bits } : { bits, repeat });
  }
  lods(bits: Bits, repeat?: RepeatPrefix): this {
    return this.emit('lods', [], repeat === undefined ? { bits } : { bits, repeat });
  }
  scas(bits: Bits, repeat?: RepeatPrefix): this {
    return this.emit('scas', [], repeat === undefined ? { bits } : { bits, repeat });
  }
  cmps(bits: Bits, repeat?: RepeatPrefix): this {
    return this.emit('cmps', [], repeat === undefined ? { bits } : { bits, repeat });
  }
  pushf(): this {
    return this.emit('pushf');
  }
  popf(): this {
    return this.emit('popf');
  }
  ret(): this {
    return this.emit('ret');
  }
  hlt(): this {
    return this.emit('hlt');
  }
  nop(): this {
    return this.emit('nop');
  }
  pause(): this {
    return this.emit('pause');
  }
  mfence(): this {
    return this.emit('mfence');
  }
  lfence(): this {
    return this.emit('lfence');
  }
  sfence(): this {
    return this.emit('sfence');
  }
  cpuid(): this {
    return this.emit('cpuid');
  }
  rdtsc(): this {
    return this.emit('rdtsc');
  }
  rdmsr(): this {
    return this.emit('rdmsr');
  }
  wrmsr(): this {
    return this.emit('wrmsr');
  }
  clc(): this {
    return this.emit('clc');
  }
  stc(): this {
    return this.emit('stc');
  }
  cld(): this {
    return this.emit('cld');
  }
  std(): this {
    return this.emit('std');
  }
  cli(): this {
    return this.emit('cli');
  }
  sti(): this {
    return this.emit('sti');
  }
  int3(): this {
    return this.emit('int3');
  }
  ud2(): this {
    return this.emit('ud2');
  }
  vmcall(): this {
    return this.emit('vmcall');
  }
  vmmcall(): this {
    return this.emit('vmmcall');
  }
  /** From an SEV-ES or SEV-SNP guest to the hypervisor, as the GHCB MSR says. */
  vmgexit(): this {
    return this.emit('vmgexit');
  }
  /** SEV-SNP: rax is the address, ecx the page size (0: 4 KiB), edx whether the page is to be valid; eax and CF tell the outcome. */
  pvalidate(): this {
    return this.emit('pvalidate');
  }
  /** TDX: rax is the leaf; what else is read and written depends on it. */
  tdcall(): this {
    return this.emit('tdcall');
  }
  /** Memory holds a limit of 2 bytes and a base. */
  lgdt(address: Memory): this {
    return this.emit('lgdt', [address]);
  }
  /** Return to another code segment: offset and selector are on the stack. In 64-bit code words of four bytes. */
  retf(): this {
    return this.emit('retf');
  }
}
