/**
 * The A64 instructions that this package knows, each as the manual draws it (Arm ARM, C4 and C6). The assembler, the decoder and the
 * simulated vCPU work from these rows. Of several rows that an instruction fits, the first is taken.
 */
import { form, type InstructionForm, type Mnemonic, type Semantics, widths } from './form.ts';

type Rows = readonly InstructionForm[];

function addSubtract(mnemonic: Mnemonic, op: string, s: string): Rows {
  const d = s === '1' ? 'Rd' : 'Rd|SP';
  return [
    ...widths(mnemonic, `${op} ${s} 100010 sh imm12:12 Rn:5 Rd:5`, [d, 'Rn|SP', 'imm12']),
    ...widths(mnemonic, `${op} ${s} 01011 shift:2 0 Rm:5 imm6:6 Rn:5 Rd:5`, ['Rd', 'Rn', 'Rm,shift']),
    ...widths(mnemonic, `${op} ${s} 01011 00 1 Rm:5 option:3 imm3:3 Rn:5 Rd:5`, [d, 'Rn|SP', 'Rm,extend']),
  ];
}

function withCarry(mnemonic: Mnemonic, op: string, s: string): Rows {
  return widths(mnemonic, `${op} ${s} 11010000 Rm:5 000000 Rn:5 Rd:5`, ['Rd', 'Rn', 'Rm']);
}

/** N is a part of 64-bit immediates only. */
function logicalImmediate(mnemonic: Mnemonic, opc: string): Rows {
  const d = opc === '11' ? 'Rd' : 'Rd|SP';
  return [
    form(mnemonic, `1 ${opc} 100100 N immr:6 imms:6 Rn:5 Rd:5`, [d, 'Rn', 'bitmask']),
    form(mnemonic, `0 ${opc} 100100 0 immr:6 imms:6 Rn:5 Rd:5`, [d, 'Rn', 'bitmask'], { bits: 32 }),
  ];
}

function logical(mnemonic: Mnemonic, opc: string, n: string): Rows {
  return widths(mnemonic, `${opc} 01010 shift:2 ${n} Rm:5 imm6:6 Rn:5 Rd:5`, ['Rd', 'Rn', 'Rm,shift|ror']);
}

function bitfield(mnemonic: Mnemonic, opc: string): Rows {
  return [
    form(mnemonic, `1 ${opc} 100110 1 immr:6 imms:6 Rn:5 Rd:5`, ['Rd', 'Rn', 'immr', 'imms']),
    form(mnemonic, `0 ${opc} 100110 0 0 immr:5 0 imms:5 Rn:5 Rd:5`, ['Rd', 'Rn', 'immr', 'imms'], { bits: 32 }),
  ];
}

const wideMove = (mnemonic: Mnemonic, opc: string): Rows => [
  form(mnemonic, `1 ${opc} 100101 hw:2 imm16:16 Rd:5`, ['Rd', 'imm16', 'hw']),
  form(mnemonic, `0 ${opc} 100101 0 hw:1 imm16:16 Rd:5`, ['Rd', 'imm16', 'hw'], { bits: 32 }),
];

const select = (mnemonic: Mnemonic, op: string, o2: string): Rows =>
  widths(mnemonic, `${op} 0 11010100 Rm:5 cond:4 0${o2} Rn:5 Rd:5`, ['Rd', 'Rn', 'Rm', 'cond']);

const conditionalCompare = (mnemonic: Mnemonic, op: string): Rows => [
  ...widths(mnemonic, `${op} 1 11010010 imm5:5 cond:4 1 0 Rn:5 0 nzcv:4`, ['Rn', 'imm5', 'nzcv', 'cond']),
  ...widths(mnemonic, `${op} 1 11010010 Rm:5 cond:4 0 0 Rn:5 0 nzcv:4`, ['Rn', 'Rm', 'nzcv', 'cond']),
];

const twoSource = (mnemonic: Mnemonic, opcode: string): Rows =>
  widths(mnemonic, `0 0 11010110 Rm:5 ${opcode} Rn:5 Rd:5`, ['Rd', 'Rn', 'Rm']);

const oneSource = (mnemonic: Mnemonic, opcode: string): Rows =>
  widths(mnemonic, `1 0 11010110 00000 ${opcode} Rn:5 Rd:5`, ['Rd', 'Rn']);

