import { describe, expect, it } from 'vitest';
import { CHECK_TAGS, DEFAULT_BASE, listing, program, REPORT_GPA, x64 } from '../../../lib/guest/index.ts';

function texts(bytes: Uint8Array, base: number): string[] {
  return x64.disassemble(bytes, 64, base).map((line) => line.text);
}

const PROLOGUE = ['cld', 'mov rbp, 0x11000'];
const HALT = ['hlt', expect.stringMatching(/^jmp /)];

describe('program', () => {
  it('assembles a store to readable bytes', () => {
    const p = program({ arch: 'x64' }, (g) => g.store(0x200000, 0x1234n, { size: 2 }));
    const expected = [...PROLOGUE, 'mov eax, 0x1234', 'mov edi, 0x200000', 'mov word ptr [rdi], ax', ...HALT];
    expect(texts(p.bytes, p.base)).toEqual(expected);
    expect(p).toMatchObject({ arch: 'x64', mode: 64, base: DEFAULT_BASE, entry: DEFAULT_BASE });
  });

  it('keeps values in a frame on a page of its own behind the code', () => {
    const p = program({ arch: 'x64', base: 0x20000 }, (g) => g.report(3, g.load(0x1000).add(1)));
    expect(p.frame).toEqual({ gpa: 0x21000, size: 16 });
    expect(p.size).toBe(0x1010);
    expect(texts(p.bytes, p.base)).toContain('mov rbp, 0x21000');
    expect(texts(p.bytes, p.base)).toContain(`mov edi, 0x${(REPORT_GPA + 24).toString(16)}`);
  });

  it('knows only instructions of the table, and none but hypercalls that the emulator lacks', () => {
    const p = program({ arch: 'x64' }, (g) => {
      const v = g.variable(g.load(0x1000, { size: 1 }));
      for (const op of ['add', 'sub', 'mul', 'and', 'or', 'xor', 'shl', 'shr'] as const) v.set(v[op](3));
      for (const relation of ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const)
        g.when(v[relation](2), () => g.out(1, v, 1), g.fence.bind(g));
      g.fill(0x2000, 5, 1);
      g.check(0x2000, 8, { kind: 'address', seed: 1n });
      g.copy(0x3000, 0x2000, v);
      g.report(0, g.checksum(0x2000, v));
      g.fetchAdd(0x1000, 1);
      g.compareExchange(0x1000, 1, v);
      g.repeat(v, (_, leave) => leave());
      g.whileEqual(0x1000, 4, { size: 4 });
      g.report(1, g.in(0x60).add(g.cpuid(1).eax).add(g.readMsr(0x10)));
      g.writeMsr(0x10, v);
      g.mapGpaRange(0x100000000, 1, { private: true });
    });
    const lines = x64.disassemble(p.bytes, 64, p.base);
    expect(lines.filter((line) => line.instruction === undefined)).toEqual([]);
    const missing = lines.filter((line) => line.instruction?.form.emulation === 'no').map((line) => line.text);
    expect(missing).toEqual(['vmcall']);
  });

  it.each([
    [{ private: true }, 0x10n],
    [{ private: false }, 0n],
    [{ private: true, size: '2M' }, 0x11n],
    [{ private: true, size: '1G', attributes: 0x100n }, 0x112n],
  ] as const)('asks for a conversion with %o', (options, attributes) => {
    const p = program({ arch: 'x64', hypercall: 'vmmcall' }, (g) => void g.mapGpaRange(0x1_0000_0000, 2, options));
    const all = texts(p.bytes, p.base);
    const at = all.indexOf('vmmcall');
    expect(all.slice(at - 5, at)).toEqual([
      'mov rbx, 0x100000000',
      'mov ecx, 0x2',
      `mov edx, 0x${attributes.toString(16)}`,
      'mov esi, 0x0',
      'mov eax, 0xc',
    ]);
  });

  it('records what it touches, merged, and what it was told', () => {
    const p = program({ arch: 'x64' }, (g) => {
      const at = g.load(0x200000);
      g.store(0x200008, 1);
      g.store(at, 2);
      g.touch(0x1_0000_0000, 0x1000);
      g.fill(0x300000, 0x2000, 0);
    });
    expect(p.touches).toEqual([
      { gpa: p.base, size: p.size },
      { gpa: 0x200000, size: 16 },
      { gpa: 0x300000, size: 0x2000 },
      { gpa: REPORT_GPA, size: 4096 },
      { gpa: 0x1_0000_0000, size: 0x1000 },
    ]);
  });

  it('describes its checks', () => {
    const p = program({ arch: 'x64' }, (g) => {
      g.check(0x1000, 16, 0xaa);
      g.check(g.value(0x2000), 3, 0xaa);
    });
    expect(p.checks).toEqual([
      { id: 0, gpa: 0x1000, length: 16, pattern: 0xaa, unit: 8 },
      { id: 1, gpa: undefined, length: 3, pattern: 0xaa, unit: 1 },
    ]);
    const reports = texts(p.bytes, p.base).filter((text) => text.startsWith('mov edi, 0xe0000'));
    const tags = reports.map((text) => (Number(text.slice('mov edi, '.length)) - REPORT_GPA) / 8);
    const { FAILED, GPA, EXPECTED, ACTUAL, PASSED } = CHECK_TAGS;
    expect(tags).toEqual([FAILED, GPA, EXPECTED, ACTUAL, PASSED, FAILED, GPA, EXPECTED, ACTUAL, PASSED]);
  });

  it('lists steps and instructions', () => {
    const text = listing(program({ arch: 'x64' }, (g) => g.store(0x5000, 1)));
    expect(text).toMatch(/; store 0x5000\n {3}1000b: {2}b8 01 00 00 00 +mov eax, 0x1\n/);
    expect(text).toMatch(/; halt\n.*hlt/);
  });

  it.each<[string, (g: x64.X64Builder) => void, RegExp]>([
    ['a number of more than 64 bits', (g) => g.store(0, 1n << 64n), /store value/],
    ['a gpa of more than 52 bits', (g) => void g.load(2n ** 52n), /load gpa/],
    ['an unsafe number', (g) => g.report(0, 2 ** 60), /safe integer/],
    ['a reserved tag', (g) => g.report(0x1f0, 0), /reserved/],
    ['a negative tag', (g) => g.report(-1, 0), /report tag/],
    ['an empty range', (g) => g.fill(0, 0, 0), /fill/],
    ['a pattern that is no byte', (g) => g.fill(0, 8, 256), /no byte/],
    ['words that do not fit the length', (g) => void g.check(0, 12, 1n), /multiple of 8/],
    ['a checksum of odd length', (g) => void g.checksum(0, 9), /multiple of 8/],
    ['a port', (g) => g.out(0x10000, 0), /out port/],
    ['too many parameters', (g) => void g.hypercall(1, 1, 2, 3, 4, 5), /at most 4/],
  ])('throws RangeError for %s', (_, write, message) => {
    expect(() => program({ arch: 'x64' }, write)).toThrow(RangeError);
    expect(() => program({ arch: 'x64' }, write)).toThrow(message);
  });

  it('throws RangeError for a report window off its page', () => {
    expect(() => program({ arch: 'x64', reportGpa: 0xe000_0008 }, () => {})).toThrow(/page-aligned/);
  });

  it('refuses values and operations outside their program', () => {
    let leaked: Parameters<Parameters<typeof program<'x64'>>[1]>[0] | undefined;
    program({ arch: 'x64' }, (g) => {
      leaked = g;
    });
    expect(() => leaked?.store(0, 0)).toThrow(TypeError);
    const foreign = leaked;
    expect(() =>
      program({ arch: 'x64' }, (g) => {
        let other: ReturnType<typeof g.value> | undefined;
        program({ arch: 'x64' }, (h) => {
          other = h.value(1);
        });
        if (other !== undefined) g.store(0, other);
      }),
    ).toThrow(/another program/);
    expect(foreign).toBeDefined();
  });
});
