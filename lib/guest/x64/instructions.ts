import type { Emulation, InstructionForm, Mnemonic, OperandSpec, Semantics, Width } from './form.ts';

type Extras = Partial<Pick<InstructionForm, 'digit' | 'conditional' | 'mandatory' | 'only' | 'lock' | 'repeat'>> & {
  semantics?: Semantics;
  emulation?: Emulation;
};

/** Most instructions mean what their mnemonic says and run on KVM's emulator: those two are the defaults. */
function form(
  mnemonic: Mnemonic & Semantics,
  width: Width,
  opcode: readonly number[],
  operands?: readonly OperandSpec[],
  extras?: Extras,
): InstructionForm;
function form(
  mnemonic: Mnemonic,
  width: Width,
  opcode: readonly number[],
  operands: readonly OperandSpec[],
  extras: Extras & { semantics: Semantics },
): InstructionForm;
function form(
  mnemonic: Mnemonic,
  width: Width,
  opcode: readonly number[],
  operands: readonly OperandSpec[] = [],
  extras: Extras = {},
): InstructionForm {
  // The overloads let a mnemonic stand for its semantics only where it is one.
  return { semantics: mnemonic as Semantics, emulation: 'yes', ...extras, mnemonic, width, opcode, operands };
}

/** The eight classic two-operand operations share one opcode layout; only the number differs. */
function arithmetic(mnemonic: Mnemonic & Semantics, digit: number): InstructionForm[] {
  const first = digit * 8;
  const lock: Extras = mnemonic === 'cmp' ? {} : { lock: true };
  return [
    form(mnemonic, 'byte', [first], ['Eb', 'Gb'], lock),
    form(mnemonic, 'full', [first + 1], ['Ev', 'Gv'], lock),
    form(mnemonic, 'byte', [first + 2], ['Gb', 'Eb']),
    form(mnemonic, 'full', [first + 3], ['Gv', 'Ev']),
    form(mnemonic, 'byte', [first + 4], ['AL', 'Ib']),
    form(mnemonic, 'full', [first + 5], ['rAX', 'Iz']),
    form(mnemonic, 'byte', [0x80], ['Eb', 'Ib'], { digit, ...lock }),
    form(mnemonic, 'full', [0x83], ['Ev', 'Is'], { digit, ...lock }),
    form(mnemonic, 'full', [0x81], ['Ev', 'Iz'], { digit, ...lock }),
  ];
}

function shift(mnemonic: Mnemonic & Semantics, digit: number): InstructionForm[] {
  return [
    form(mnemonic, 'byte', [0xd0], ['Eb', '1'], { digit }),
    form(mnemonic, 'full', [0xd1], ['Ev', '1'], { digit }),
    form(mnemonic, 'byte', [0xc0], ['Eb', 'Ib'], { digit }),
    form(mnemonic, 'full', [0xc1], ['Ev', 'Ib'], { digit }),
    form(mnemonic, 'byte', [0xd2], ['Eb', 'CL'], { digit }),
    form(mnemonic, 'full', [0xd3], ['Ev', 'CL'], { digit }),
  ];
}

/** One operand in ModRM.rm: byte form at `opcode`, full form at the next. */
function unary(mnemonic: Mnemonic & Semantics, opcode: number, digit: number, extras: Extras = {}): InstructionForm[] {
  return [
    form(mnemonic, 'byte', [opcode], ['Eb'], { digit, ...extras }),
    form(mnemonic, 'full', [opcode + 1], ['Ev'], { digit, ...extras }),
  ];
}

/** Byte form at `opcode`, full form at the next; operands are implied (al/rax, [rsi], [rdi]). */
function string(mnemonic: Mnemonic & Semantics, opcode: number, repeat: 'rep' | 'compare'): InstructionForm[] {
  return [form(mnemonic, 'byte', [opcode], [], { repeat }), form(mnemonic, 'full', [opcode + 1], [], { repeat })];
}

