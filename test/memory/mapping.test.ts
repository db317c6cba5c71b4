/** Mappings: fault-safe access, protection, advice, and that they never reach beyond themselves. */
import { afterEach, describe, expect, it } from 'vitest';
import { DisposedError, MemoryFaultError } from '../../lib/kernel/errors.ts';
import { Mapping, PAGE_SIZE } from '../../lib/memory/mapping.ts';
import { Memfd } from '../../lib/memory/memfd.ts';
import { MADV, MAP, PROT } from '../../lib/uapi/mman.ts';
import { ownMaps } from '../support/host-state.ts';
import { describeKernel } from '../support/kvm.ts';

const { PROT_NONE, PROT_READ, PROT_WRITE } = PROT.value;
const refused = (code: string) => expect.objectContaining({ ok: false, code });

describeKernel('Mapping', (sys) => {
  const open: { close(): void }[] = [];
  const keep = <T extends { close(): void }>(owner: T): T => {
    open.push(owner);
    return owner;
  };
  const anonymous = (pages: number): Mapping => keep(Mapping.anonymous(sys, pages * PAGE_SIZE));
  const memfd = (pages: number): Memfd => keep(Memfd.create(sys, { name: 'mapping', size: pages * PAGE_SIZE }));
  afterEach(() => {
    for (const owner of open.splice(0).reverse()) owner.close();
  });

  describe('access', () => {
    it('reads, writes, fills and compares', () => {
      const mapping = anonymous(1);
      mapping.write(5, new Uint8Array([1, 2, 3]));
      expect(mapping.read(4, 5)).toEqual(new Uint8Array([0, 1, 2, 3, 0]));
      expect(mapping.firstDifference(5, new Uint8Array([1, 2, 3]))).toBeUndefined();
      expect(mapping.firstDifference(5, new Uint8Array([1, 2, 4]))).toBe(2);
      mapping.fill(0xee, { offset: 6 });
      expect(mapping.read(4093, 3)).toEqual(new Uint8Array(3).fill(0xee));
      mapping.fill(0, { offset: 0, length: 4096 });
      expect(mapping.firstDifference(0, new Uint8Array(4096))).toBeUndefined();
      mapping.writeU64(8, -2);
      expect([mapping.readU64(8), mapping.readU64(16)]).toEqual([(1n << 64n) - 2n, 0n]);
      expect(mapping.read(4096, 0)).toEqual(new Uint8Array(0));
    });

    it('refuses what lies outside, before it touches anything', () => {
      const mapping = anonymous(1);
      const outside: readonly (() => unknown)[] = [
        () => mapping.read(4096, 1),
        () => mapping.read(0, 4097),
        () => mapping.read(-1, 1),
        () => mapping.read(0.5, 1),
        () => mapping.read(0, 2 ** 53),
        () => mapping.write(4090, new Uint8Array(7)),
        () => mapping.fill(0, { offset: 4096, length: 1 }),
        () => mapping.fill(0, { offset: 5000 }),
        () => mapping.firstDifference(4095, new Uint8Array(2)),
        () => mapping.readU64(4089),
        () => mapping.unsafeView({ length: 4097 }),
        () => mapping.protect(PROT_READ, { length: 8192 }),
        () => mapping.advise(0, { offset: -4096 }),
        () => mapping.resident({ length: 8192 }),
      ];
      for (const access of outside) expect(access).toThrow(RangeError);
    });

    it('survives a fault and says how far it came', () => {
      const file = memfd(4);
      const mapping = keep(file.map());
      file.truncate(2 * PAGE_SIZE);
      const into = new Uint8Array(PAGE_SIZE).fill(9);
      const fault = { kind: 'SIGBUS', code: 'BUS_ADRERR', offset: 2 * PAGE_SIZE, bytesDone: 96 };
      expect(mapping.raw.readInto(2 * PAGE_SIZE - 96, into)).toMatchObject({
        ok: false,
        errno: 0,
        code: 'SIGBUS',
        fault,
      });
      expect([...new Set(into.subarray(0, 96)), ...new Set(into.subarray(96))]).toEqual([0, 9]);
      expect(mapping.raw.write(2 * PAGE_SIZE - 96, into)).toMatchObject({ fault });
      expect(mapping.raw.fill(1, { offset: 2 * PAGE_SIZE - 96 })).toMatchObject({ fault });
      expect(mapping.raw.firstDifference(2 * PAGE_SIZE - 96, new Uint8Array(200).fill(1))).toMatchObject({ fault });
      expect(() => mapping.read(3 * PAGE_SIZE, 1)).toThrow(MemoryFaultError);
      // The next access starts with a clean record.
      expect(mapping.read(2 * PAGE_SIZE - 96, 96)).toEqual(new Uint8Array(96).fill(1));
    });

    it('survives missing rights', () => {
      const mapping = anonymous(2);
      mapping.protect(PROT_NONE, { offset: PAGE_SIZE });
      const fault = { kind: 'SIGSEGV', code: 'SEGV_ACCERR', offset: PAGE_SIZE, hva: mapping.hva + PAGE_SIZE };
      expect(mapping.raw.read(0, 2 * PAGE_SIZE)).toMatchObject({ fault: { ...fault, bytesDone: PAGE_SIZE } });
      mapping.protect(PROT_READ);
      expect(mapping.read(PAGE_SIZE, 1)).toEqual(new Uint8Array(1));
      expect(mapping.raw.write(PAGE_SIZE, new Uint8Array(1))).toMatchObject({ fault: { ...fault, bytesDone: 0 } });
    });
  });

  describe('of a file', () => {
    it('maps the whole file by default, or a part', () => {
      const file = memfd(3);
      file.pwrite(new Uint8Array([7]), PAGE_SIZE);
      expect(keep(file.map()).length).toBe(3 * PAGE_SIZE);
      const rest = keep(file.map({ offset: PAGE_SIZE }));
      expect([rest.length, rest.read(0, 1)[0]]).toEqual([2 * PAGE_SIZE, 7]);
      expect(keep(file.map({ offset: BigInt(PAGE_SIZE), length: 100 })).length).toBe(100);
      expect(() => file.map({ offset: 4 * PAGE_SIZE })).toThrow(RangeError);
    });

    it('outlives its file', () => {
      const file = memfd(1);
      const mapping = keep(file.map());
      file.close();
      mapping.fill(3);
      expect(mapping.read(0, 1)[0]).toBe(3);
    });

    it('is private with MAP_PRIVATE: the file does not change', () => {
      const file = memfd(1);
      keep(file.map({ flags: MAP.value.MAP_PRIVATE })).fill(5);
      const into = new Uint8Array(1);
      file.pread(into, 0);
      expect(into[0]).toBe(0);
    });
  });

  describe('views', () => {
    it('alias the memory, and are detached at close', () => {
      const mapping = anonymous(1);
      const view = mapping.unsafeView({ offset: 16, length: 4 });
      view.set([1, 2, 3, 4]);
      expect(mapping.read(15, 6)).toEqual(new Uint8Array([0, 1, 2, 3, 4, 0]));
      mapping.close();
      expect([view.length, view[0]]).toEqual([0, undefined]);
    });
  });

  describe('advice and residency', () => {
    it('MADV_DONTNEED drops the view of the process, not the data of the file', () => {
      const mapping = keep(memfd(1).map());
      mapping.fill(4);
      mapping.advise(MADV.value.MADV_DONTNEED);
      expect(mapping.read(0, 1)[0]).toBe(4);
    });

    it('MADV_REMOVE punches the file, if it could be written', () => {
      const file = memfd(2);
      const mapping = keep(file.map());
      mapping.fill(4);
      mapping.advise(MADV.value.MADV_REMOVE, { length: PAGE_SIZE });
      expect(file.stat().blocks).toBe(8n);
      expect([mapping.read(0, 1)[0], mapping.read(PAGE_SIZE, 1)[0]]).toEqual([0, 4]);
      expect(keep(file.map({ prot: PROT_READ })).raw.advise(MADV.value.MADV_REMOVE).ok).toBe(true);
      const copyOnWrite = keep(file.map({ flags: MAP.value.MAP_PRIVATE }));
      expect(copyOnWrite.raw.advise(MADV.value.MADV_REMOVE)).toEqual(refused('EACCES'));
      const bare = keep(Mapping.anonymous(sys, PAGE_SIZE, { shared: false }));
      expect(bare.raw.advise(MADV.value.MADV_REMOVE)).toEqual(refused('EINVAL'));
    });

    it('refuses advice that does not fit', () => {
      const mapping = keep(memfd(2).map());
      expect(mapping.raw.advise(MADV.value.MADV_FREE)).toEqual(refused('EINVAL'));
      expect(mapping.raw.advise(9999)).toEqual(refused('EINVAL'));
      expect(mapping.raw.advise(MADV.value.MADV_DONTNEED, { offset: 1, length: PAGE_SIZE })).toEqual(refused('EINVAL'));
    });

    it('says which pages are there', () => {
      const mapping = keep(memfd(3).map());
      mapping.fill(1, { offset: PAGE_SIZE, length: 1 });
      expect(mapping.resident()).toEqual([false, true, false]);
      expect(mapping.resident({ offset: PAGE_SIZE, length: 1 })).toEqual([true]);
      expect(mapping.raw.resident({ offset: 1, length: PAGE_SIZE })).toEqual(refused('EINVAL'));
    });
  });

  describe('closing', () => {
    it('unmaps once, and everything after it is DisposedError', () => {
      const before = ownMaps(sys).length;
      const mapping = memfd(1).map();
      expect(ownMaps(sys)).toHaveLength(before + 1);
      mapping.close();
      mapping.close();
      expect(ownMaps(sys)).toHaveLength(before);
      const uses: readonly (() => unknown)[] = [
        () => mapping.hva,
        () => mapping.read(0, 1),
        () => mapping.readInto(0, new Uint8Array(1)),
        () => mapping.write(0, new Uint8Array(1)),
        () => mapping.fill(0),
        () => mapping.firstDifference(0, new Uint8Array(1)),
        () => mapping.readU64(0),
        () => mapping.writeU64(0, 1),
        () => mapping.unsafeView(),
        () => mapping.protect(PROT_READ | PROT_WRITE),
        () => mapping.advise(0),
        () => mapping.resident(),
        () => mapping.raw.read(0, 1),
        () => mapping.retain(),
      ];
      for (const use of uses) expect(use).toThrow(DisposedError);
    });

    it('waits for whoever retains the range', () => {
      const before = ownMaps(sys).length;
      const mapping = memfd(1).map();
      const release = mapping.retain();
      mapping.close();
      expect(() => mapping.read(0, 1)).toThrow(DisposedError);
      expect(ownMaps(sys)).toHaveLength(before + 1);
      release();
      expect(ownMaps(sys)).toHaveLength(before);
    });
  });
});
