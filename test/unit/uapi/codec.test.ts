import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as uapi from '../../../lib/uapi/index.ts';
import {
  address,
  array,
  bytes,
  type Field,
  type Layout,
  named,
  s8,
  s16,
  s32,
  s64,
  showNamed,
  struct,
  u8,
  u16,
  u32,
  u64,
} from '../../../lib/uapi/index.ts';

const SEED = Number(process.env.FC_SEED ?? Date.now() % 2 ** 31);
const check = { seed: SEED, numRuns: 200 };

/** What a field can hold, made from its own size and kind. */
function valuesOf(field: Field<unknown, never>): fc.Arbitrary<unknown> {
  if ('fields' in field) {
    const layout = field as unknown as Layout;
    // Fields of a union share their bytes: only the last one written would come back.
    const taken: [number, number][] = [];
    const parts: Record<string, fc.Arbitrary<unknown>> = {};
    for (const [key, inner] of Object.entries(layout.fields)) {
      const at = layout.offsets[key] ?? 0;
      if (taken.some(([from, to]) => at < to && at + inner.size > from)) continue;
      taken.push([at, at + inner.size]);
      parts[key] = valuesOf(inner as Field<unknown, never>);
    }
    return fc.record(parts);
  }
  if (field.element !== undefined) {
    const length = field.size / field.element.size;
    return fc.array(valuesOf(field.element), { minLength: length, maxLength: length });
  }
  const zero = field.read(new DataView(new ArrayBuffer(field.size)), 0, 'probe');
  if (zero instanceof Uint8Array) return fc.uint8Array({ minLength: field.size, maxLength: field.size });
  const ones = new DataView(new Uint8Array(field.size).fill(0xff).buffer);
  let signed: boolean;
  try {
    signed = Number(field.read(ones, 0, 'probe')) < 0;
  } catch {
    return fc.nat({ max: Number.MAX_SAFE_INTEGER }); // address
  }
  const bits = field.size * 8;
  const big = signed
    ? fc.bigInt({ min: -(1n << BigInt(bits - 1)), max: (1n << BigInt(bits - 1)) - 1n })
    : fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n });
  return typeof zero === 'bigint' ? big : big.map(Number);
}

describe(`every layout of the tables, seed ${SEED} (FC_SEED)`, () => {
  for (const layout of uapi.allLayouts()) {
    it(`${layout.arch ?? 'any'} ${layout.name}: what is encoded comes back`, () => {
      const numRuns = layout.size > 512 ? 10 : 50;
      fc.assert(
        fc.property(valuesOf(layout as unknown as Field<unknown, never>), (values) => {
          const encoded = layout.encode(values as never);
          expect(encoded.length).toBe(layout.size);
          expect(layout.decode(encoded)).toEqual(values);
          // The printer never throws and names every field that is not padding.
          const shown = layout.format(encoded);
          for (const key of Object.keys(layout.fields)) {
            if (!/^(pad|reserved)/.test(key)) expect(shown).toContain(`${key}=`);
          }
        }),
        { ...check, numRuns },
      );
    });
  }

  it('decodes any bytes or says which field a number cannot hold; the printer takes anything', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...uapi.allLayouts()),
        fc.uint8Array({ minLength: 0, maxLength: 4096 }),
        (layout, raw) => {
          expect(typeof layout.format(raw)).toBe('string');
          if (raw.length < layout.size) {
            expect(() => layout.decode(raw)).toThrow(RangeError);
            return;
          }
          try {
            layout.decode(raw);
          } catch (error) {
            expect(error).toBeInstanceOf(RangeError);
            expect(String(error)).toContain(`${layout.name}.`);
          }
        },
      ),
      check,
    );
  });
});