/** By a register, which counts beyond the operand when that is memory, or by a number. */
function bitTest(mnemonic: Mnemonic & Semantics, opcode: number, digit: number, lock: boolean): InstructionForm[] {
  const extras: Extras = lock ? { lock: true } : {};
  return [
    form(mnemonic, 'full', [0x0f, opcode], ['Ev', 'Gv'], extras),
    form(mnemonic, 'full', [0x0f, 0xba], ['Ev', 'Ib'], { digit, ...extras }),
  ];
}

const ARITHMETIC: readonly InstructionForm[] = [
  ...(['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'] as const).flatMap(arithmetic),
  form('test', 'byte', [0x84], ['Eb', 'Gb']),
  form('test', 'full', [0x85], ['Ev', 'Gv']),
  form('test', 'byte', [0xa8], ['AL', 'Ib']),
  form('test', 'full', [0xa9], ['rAX', 'Iz']),
  form('test', 'byte', [0xf6], ['Eb', 'Ib'], { digit: 0 }),
  form('test', 'full', [0xf7], ['Ev', 'Iz'], { digit: 0 }),
  // In 64-bit code 40..4f are REX prefixes, so the one-byte forms exist only before long mode.
  form('inc', 'full', [0x40], ['Zv'], { only: 'legacy' }),
  form('dec', 'full', [0x48], ['Zv'], { only: 'legacy' }),
  ...unary('inc', 0xfe, 0, { lock: true }),
  ...unary('dec', 0xfe, 1, { lock: true }),
  ...unary('not', 0xf6, 2, { lock: true }),
  ...unary('neg', 0xf6, 3, { lock: true }),
  ...unary('mul', 0xf6, 4),
  ...unary('imul', 0xf6, 5, { semantics: 'imul-wide' }),
  ...unary('div', 0xf6, 6),
  ...unary('idiv', 0xf6, 7),
  ...bitTest('bt', 0xa3, 4, false),
  ...bitTest('bts', 0xab, 5, true),
  ...bitTest('btr', 0xb3, 6, true),
  ...bitTest('btc', 0xbb, 7, true),
  form('bsf', 'full', [0x0f, 0xbc], ['Gv', 'Ev']),
  form('bsr', 'full', [0x0f, 0xbd], ['Gv', 'Ev']),
  form('bswap', 'full', [0x0f, 0xc8], ['Zv']),
  form('cbw', 'full', [0x98]),
  form('cwd', 'full', [0x99]),
  form('imul', 'full', [0x0f, 0xaf], ['Gv', 'Ev']),
  form('imul', 'full', [0x6b], ['Gv', 'Ev', 'Is']),
  form('imul', 'full', [0x69], ['Gv', 'Ev', 'Iz']),
  ...shift('rol', 0),
  ...shift('ror', 1),
  ...shift('shl', 4),
  ...shift('shr', 5),
  ...shift('sar', 7),
];

