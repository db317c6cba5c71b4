import { describe, expect, it } from 'vitest';
import { Assembler } from '../../../lib/guest/x64/assembler.ts';
import { disassemble } from '../../../lib/guest/x64/disassemble.ts';
import type { Mode } from '../../../lib/guest/x64/operands.ts';

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function assemble(mode: Mode, write: (a: Assembler) => void, base = 0): string {
  const a = new Assembler(mode, base);
  write(a);
  return hex(a.bytes());
}

describe('the assembler', () => {
  it.each<[string, Mode, (a: Assembler) => void, string]>([
    ['the shortest immediate', 64, (a) => a.add('rbx', 1), '4883c301'],
    ['the accumulator form', 64, (a) => a.add('rax', 0x1000), '480500100000'],
    ['a sign-extended immediate', 64, (a) => a.mov('rax', -1), '48c7c0ffffffff'],
    ['a full immediate', 64, (a) => a.mov('rax', 0x8000_0000n), '48b80000008000000000'],
    ['an unsigned spelling of a negative byte', 64, (a) => a.and('rax', 0xffff_ffff_ffff_fff0n), '4883e0f0'],
    ['r12 as base', 64, (a) => a.mov('rax', { base: 'r12' }), '498b0424'],
    ['r13 as base', 64, (a) => a.mov('rax', { base: 'r13' }), '498b4500'],
    ['a scaled index', 64, (a) => a.mov({ base: 'rbx', index: 'r9', scale: 4, disp: -4 }, 'cl'), '42884c8bfc'],
    ['16-bit pairs', 16, (a) => a.mov('ax', { base: 'bx', index: 'si' }), '8b00'],
    ['32-bit operands in 16-bit code', 16, (a) => a.mov('eax', { base: 'ebx' }), '67668b03'],
    ['one-byte inc where it exists', 32, (a) => a.inc('ecx'), '41'],
    ['two-byte inc where it does not', 64, (a) => a.inc('ecx'), 'ffc1'],
    ['a locked exchange-add', 64, (a) => a.lock().xadd({ base: 'rdi' }, 'rax'), 'f0480fc107'],
    ['repeated strings', 64, (a) => a.stos(64, 'rep').scas(8, 'repne'), 'f348abf2ae'],
    ['ports', 64, (a) => a.out(0x80, 'eax').in('al', 'dx'), 'e780ec'],
    ['hypercalls', 64, (a) => a.vmcall().vmmcall(), '0f01c10f01d9'],
    ['protected guests', 64, (a) => a.vmgexit().pvalidate().tdcall(), 'f30f01d9f20f01ff660f01cc'],
    ['far code', 32, (a) => a.lgdt({ disp: 0x1000 }).retf(), '0f011500100000cb'],
  ])('chooses %s', (_, mode, write, bytes) => {
    expect(assemble(mode, write)).toBe(bytes);
  });

  it('reaches labels backwards in two bytes and forwards with room for any distance', () => {
    const a = new Assembler(64);
    const [back, ahead] = [a.label(), a.label()];
    a.bind(back).nop().jmp(back).jcc('ne', ahead).nop().bind(ahead).call(back);
    expect(hex(a.bytes())).toBe('90ebfd0f850100000090e8f1ffffff');
  });

  it.each([
    [125, 2],
    [126, 2],
    [127, 5],
  ])('leaves the short form %i bytes behind the label when it is out of reach', (distance, length) => {
    const a = new Assembler(64);
    const back = a.label();
    a.bind(back).data(new Uint8Array(distance).fill(0x90)).jmp(back);
    expect(a.offset - distance).toBe(length);
    const last = disassemble(a.bytes(), 64).at(-1);
    expect(last?.text).toBe('jmp 0x0');
  });

  it('gives absolute addresses to labels in immediates and displacements', () => {
    const write = (a: Assembler): void => {
      const here = a.label();
      a.bind(here)
        .mov(a.mode === 16 ? 'bx' : 'ebx', here)
        .mov('eax', { label: here });
    };
    expect(assemble(16, write, 0x7c00)).toBe('bb007c66a1007c'.replace('66a1007c', '668b06007c'));
    expect(assemble(32, write, 0x12345678)).toBe('bb785634128b0578563412');
  });

  it('counts rip-relative labels from the end of the instruction, immediates included', () => {
    const text = (write: (a: Assembler) => void): string => assemble(64, write, 0x1000);
    const target = (a: Assembler, use: (label: ReturnType<Assembler['label']>) => void): void => {
      const label = a.label();
      use(label);
      a.bind(label).hlt();
    };
    expect(text((a) => target(a, (label) => a.lea('rax', { base: 'rip', label })))).toBe('488d0500000000f4');
    expect(text((a) => target(a, (label) => a.add({ base: 'rip', label, size: 4 }, 1)))).toBe('83050000000001f4');
  });

  it.each<[string, Mode, (a: Assembler) => void, RegExp]>([
    ['an immediate', 64, (a) => a.mov('al', 256), /mov: operand 2: 0x100 does not fit in 8 bits/],
    ['a sign-extended immediate', 64, (a) => a.add('rax', 0x8000_0000), /add: operand 2: 0x80000000 does not fit/],
    ['a port', 64, (a) => a.out(256, 'al'), /out: operand 1: 0x100/],
    ['an unsafe number', 64, (a) => a.mov('rax', 2 ** 60), /safe integer/],
    ['a displacement', 64, (a) => a.mov('rax', { base: 'rbx', disp: 2 ** 31 }), /disp: 0x80000000/],
    ['a 16-bit displacement', 16, (a) => a.mov('ax', { base: 'bx', disp: 0x10000 }), /disp: 0x10000/],
    ['a data byte', 64, (a) => a.data([256]), /data/],
  ])('throws RangeError for %s', (_, mode, write, message) => {
    expect(() => assemble(mode, write)).toThrow(RangeError);
    expect(() => assemble(mode, write)).toThrow(message);
  });

  it.each<[string, Mode, (a: Assembler) => void, RegExp]>([
    ['64-bit registers in 32-bit code', 32, (a) => a.mov('rax', 1), /mov: no 32-bit form/],
    ['new registers in 32-bit code', 32, (a) => a.mov('r8d', 1), /64-bit code only/],
    ['a missing memory size', 64, (a) => a.mov({ base: 'rax' }, 1), /say the operand size/],
    ['mixed sizes', 64, (a) => a.mov('rax', 'ebx'), /no 64-bit form takes 64-bit general register, 32-bit/],
    ['ah beside REX', 64, (a) => a.mov('ah', 'r8b'), /REX/],
    ['rsp as index', 64, (a) => a.mov('rax', { index: 'rsp' }), /stack pointer/],
    ['two memory operands', 64, (a) => a.mov({ base: 'rax' }, { base: 'rbx' }), /no 64-bit form/],
    ['locking what cannot be locked', 64, (a) => a.lock().mov({ base: 'rax' }, 'rbx'), /locked/],
    ['locking a register', 64, (a) => a.lock().add('rax', 'rbx'), /locked/],
    ['a wrong 16-bit pair', 16, (a) => a.mov('ax', { base: 'si', index: 'bx' }), /16-bit addresses/],
    ['loading cs', 64, (a) => a.mov('cs', 'ax'), /far branches/],
  ])('throws TypeError for %s', (_, mode, write, message) => {
    expect(() => assemble(mode, write)).toThrow(TypeError);
    expect(() => assemble(mode, write)).toThrow(message);
  });

  it('throws for labels that are unbound, bound twice or out of reach', () => {
    expect(() => assemble(64, (a) => a.jmp(a.label('there')))).toThrow(/'there' is used but never bound/);
    const a = new Assembler(64);
    const label = a.label('twice');
    a.bind(label);
    expect(() => a.bind(label)).toThrow(TypeError);
    const far = new Assembler(64);
    const start = far.label('start');
    far.bind(start).data(new Uint8Array(200)).loop(start);
    expect(() => far.bytes()).toThrow(RangeError);
    expect(() =>
      assemble(
        16,
        (b) => {
          const l = b.label('high');
          b.bind(l).mov('ax', l);
        },
        0x10000,
      ),
    ).toThrow(/'high'/);
  });

  it('keeps a failed instruction out of the bytes', () => {
    const a = new Assembler(64);
    a.nop();
    expect(() => a.lock().mov('al', 300)).toThrow(RangeError);
    a.nop();
    expect(hex(a.bytes())).toBe('9090');
  });
});