const multiplyLong = (mnemonic: Mnemonic, op31: string, o0: string): InstructionForm =>
  form(mnemonic, `1 00 11011 ${op31} Rm:5 ${o0} Ra:5 Rn:5 Rd:5`, ['Xd', 'Wn', 'Wm', 'Xa']);

/** Loads and stores of one register in all addressing modes. `stem` is ldr, ldrb, …; the unscaled form's is ldur, ldurb, … */
function single(stem: Mnemonic, unscaled: Mnemonic, size: 1 | 2 | 4 | 8, opc: string, bits: 32 | 64): Rows {
  const sizeBits = { 1: '00', 2: '01', 4: '10', 8: '11' }[size];
  const semantics: Semantics = opc === '00' ? 'store' : 'load';
  const access = { size, signed: opc[0] === '1' } as const;
  const row = (
    mnemonic: Mnemonic,
    tail: string,
    address: InstructionForm['operands'][number],
    indexing?: 'pre' | 'post',
  ) =>
    form(mnemonic, `${sizeBits} 111 0 ${tail} Rn:5 Rt:5`, ['Rt', address], {
      semantics,
      bits,
      access,
      ...(indexing === undefined ? {} : { indexing }),
    });
  return [
    row(stem, `01 ${opc} imm12:12`, '[n,uimm12]'),
    row(stem, `00 ${opc} 0 imm9:9 01`, '[n,simm9]', 'post'),
    row(stem, `00 ${opc} 0 imm9:9 11`, '[n,simm9]', 'pre'),
    row(stem, `00 ${opc} 1 Rm:5 option:3 S 10`, '[n,Rm]'),
    row(unscaled, `00 ${opc} 0 imm9:9 00`, '[n,simm9]'),
  ];
}

function pair(mnemonic: Mnemonic, opc: string, load: boolean, size: 4 | 8, bits: 32 | 64, signed = false): Rows {
  const modes = [
    ['010', 'offset'],
    ['001', 'post'],
    ['011', 'pre'],
  ] as const;
  return modes.map(([mode, indexing]) =>
    form(mnemonic, `${opc} 101 0 ${mode} ${load ? 1 : 0} imm7:7 Rt2:5 Rn:5 Rt:5`, ['Rt', 'Rt2', '[n,simm7]'], {
      semantics: load ? 'load-pair' : 'store-pair',
      bits,
      access: { size, signed },
      indexing,
    }),
  );
}

/** Exclusive and ordered accesses of one register. */
function ordered(size: 1 | 2 | 4 | 8): Rows {
  const sizeBits = { 1: '00', 2: '01', 4: '10', 8: '11' }[size];
  const suffix = ({ 1: 'b', 2: 'h', 4: '', 8: '' } as const)[size];
  const options = { bits: size === 8 ? 64 : 32, access: { size, signed: false } } as const;
  const head = `${sizeBits} 001000`;
  const load = (mnemonic: Mnemonic, o2: string, o0: string, semantics: Semantics): InstructionForm =>
    form(mnemonic, `${head} ${o2} 1 0 11111 ${o0} 11111 Rn:5 Rt:5`, ['Rt', '[n]'], { ...options, semantics });
  const exclusive = (mnemonic: Mnemonic, o0: string): InstructionForm =>
    form(mnemonic, `${head} 0 0 0 Rs:5 ${o0} 11111 Rn:5 Rt:5`, ['Ws', 'Rt', '[n]'], {
      ...options,
      semantics: 'store-exclusive',
    });
  return [
    load(`ldxr${suffix}`, '0', '0', 'load-exclusive'),
    load(`ldaxr${suffix}`, '0', '1', 'load-exclusive'),
    load(`ldar${suffix}`, '1', '1', 'load'),
    exclusive(`stxr${suffix}`, '0'),
    exclusive(`stlxr${suffix}`, '1'),
    form(`stlr${suffix}`, `${head} 1 0 0 11111 1 11111 Rn:5 Rt:5`, ['Rt', '[n]'], { ...options, semantics: 'store' }),
  ];
}

const hint = (mnemonic: Mnemonic, number: string, semantics: Semantics): InstructionForm =>
  form(mnemonic, `1101010100 0 00 011 0010 ${number} 11111`, [], { semantics });
