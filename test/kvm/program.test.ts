/** Every operation of the program builder on the real vCPU, with the contents of memory checked by the host. */
import { afterAll, describe, expect, it } from 'vitest';
import { addressPattern, patternBytes } from '../../lib/guest/index.ts';
import { DATA, Guest } from '../support/guest.ts';
import { describeKvm } from '../support/kvm.ts';

const MASK = (1n << 64n) - 1n;
const A = 0x8123_4567_89ab_cdefn;

describeKvm(
  'guest programs',
  ({ kvm }) => {
    const guest = new Guest(kvm);
    const { memory } = guest;
    afterAll(() => guest.close());
    const word = (gpa: number): bigint => memory.readU64(gpa);

    describe('memory', () => {
      it('loads of every size are zero-extended', () => {
        memory.writeU64(DATA, A);
        const { reports } = guest.run((g) => {
          for (const [tag, size] of ([1, 2, 4, 8] as const).entries()) g.report(tag, g.load(DATA, { size }));
        });
        expect([...reports.values()]).toEqual([0xefn, 0xcdefn, 0x89ab_cdefn, A]);
      });

      it('stores of every size leave what is beside them', () => {
        memory.fill(0xff, { offset: DATA, length: 64 });
        guest.run((g) => {
          for (const [i, size] of ([1, 2, 4, 8] as const).entries()) g.store(DATA + 16 * i, 0, { size });
        });
        expect([0, 16, 32, 48].map((at) => memory.read(DATA + at, 16).filter((byte) => byte === 0).length)).toEqual([
          1, 2, 4, 8,
        ]);
      });

      it('takes addresses that the guest computes', () => {
        memory.writeU64(DATA + 0x100, 5n);
        guest.run((g) => {
          const at = g.value(DATA).add(0x100);
          g.store(at.add(8), g.load(at).mul(3));
        });
        expect(word(DATA + 0x108)).toBe(15n);
      });

      it.each([
        ['a byte, whole words', 64, 0xab],
        ['a byte, odd length', 61, 0xcd],
        ['a word', 64, A],
        ['addresses', 64, addressPattern(7)],
      ] as const)('fills with %s', (_, length, pattern) => {
        memory.fill(0, { offset: DATA, length: 128 });
        guest.run((g) => g.fill(DATA + 8, length, pattern));
        expect(memory.read(DATA + 8, length)).toEqual(patternBytes(DATA + 8, length, pattern));
        expect([word(DATA), memory.read(DATA + 8 + length, 8)]).toEqual([0n, new Uint8Array(8)]);
      });

      it('fills nothing for a computed length of 0, and rounds computed lengths down', () => {
        memory.fill(0, { offset: DATA, length: 64 });
        guest.run((g) => {
          g.fill(DATA, g.value(0), 0xee);
          g.fill(DATA, g.value(0), addressPattern());
          g.fill(DATA, g.value(15), A);
        });
        expect([word(DATA), word(DATA + 8)]).toEqual([A, 0n]);
      });

      it('checks: passed, and failed with place, expectation and finding', () => {
        memory.write(DATA, patternBytes(DATA, 64, addressPattern(1)));
        memory.writeU64(DATA + 40, 99n);
        memory.fill(3, { offset: DATA + 64, length: 13 });
        const { events, reports } = guest.run((g) => {
          const first = g.check(DATA, 40, addressPattern(1));
          const second = g.check(DATA, 64, addressPattern(1));
          g.check(DATA + 64, 13, 3);
          g.check(DATA + 64, 14, 3);
          g.report(0, first.shl(1).or(second));
        });
        expect(events.filter((event) => event.kind === 'check')).toEqual([
          { kind: 'check', id: 0, passed: true },
          { kind: 'check', id: 1, passed: false, gpa: DATA + 40, expected: BigInt(DATA + 40) ^ 1n, actual: 99n },
          { kind: 'check', id: 2, passed: true },
          {
            kind: 'check',
            id: 3,
            passed: false,
            gpa: DATA + 77,
            expected: 3n,
            actual: BigInt(memory.read(DATA + 77, 1)[0] ?? -1),
          },
        ]);
        expect(reports.get(0)).toBe(2n);
      });

      it('adds up words, modulo 2^64', () => {
        memory.writeU64(DATA, MASK);
        memory.writeU64(DATA + 8, 3n);
        memory.writeU64(DATA + 16, 1000n);
        const { reports } = guest.run((g) => {
          g.report(0, g.checksum(DATA, 16));
          g.report(1, g.checksum(DATA, g.value(0)));
          g.report(2, g.checksum(DATA + 8, g.value(23)));
        });
        expect([...reports.values()]).toEqual([2n, 0n, 1003n]);
      });

      it.each([
        ['whole words', 64],
        ['odd bytes', 61],
      ])('copies %s', (_, length) => {
        const bytes = new Uint8Array(length).map((_, i) => i * 7 + 1);
        memory.write(DATA, bytes);
        memory.fill(0, { offset: DATA + 256, length: 128 });
        guest.run((g) => g.copy(DATA + 257, DATA, length));
        expect(memory.read(DATA + 257, length)).toEqual(bytes);
        expect(memory.read(DATA + 257 + length, 8)).toEqual(new Uint8Array(8));
      });

      it('adds atomically and exchanges on a match only', () => {
        memory.writeU64(DATA, MASK);
        memory.writeU64(DATA + 8, 10n);
        memory.writeU64(DATA + 16, 10n);
        const { reports } = guest.run((g) => {
          g.report(0, g.fetchAdd(DATA, 3));
          g.report(1, g.compareExchange(DATA + 8, 10, 20));
          g.report(2, g.compareExchange(DATA + 16, 11, 20));
        });
        expect([...reports.values()]).toEqual([MASK, 10n, 10n]);
        expect([word(DATA), word(DATA + 8), word(DATA + 16)]).toEqual([2n, 20n, 10n]);
      });
    });

    describe('the processor', () => {
      it('writes and reads ports', () => {
        guest.load((g) => {
          g.out(0x3f8, 0x1_2345, 2);
          g.report(0, g.in(0x60, 1));
        });
        expect(guest.vcpu().runSync({ timeoutMs: 5000 })).toMatchObject({
          port: 0x3f8,
          data: new Uint8Array([0x45, 0x23]),
        });
        expect(guest.vcpu().runSync({ timeoutMs: 5000 })).toMatchObject({ port: 0x60, direction: 'in', size: 1 });
        guest.vcpu().answer(0xfe);
        expect(guest.finish().reports.get(0)).toBe(0xfen);
      });

      it('reads and writes MSRs', () => {
        const KERNEL_GS_BASE = 0xc000_0102;
        const { reports } = guest.run((g) => {
          g.writeMsr(KERNEL_GS_BASE, 0x7fff_1234_5678n);
          g.report(0, g.readMsr(KERNEL_GS_BASE));
        });
        expect(reports.get(0)).toBe(0x7fff_1234_5678n);
        expect(guest.vcpu().x64.getMsrs([KERNEL_GS_BASE]).get(KERNEL_GS_BASE)).toBe(0x7fff_1234_5678n);
      });
    });
  },
  { arch: 'x64' },
);