describe('integers', () => {
  const sample = struct('sample', { a: u8, b: s8, c: u16, d: s16, e: u32, f: s32, g: u64, h: s64, i: address });

  it('names struct, field, type and value in range errors', () => {
    expect(() => sample.encode({ a: 256 })).toThrow(new RangeError('sample.a must fit u8, got 256'));
    expect(() => sample.encode({ b: -129 })).toThrow('sample.b must fit s8, got -129');
    expect(() => sample.encode({ e: -1 })).toThrow('sample.e must fit u32, got -1');
    expect(() => sample.encode({ g: 1n << 64n })).toThrow('sample.g must fit u64, got 18446744073709551616');
    expect(() => sample.encode({ e: 1.5 })).toThrow(RangeError);
    expect(() => sample.encode({ g: 2 ** 60 })).toThrow('larger ones as bigint');
    expect(() => sample.encode({ a: '1' as never })).toThrow('sample.a must be a number or a bigint, got string');
    expect(() => sample.encode({ nope: 1 } as never)).toThrow('struct sample has no field nope; it has a, b, c');
  });

  it('never rounds an address', () => {
    const encoded = sample.encode({ i: (1n << 53n) - 1n });
    expect(sample.get(encoded, 'i')).toBe(Number.MAX_SAFE_INTEGER);
    expect(() => sample.get(sample.encode({ i: 1n << 53n }), 'i')).toThrow('sample.i is 0x20000000000000');
    expect(sample.format(sample.encode({ i: 1n << 53n }))).toContain('i=0x20000000000000');
  });

  it('names nested fields and elements by their path', () => {
    const outer = struct('outer', { list: array(sample, 2), raw: bytes(4) });
    expect(() => outer.encode({ list: [{}, { c: 65536 }] })).toThrow('outer.list[1].c must fit u16, got 65536');
    expect(() => outer.encode({ list: [{}, {}, {}] })).toThrow('outer.list holds 2 elements, got 3');
    expect(() => outer.encode({ raw: new Uint8Array(5) })).toThrow('outer.raw holds 4 bytes, got 5');
    expect(() => uapi.kvm_sregs.encode({ cs: { dpl: 256 } })).toThrow('kvm_sregs.cs.dpl must fit u8, got 256');
  });

  it('refuses sizes that C could not have', () => {
    expect(() => struct('short', { a: u64 }, { size: 4 })).toThrow('size 4 is less than its fields need (8)');
    expect(() => struct('odd', { a: u64 }, { size: 12 })).toThrow('not a multiple of its alignment 8');
  });
});