const exception = (mnemonic: Mnemonic, opc: string, ll: string): InstructionForm =>
  form(mnemonic, `11010100 ${opc} imm16:16 000 ${ll}`, ['imm16']);
const barrier = (mnemonic: Mnemonic, op2: string): InstructionForm =>
  form(mnemonic, `1101010100 0 00 011 0011 CRm:4 ${op2} 11111`, ['imm4'], { semantics: 'barrier' });
const toRegister = (mnemonic: Mnemonic, opc: string): InstructionForm =>
  form(mnemonic, `1101011 ${opc} 11111 000000 Rn:5 00000`, ['Xn']);

const ARITHMETIC: Rows = [
  ...addSubtract('add', '0', '0'),
  ...addSubtract('adds', '0', '1'),
  ...addSubtract('sub', '1', '0'),
  ...addSubtract('subs', '1', '1'),
  ...withCarry('adc', '0', '0'),
  ...withCarry('adcs', '0', '1'),
  ...withCarry('sbc', '1', '0'),
  ...withCarry('sbcs', '1', '1'),
  form('adr', '0 immlo:2 10000 immhi:19 Rd:5', ['Xd', 'adr']),
  form('adrp', '1 immlo:2 10000 immhi:19 Rd:5', ['Xd', 'adrp']),
  ...widths('madd', '00 11011 000 Rm:5 0 Ra:5 Rn:5 Rd:5', ['Rd', 'Rn', 'Rm', 'Ra']),
  ...widths('msub', '00 11011 000 Rm:5 1 Ra:5 Rn:5 Rd:5', ['Rd', 'Rn', 'Rm', 'Ra']),
  multiplyLong('smaddl', '001', '0'),
  multiplyLong('smsubl', '001', '1'),
  multiplyLong('umaddl', '101', '0'),
  multiplyLong('umsubl', '101', '1'),
  form('smulh', '1 00 11011 010 Rm:5 0 11111 Rn:5 Rd:5', ['Xd', 'Xn', 'Xm']),
  form('umulh', '1 00 11011 110 Rm:5 0 11111 Rn:5 Rd:5', ['Xd', 'Xn', 'Xm']),
  ...twoSource('udiv', '000010'),
  ...twoSource('sdiv', '000011'),
];

const BITS: Rows = [
  ...logicalImmediate('and', '00'),
  ...logicalImmediate('orr', '01'),
  ...logicalImmediate('eor', '10'),
  ...logicalImmediate('ands', '11'),
  ...logical('and', '00', '0'),
  ...logical('bic', '00', '1'),
  ...logical('orr', '01', '0'),
  ...logical('orn', '01', '1'),
  ...logical('eor', '10', '0'),
  ...logical('eon', '10', '1'),
  ...logical('ands', '11', '0'),
  ...logical('bics', '11', '1'),
  ...wideMove('movn', '00'),
  ...wideMove('movz', '10'),
  ...wideMove('movk', '11'),
  ...bitfield('sbfm', '00'),
  ...bitfield('bfm', '01'),
  ...bitfield('ubfm', '10'),
  form('extr', '1 00 100111 1 0 Rm:5 imms:6 Rn:5 Rd:5', ['Rd', 'Rn', 'Rm', 'imms']),
  form('extr', '0 00 100111 0 0 Rm:5 0 imms:5 Rn:5 Rd:5', ['Rd', 'Rn', 'Rm', 'imms'], { bits: 32 }),
  ...twoSource('lslv', '001000'),
  ...twoSource('lsrv', '001001'),
  ...twoSource('asrv', '001010'),
  ...twoSource('rorv', '001011'),
  ...oneSource('rbit', '000000'),
  ...oneSource('rev16', '000001'),
  form('rev32', '1 1 0 11010110 00000 000010 Rn:5 Rd:5', ['Xd', 'Xn']),
  form('rev', '1 1 0 11010110 00000 000011 Rn:5 Rd:5', ['Xd', 'Xn']),
  form('rev', '0 1 0 11010110 00000 000010 Rn:5 Rd:5', ['Wd', 'Wn'], { bits: 32 }),
  ...oneSource('clz', '000100'),
  ...oneSource('cls', '000101'),
];