const MOVES: readonly InstructionForm[] = [
  form('mov', 'byte', [0x88], ['Eb', 'Gb']),
  form('mov', 'full', [0x89], ['Ev', 'Gv']),
  form('mov', 'byte', [0x8a], ['Gb', 'Eb']),
  form('mov', 'full', [0x8b], ['Gv', 'Ev']),
  form('mov', 'byte', [0xb0], ['Zb', 'Ib']),
  form('mov', 'byte', [0xc6], ['Eb', 'Ib'], { digit: 0 }),
  form('mov', 'full', [0xc7], ['Ev', 'Iz'], { digit: 0 }),
  form('mov', 'full', [0xb8], ['Zv', 'Iv']),
  form('mov', 'full', [0x8c], ['Rv', 'Sw'], { semantics: 'mov-segment' }),
  form('mov', 'fixed', [0x8e], ['Sw', 'Ew'], { semantics: 'mov-segment' }),
  form('mov', 'fixed', [0x0f, 0x20], ['Rn', 'Cn'], { semantics: 'mov-control' }),
  form('mov', 'fixed', [0x0f, 0x22], ['Cn', 'Rn'], { semantics: 'mov-control' }),
  form('movzx', 'full', [0x0f, 0xb6], ['Gv', 'Eb']),
  form('movzx', 'full', [0x0f, 0xb7], ['Gv', 'Ew']),
  form('movsx', 'full', [0x0f, 0xbe], ['Gv', 'Eb']),
  form('movsx', 'full', [0x0f, 0xbf], ['Gv', 'Ew']),
  form('movsxd', 'full', [0x63], ['Gv', 'Ed'], { semantics: 'movsx', only: 'long' }),
  form('lea', 'full', [0x8d], ['Gv', 'M']),
  form('xchg', 'byte', [0x86], ['Eb', 'Gb'], { lock: true }),
  form('xchg', 'full', [0x87], ['Ev', 'Gv'], { lock: true }),
  form('cmovcc', 'full', [0x0f, 0x40], ['Gv', 'Ev'], { semantics: 'cmov', conditional: true }),
  form('setcc', 'byte', [0x0f, 0x90], ['Eb'], { conditional: true }),
  form('cmpxchg', 'byte', [0x0f, 0xb0], ['Eb', 'Gb'], { lock: true }),
  form('cmpxchg', 'full', [0x0f, 0xb1], ['Ev', 'Gv'], { lock: true }),
  form('xadd', 'byte', [0x0f, 0xc0], ['Eb', 'Gb'], { lock: true }),
  form('xadd', 'full', [0x0f, 0xc1], ['Ev', 'Gv'], { lock: true }),
  ...string('stos', 0xaa, 'rep'),
  ...string('movs', 0xa4, 'rep'),
  ...string('lods', 0xac, 'rep'),
  ...string('scas', 0xae, 'compare'),
  ...string('cmps', 0xa6, 'compare'),
];

const CONTROL_FLOW: readonly InstructionForm[] = [
  form('push', 'stack', [0x50], ['Zv']),
  form('pop', 'stack', [0x58], ['Zv']),
  form('push', 'stack', [0x6a], ['Is']),
  form('push', 'stack', [0x68], ['Iz']),
  form('push', 'stack', [0xff], ['Ev'], { digit: 6 }),
  form('pop', 'stack', [0x8f], ['Ev'], { digit: 0 }),
  form('leave', 'stack', [0xc9]),
  form('pushf', 'stack', [0x9c]),
  form('popf', 'stack', [0x9d]),
  form('call', 'stack', [0xe8], ['Jz']),
  form('call', 'stack', [0xff], ['Ev'], { digit: 2 }),
  form('ret', 'stack', [0xc3]),
  form('jmp', 'stack', [0xeb], ['Jb']),
  form('jmp', 'stack', [0xe9], ['Jz']),
  form('jmp', 'stack', [0xff], ['Ev'], { digit: 4 }),
  form('jcc', 'stack', [0x70], ['Jb'], { conditional: true }),
  form('jcc', 'stack', [0x0f, 0x80], ['Jz'], { conditional: true }),
  form('loopne', 'stack', [0xe0], ['Jb'], { semantics: 'loop' }),
  form('loope', 'stack', [0xe1], ['Jb'], { semantics: 'loop' }),
  form('loop', 'stack', [0xe2], ['Jb']),
  form('jcxz', 'stack', [0xe3], ['Jb']),
];