describe('the disassembler', () => {
  it('shows what it does not know byte by byte', () => {
    const lines = disassemble(Uint8Array.of(0x0f, 0xff, 0x90), 64, 0x100);
    expect(lines.map(({ address, text }) => [address, text])).toEqual([
      [0x100, '(bad)'],
      [0x101, '(bad)'],
      [0x102, 'nop'],
    ]);
  });

  it('prints prefixes, sizes and targets', () => {
    const a = new Assembler(64, 0x1000);
    const here = a.label();
    a.bind(here).lock().inc({ base: 'rax', size: 8 }).movs(8, 'rep').cmps(16, 'rep').jcc('be', here).set('a', 'dl');
    expect(disassemble(a.bytes(), 64, 0x1000).map((line) => line.text)).toEqual([
      'lock inc qword ptr [rax]',
      'rep movsb',
      'repe cmpsw',
      'jbe 0x1000',
      'seta dl',
    ]);
  });

  it('knows that 64-bit code ignores four of the segments', () => {
    const text = (bytes: number[]): string | undefined => disassemble(Uint8Array.from(bytes), 64)[0]?.text;
    expect(text([0x65, 0x48, 0x8b, 0x00])).toBe('mov rax, qword ptr gs:[rax]');
    expect(text([0x3e, 0x48, 0x8b, 0x00])).toBe('mov rax, qword ptr [rax]');
  });

  it('refuses instructions of more than 15 bytes', () => {
    const prefixed = (count: number): Uint8Array => Uint8Array.from([...Array(count).fill(0x66), 0x89, 0xc3]);
    expect(disassemble(prefixed(13), 64)[0]?.text).toBe('mov bx, ax');
    expect(disassemble(prefixed(14), 64)[0]?.text).toBe('(bad)');
  });
});