const CONTROL: Rows = [
  ...select('csel', '0', '0'),
  ...select('csinc', '0', '1'),
  ...select('csinv', '1', '0'),
  ...select('csneg', '1', '1'),
  ...conditionalCompare('ccmn', '0'),
  ...conditionalCompare('ccmp', '1'),
  form('b', '0 00101 imm26:26', ['rel26']),
  form('bl', '1 00101 imm26:26', ['rel26']),
  form('b.cond', '01010100 imm19:19 0 cond:4', ['cond', 'rel19']),
  ...widths('cbz', '011010 0 imm19:19 Rt:5', ['Rt', 'rel19']),
  ...widths('cbnz', '011010 1 imm19:19 Rt:5', ['Rt', 'rel19']),
  form('tbz', 'b5 011011 0 b40:5 imm14:14 Rt:5', ['Xt', 'bit', 'rel14']),
  form('tbnz', 'b5 011011 1 b40:5 imm14:14 Rt:5', ['Xt', 'bit', 'rel14']),
  toRegister('br', '0000'),
  toRegister('blr', '0001'),
  toRegister('ret', '0010'),
  form('eret', '1101011 0100 11111 000000 11111 00000', []),
];

const MEMORY: Rows = [
  ...single('str', 'stur', 8, '00', 64),
  ...single('str', 'stur', 4, '00', 32),
  ...single('strh', 'sturh', 2, '00', 32),
  ...single('strb', 'sturb', 1, '00', 32),
  ...single('ldr', 'ldur', 8, '01', 64),
  ...single('ldr', 'ldur', 4, '01', 32),
  ...single('ldrh', 'ldurh', 2, '01', 32),
  ...single('ldrb', 'ldurb', 1, '01', 32),
  ...single('ldrsw', 'ldursw', 4, '10', 64),
  ...single('ldrsh', 'ldursh', 2, '10', 64),
  ...single('ldrsh', 'ldursh', 2, '11', 32),
  ...single('ldrsb', 'ldursb', 1, '10', 64),
  ...single('ldrsb', 'ldursb', 1, '11', 32),
  form('ldr', '01 011 0 00 imm19:19 Rt:5', ['Rt', 'rel19'], {
    semantics: 'load-literal',
    access: { size: 8, signed: false },
  }),
  form('ldr', '00 011 0 00 imm19:19 Rt:5', ['Rt', 'rel19'], {
    semantics: 'load-literal',
    access: { size: 4, signed: false },
    bits: 32,
  }),
  form('ldrsw', '10 011 0 00 imm19:19 Rt:5', ['Rt', 'rel19'], {
    semantics: 'load-literal',
    access: { size: 4, signed: true },
  }),
  ...pair('stp', '10', false, 8, 64),
  ...pair('ldp', '10', true, 8, 64),
  ...pair('stp', '00', false, 4, 32),
  ...pair('ldp', '00', true, 4, 32),
  ...pair('ldpsw', '01', true, 4, 64, true),
  ...([8, 4, 2, 1] as const).flatMap(ordered),
];

const SYSTEM: Rows = [
  form('clrex', '1101010100 0 00 011 0011 CRm:4 010 11111', ['imm4']),
  barrier('dsb', '100'),
  barrier('dmb', '101'),
  barrier('isb', '110'),
  hint('nop', '0000 000', 'nop'),
  hint('yield', '0000 001', 'yield'),
  hint('wfe', '0000 010', 'wfe'),
  hint('wfi', '0000 011', 'wfi'),
  hint('sev', '0000 100', 'nop'),
  hint('sevl', '0000 101', 'nop'),
  form('msr', '1101010100 0 00 op1:3 0100 CRm:4 op2:3 11111', ['pstate', 'imm4'], { semantics: 'msr-immediate' }),
  form('msr', '1101010100 0 1 o0 op1:3 CRn:4 CRm:4 op2:3 Rt:5', ['sysreg', 'Xt']),
  form('mrs', '1101010100 1 1 o0 op1:3 CRn:4 CRm:4 op2:3 Rt:5', ['Xt', 'sysreg']),
  exception('svc', '000', '01'),
  exception('hvc', '000', '10'),
  exception('smc', '000', '11'),
  exception('brk', '001', '00'),
];

export const INSTRUCTIONS: Rows = [...ARITHMETIC, ...BITS, ...CONTROL, ...MEMORY, ...SYSTEM];