const MACHINE: readonly InstructionForm[] = [
  form('in', 'byte', [0xe4], ['AL', 'Ib']),
  form('in', 'port', [0xe5], ['rAX', 'Ib']),
  form('in', 'byte', [0xec], ['AL', 'DX']),
  form('in', 'port', [0xed], ['rAX', 'DX']),
  form('out', 'byte', [0xe6], ['Ib', 'AL']),
  form('out', 'port', [0xe7], ['Ib', 'rAX']),
  form('out', 'byte', [0xee], ['DX', 'AL']),
  form('out', 'port', [0xef], ['DX', 'rAX']),
  form('ins', 'byte', [0x6c], [], { repeat: 'rep' }),
  form('ins', 'port', [0x6d], [], { repeat: 'rep' }),
  form('outs', 'byte', [0x6e], [], { repeat: 'rep' }),
  form('outs', 'port', [0x6f], [], { repeat: 'rep' }),
  form('hlt', 'fixed', [0xf4]),
  form('pause', 'fixed', [0x90], [], { mandatory: 0xf3 }),
  form('nop', 'fixed', [0x90]),
  // 90 itself is nop, which comes first.
  form('xchg', 'full', [0x90], ['Zv', 'rAX']),
  form('nop', 'full', [0x0f, 0x1f], ['Ev'], { digit: 0 }),
  form('mfence', 'fixed', [0x0f, 0xae, 0xf0], [], { semantics: 'fence' }),
  form('lfence', 'fixed', [0x0f, 0xae, 0xe8], [], { semantics: 'fence' }),
  form('sfence', 'fixed', [0x0f, 0xae, 0xf8], [], { semantics: 'fence' }),
  form('cpuid', 'fixed', [0x0f, 0xa2]),
  form('rdtsc', 'fixed', [0x0f, 0x31]),
  form('rdmsr', 'fixed', [0x0f, 0x32]),
  form('wrmsr', 'fixed', [0x0f, 0x30]),
  form('invlpg', 'fixed', [0x0f, 0x01], ['M'], { digit: 7 }),
  form('cmc', 'fixed', [0xf5]),
  form('clc', 'fixed', [0xf8]),
  form('stc', 'fixed', [0xf9]),
  form('cli', 'fixed', [0xfa]),
  form('sti', 'fixed', [0xfb]),
  form('cld', 'fixed', [0xfc]),
  form('std', 'fixed', [0xfd]),
  // Without interrupts of its own the emulator can deliver a breakpoint in real mode only.
  form('int3', 'fixed', [0xcc], [], { emulation: 'no' }),
  form('ud2', 'fixed', [0x0f, 0x0b]),
  form('vmcall', 'fixed', [0x0f, 0x01, 0xc1], [], { semantics: 'hypercall', emulation: 'no' }),
  form('vmmcall', 'fixed', [0x0f, 0x01, 0xd9], [], { semantics: 'hypercall', emulation: 'no' }),
  form('lgdt', 'fixed', [0x0f, 0x01], ['M'], { digit: 2 }),
  // Between code segments: to where offset and selector lie in memory, or on the stack.
  form('jmpf', 'full', [0xff], ['M'], { digit: 5, semantics: 'jmp-far' }),
  form('callf', 'full', [0xff], ['M'], { digit: 3, semantics: 'call-far' }),
  form('retf', 'full', [0xcb], [], { semantics: 'ret-far' }),
  form('retf', 'full', [0xca], ['Iw'], { semantics: 'ret-far' }),
  // The emulator knows that of real mode only.
  form('iret', 'full', [0xcf], [], { emulation: 'no' }),
  // Of SEV-ES, SEV-SNP and TDX guests; elsewhere vmgexit is vmmcall, and the other two are undefined.
  form('vmgexit', 'fixed', [0x0f, 0x01, 0xd9], [], { mandatory: 0xf3, emulation: 'no' }),
  form('pvalidate', 'fixed', [0x0f, 0x01, 0xff], [], { mandatory: 0xf2, emulation: 'no' }),
  form('tdcall', 'fixed', [0x0f, 0x01, 0xcc], [], { mandatory: 0x66, emulation: 'no' }),
];

/**
 * Every x86-64 instruction that this library knows, one row per encoding. The encoder, the decoder and an executor all
 * work from these rows, so an instruction added here exists for all three.
 */
export const INSTRUCTIONS: readonly InstructionForm[] = [...ARITHMETIC, ...MOVES, ...CONTROL_FLOW, ...MACHINE];