describe('names', () => {
  const { GUEST_MEMFD_FLAG, KVM_EXIT, MAP, O_X86, PROT } = uapi;

  it('joins bits and keeps what has no name', () => {
    expect(showNamed(1n, GUEST_MEMFD_FLAG)).toBe('GUEST_MEMFD_FLAG_MMAP');
    expect(showNamed(3n, GUEST_MEMFD_FLAG)).toBe('GUEST_MEMFD_FLAG_MMAP|GUEST_MEMFD_FLAG_INIT_SHARED');
    expect(showNamed(0x11n, GUEST_MEMFD_FLAG)).toBe('GUEST_MEMFD_FLAG_MMAP|0x10');
    expect(showNamed(1n << 63n, GUEST_MEMFD_FLAG)).toBe('0x8000000000000000');
    expect(showNamed(0n, GUEST_MEMFD_FLAG)).toBe('0');
  });

  it('knows names for zero, and values made of several bits', () => {
    expect(showNamed(0n, PROT)).toBe('PROT_NONE');
    expect(showNamed(0n, O_X86)).toBe('O_RDONLY');
    expect(showNamed(3n, MAP)).toBe('MAP_SHARED_VALIDATE');
    expect(showNamed(1n, MAP)).toBe('MAP_SHARED');
    expect(showNamed(0x410002n, O_X86)).toBe('O_TMPFILE|O_RDWR');
  });

  it('shows values by name or in hexadecimal', () => {
    expect(showNamed(39n, KVM_EXIT)).toBe('KVM_EXIT_MEMORY_FAULT');
    expect(showNamed(99n, KVM_EXIT)).toBe('0x63');
  });

  it('is lossless: the parts add up to the value', () => {
    const sets = uapi.allNameSets().filter((set) => set.kind === 'bits');
    fc.assert(
      fc.property(fc.constantFrom(...sets), fc.bigInt({ min: 1n, max: (1n << 64n) - 1n }), (set, value) => {
        const parts = showNamed(value, set).split('|');
        const sum = parts.reduce((all, part) => all | (set.entries.get(part) ?? BigInt(part)), 0n);
        expect(sum).toBe(value);
      }),
      check,
    );
  });

  it('formats structs as traces show them', () => {
    const { kvm_userspace_memory_region2 } = uapi;
    const region = { slot: 1, flags: 6, guest_phys_addr: 0x10000, memory_size: 4096, guest_memfd: 9 };
    expect(kvm_userspace_memory_region2.format(kvm_userspace_memory_region2.encode(region))).toBe(
      '{slot=1, flags=KVM_MEM_READONLY|KVM_MEM_GUEST_MEMFD, guest_phys_addr=0x10000, memory_size=0x1000, userspace_addr=0, guest_memfd_offset=0, guest_memfd=9}',
    );
    expect(kvm_userspace_memory_region2.format(new Uint8Array(3))).toBe(
      '<3 bytes, too few for struct kvm_userspace_memory_region2>',
    );
    expect(named.u8(KVM_EXIT).names?.name).toBe('KVM_EXIT');
  });
});

describe('flexible arrays', () => {
  const { KVM_GET_MSR_INDEX_LIST, KVM_SET_CPUID2, kvm_cpuid2, kvm_msr_list, kvm_tdx_init_vm } = uapi;

  it('count themselves and come back', () => {
    const entry = fc.record({ function: fc.nat(), index: fc.nat(), eax: fc.nat(), edx: fc.nat() });
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 40 }), (entries) => {
        const encoded = kvm_cpuid2.encode({}, entries);
        expect(encoded.length).toBe(8 + 40 * entries.length);
        expect(kvm_cpuid2.get(encoded, 'nent')).toBe(entries.length);
        expect(kvm_cpuid2.lengthOf(encoded)).toBe(encoded.length);
        expect(KVM_SET_CPUID2.realLength?.(encoded)).toBe(encoded.length);
        expect(kvm_cpuid2.decodeElements(encoded)).toMatchObject(entries);
      }),
      check,
    );
  });

  it('are made by length, of plain fields, and inside nested structs', () => {
    const room = kvm_msr_list.encode({}, 5);
    expect(room.length).toBe(4 + 4 * 5);
    expect(KVM_GET_MSR_INDEX_LIST.realLength?.(room)).toBe(24);
    expect(kvm_msr_list.decodeElements(kvm_msr_list.encode({}, [0x10, 0x174]))).toEqual([0x10, 0x174]);
    const init = kvm_tdx_init_vm.encode({ attributes: 1n }, [{ function: 0x80000008, eax: 0x3030 }]);
    expect(init.length).toBe(264 + 40);
    expect(kvm_tdx_init_vm.decode(init).cpuid.nent).toBe(1);
    expect(kvm_tdx_init_vm.decodeElements(init)[0]?.eax).toBe(0x3030);
  });

  it('name the element in range errors and never read beyond the bytes', () => {
    expect(() => kvm_cpuid2.encode({}, [{}, { eax: -1 }])).toThrow('kvm_cpuid2.entries[1].eax must fit u32, got -1');
    const lying = kvm_cpuid2.encode({ nent: 1000 });
    expect(kvm_cpuid2.decodeElements(lying)).toEqual([]);
    expect(() => uapi.kvm_regs.encode({}, 1)).toThrow('struct kvm_regs has no flexible array');
  });
});
