/** The guest-physical map: what it refuses and what it gives. */
import { afterEach, describe, expect, it } from 'vitest';
import { Memfd, StateError, UnsupportedError } from '../../../lib/index.ts';
import {
  type GuestMemory,
  GuestMemoryError,
  type GuestMemoryFault,
  type SideChange,
} from '../../../lib/machine/index.ts';
import { KVM_VM_TYPE } from '../../../lib/uapi/index.ts';
import { PAGE, RAM, World } from './world.ts';

let world: World;
afterEach(() => world.close());

function refusal(action: () => unknown): { kind: GuestMemoryFault; gpa: number; bytesDone: number } {
  try {
    action();
  } catch (error) {
    if (error instanceof GuestMemoryError) return { kind: error.kind, gpa: error.gpa, bytesDone: error.bytesDone };
    throw error;
  }
  throw new Error('it went through');
}

const bytes = (length: number, first = 1): Uint8Array => Uint8Array.from({ length }, (_, i) => (first + i) % 251);

describe('the map', () => {
  it('refuses what is no place', () => {
    world = new World();
    const { memory } = world;
    const ram = { name: 'a', gpa: RAM, size: 4 * PAGE, shared: 'memfd' } as const;
    memory.addRam(ram);
    expect(() => memory.addRam(ram)).toThrow(/exists already/);
    expect(() => memory.addRam({ ...ram, name: 'b', gpa: RAM + 3 * PAGE })).toThrow(/overlaps region a/);
    expect(() => memory.addRam({ ...ram, name: 'b', gpa: RAM - PAGE, size: 2 * PAGE })).toThrow(/overlaps region a/);
    expect(() => memory.addRam({ ...ram, name: 'b', gpa: 100 })).toThrow(RangeError);
    expect(() => memory.addRam({ ...ram, name: 'b', gpa: 2 * RAM, size: 100 })).toThrow(RangeError);
    expect(() => memory.region('none')).toThrow(/no region is called none/);
    expect(memory.regions.map(({ name }) => name)).toEqual(['low', 'a']);
  });

  it('leaves nothing of a region that the kernel refuses', () => {
    world = new World();
    const { memory, vm } = world;
    const file = vm.createGuestMemfd(4 * PAGE);
    const ram = { gpa: RAM, size: 8 * PAGE, shared: 'memfd', private: { file }, initial: 'shared' } as const;
    // The file is shorter than the region.
    expect(() => memory.addRam({ name: 'long', ...ram })).toThrow(/EINVAL/);
    expect(memory.regionAt(RAM)).toBeUndefined();
    expect(memory.ledger.sideAt(RAM)).toBeUndefined();
    world.faults.arm(() => true);
    expect(() => memory.addRam({ name: 'refused', ...ram, size: 4 * PAGE, initial: 'private' })).toThrow(/ENOMEM/);
    world.faults.arm(() => false);
    expect(memory.ledger.sideAt(RAM)).toBeUndefined();
    // The name, the place and the range of the file are free.
    memory.addRam({ name: 'refused', ...ram, size: 4 * PAGE, initial: 'private' });
    expect(memory.ledger.runs({ gpa: RAM, size: 8 * PAGE })).toEqual([{ gpa: RAM, size: 4 * PAGE, side: 'private' }]);
  });

  it('reads and writes across regions, and stops at the first byte that is not there', () => {
    world = new World();
    const { memory } = world;
    memory.addRam({ name: 'a', gpa: RAM, size: PAGE, shared: 'memfd' });
    memory.addRam({ name: 'b', gpa: RAM + PAGE, size: PAGE, shared: 'anonymous' });
    const data = bytes(5000);
    memory.write(RAM + 100, data);
    expect(memory.read(RAM + 100, 5000)).toEqual(data);
    expect(refusal(() => memory.read(RAM + 100, 3 * PAGE))).toEqual({
      kind: 'hole',
      gpa: RAM + 2 * PAGE,
      bytesDone: 2 * PAGE - 100,
    });
    expect(refusal(() => memory.write(RAM - 1, data))).toEqual({ kind: 'hole', gpa: RAM - 1, bytesDone: 0 });
    memory.fill(RAM + PAGE - 8, 16, 0xee);
    expect(memory.read(RAM + PAGE - 8, 16)).toEqual(new Uint8Array(16).fill(0xee));
    expect(memory.read(RAM, 0)).toHaveLength(0);
    expect(() => memory.read(-1, 1)).toThrow(RangeError);
  });

  it('says private-unreachable for private pages, and fault where a shared page cannot be had', () => {
    world = new World();
    const { memory, kvm } = world;
    memory.addRam({ name: 'a', gpa: RAM, size: 4 * PAGE, shared: 'memfd', private: true, initial: 'private' });
    memory.convert({ gpa: RAM, size: PAGE }, 'shared');
    expect(refusal(() => memory.write(RAM + 10, bytes(PAGE)))).toEqual({
      kind: 'private-unreachable',
      gpa: RAM + PAGE,
      bytesDone: PAGE - 10,
    });
    using short = Memfd.create(kvm.sys, { size: 2 * PAGE });
    const file = { file: short };
    memory.addRam({ name: 'b', gpa: 2 * RAM, size: 2 * PAGE, shared: file });
    short.truncate(PAGE);
    expect(refusal(() => memory.read(2 * RAM + 8, 2 * PAGE - 8))).toEqual({
      kind: 'fault',
      gpa: 2 * RAM + PAGE,
      bytesDone: PAGE - 8,
    });
  });

  it('has ROM that the guest cannot write and the host does not', () => {
    world = new World();
    const { memory } = world;
    memory.addRom({ name: 'bios', gpa: RAM, contents: bytes(5000) });
    expect(memory.region('bios').size).toBe(2 * PAGE);
    expect(memory.read(RAM, 5000)).toEqual(bytes(5000));
    expect(refusal(() => memory.write(RAM + 4, bytes(4)))).toEqual({ kind: 'rom', gpa: RAM + 4, bytesDone: 0 });
    expect(() => world.guestStores(new Map([[RAM, 1n]]))).toThrow(/KVM_EXIT_MMIO/);
    expect(memory.read(RAM, 8)).toEqual(bytes(8));
  });

  it('refuses ROM to a VM that cannot have it', () => {
    world = new World({ technologies: ['sev-snp'] }, KVM_VM_TYPE.value.KVM_X86_SNP_VM);
    expect(() => world.memory.addRom({ name: 'bios', gpa: RAM, contents: bytes(10) })).toThrow(UnsupportedError);
  });

  it('shows a region a second time', () => {
    world = new World();
    const { memory } = world;
    memory.addRam({ name: 'a', gpa: RAM, size: 4 * PAGE, shared: 'memfd', private: true, initial: 'shared' });
    memory.addAlias({ name: 'top', gpa: 0x1_0000_0000, of: 'a', offset: 2 * PAGE });
    memory.write(RAM + 2 * PAGE + 4, bytes(100));
    expect(memory.read(0x1_0000_0004, 100)).toEqual(bytes(100));
    world.guestStores(new Map([[0x1_0000_1000, 77n]]));
    expect(world.guestWords([RAM + 3 * PAGE, 0x1_0000_1000])).toEqual([77n, 77n]);
    // The private side has one place.
    memory.convert({ gpa: RAM, size: 4 * PAGE }, 'private');
    expect(world.guestWords([RAM + 3 * PAGE])).toEqual([0n]);
    expect(refusal(() => memory.convert({ gpa: 0x1_0000_0000, size: PAGE }, 'private')).kind).toBe('one-sided');
    expect(() => memory.remove('a')).toThrow(/alias top/);
    memory.remove('top');
    expect(refusal(() => memory.read(0x1_0000_0000, 1)).kind).toBe('hole');
    expect(() => memory.addAlias({ name: 'far', gpa: 2 * RAM, of: 'a', offset: PAGE, size: 4 * PAGE })).toThrow(
      RangeError,
    );
  });

  it('takes a region away with its attributes, and tells', () => {
    world = new World();
    const { memory } = world;
    const told: string[] = [];
    memory.on('populate', ({ side, size }) => told.push(`populate ${side} ${size / PAGE}`));
    memory.on('discard', ({ side, size }) => told.push(`discard ${side} ${size / PAGE}`));
    const ram = { name: 'a', gpa: RAM, size: 2 * PAGE, shared: 'memfd' } as const;
    memory.addRam({ ...ram, private: true, initial: 'private' });
    memory.remove('a');
    memory.addRam(ram);
    expect(told).toEqual(['populate private 2', 'discard private 2', 'populate shared 2']);
    memory.write(RAM, bytes(8));
    expect(world.guestWords([RAM])).toEqual([0x0807060504030201n]);
  });

  it('does not work once it is closed, and closes twice', () => {
    world = new World();
    world.memory.close();
    world.memory.close();
    expect(() => world.memory.read(0, 1)).toThrow(/closed/);
    expect(() => world.memory.addRam({ name: 'x', gpa: 0, size: PAGE, shared: 'memfd' })).toThrow(/closed/);
  });
});

describe('conversion', () => {
  function build(): GuestMemory {
    world = new World();
    const { memory } = world;
    memory.addRam({ name: 'a', gpa: RAM, size: 8 * PAGE, shared: 'memfd', private: true, initial: 'private' });
    memory.addRam({
      name: 'b',
      gpa: RAM + 8 * PAGE,
      size: 8 * PAGE,
      shared: 'anonymous',
      private: true,
      initial: 'private',
    });
    return memory;
  }

  it('coalesces: one call across regions, one punch for each', () => {
    const memory = build();
    const pages = [3, 1, 2, 9, 8, 7, 6, 5, 4].map((page) => ({ gpa: RAM + page * PAGE, size: PAGE }));
    expect(memory.plan(pages, 'shared')).toMatchObject({
      ranges: [{ gpa: RAM + PAGE, size: 9 * PAGE }],
      bytes: 9 * PAGE,
      calls: [
        { does: 'convert', gpa: RAM + PAGE, size: 9 * PAGE, request: 'KVM_SET_MEMORY_ATTRIBUTES' },
        { does: 'discard', side: 'private', gpa: RAM + PAGE, size: 7 * PAGE, request: 'fallocate' },
        { does: 'discard', side: 'private', gpa: RAM + 8 * PAGE, size: 2 * PAGE, request: 'fallocate' },
      ],
    });
    memory.convert(pages, 'shared');
    expect(memory.plan({ gpa: RAM, size: 16 * PAGE }, 'private').calls.map(({ request }) => request)).toEqual([
      'KVM_SET_MEMORY_ATTRIBUTES',
      'fallocate',
      'madvise',
    ]);
  });

  it('does nothing about what is so already', () => {
    const memory = build();
    world.faults.arm(() => true);
    const receipt = memory.convert({ gpa: RAM, size: 2 * PAGE }, 'private');
    expect(receipt).toMatchObject({ bytes: 0, calls: [], unchanged: [{ gpa: RAM, size: 2 * PAGE }] });
    expect(world.faults.count).toBe(0);
  });

  it('refuses before the first call what is not whole pages, a hole, or one-sided', () => {
    const memory = build();
    world.faults.arm(() => true);
    const range = { gpa: RAM, size: PAGE };
    expect(() => memory.convert({ gpa: RAM + 1, size: PAGE }, 'shared')).toThrow(RangeError);
    expect(() => memory.convert({ gpa: RAM, size: 0 }, 'shared')).toThrow(RangeError);
    expect(() => memory.convert([], 'shared')).toThrow(RangeError);
    expect(() => memory.convert(range, 'both' as 'shared')).toThrow(TypeError);
    expect(() => memory.convert(range, 'shared', 'never' as 'keep')).toThrow(TypeError);
    expect(refusal(() => memory.convert([range, { gpa: RAM + 15 * PAGE, size: 2 * PAGE }], 'shared'))).toEqual({
      kind: 'hole',
      gpa: RAM + 16 * PAGE,
      bytesDone: PAGE,
    });
    expect(refusal(() => memory.convert({ gpa: 0, size: PAGE }, 'private')).kind).toBe('one-sided');
    expect(world.faults.count).toBe(0);
    expect(memory.ledger.runs({ gpa: RAM, size: 16 * PAGE })).toHaveLength(1);
  });

  it('does not double memory, and says so', () => {
    const memory = build();
    const whole = { gpa: RAM, size: 16 * PAGE };
    world.guestStores(new Map(Array.from({ length: 16 }, (_, i) => [RAM + i * PAGE, 1n])));
    const low = memory.residency({ gpa: 0, size: RAM }).shared;
    expect(memory.residency()).toEqual({ private: 16 * PAGE, shared: low });
    const half = { gpa: RAM + 4 * PAGE, size: 8 * PAGE };
    const shared = memory.convert(half, 'shared', { measure: true });
    expect(shared.residency).toEqual({
      before: { private: 16 * PAGE, shared: low },
      after: { private: 8 * PAGE, shared: low },
    });
    memory.fill(half.gpa, half.size, 1);
    expect(memory.residency(whole)).toEqual({ private: 8 * PAGE, shared: 8 * PAGE });
    memory.convert(half, 'private', 'keep');
    world.guestStores(new Map(Array.from({ length: 16 }, (_, i) => [RAM + i * PAGE, 1n])));
    // Kept: half of it is there twice, until it is given back.
    expect(memory.residency(whole)).toEqual({ private: 16 * PAGE, shared: 8 * PAGE });
    memory.discard(half, 'shared');
    expect(memory.residency(whole)).toEqual({ private: 16 * PAGE, shared: 0 });
  });

  it('tells listeners in order, and takes back what one refuses', () => {
    const memory = build();
    const told: string[] = [];
    const note = (event: string) => (change: SideChange) => {
      told.push(
        `${event} ${change.side} ${(change.gpa - RAM) / PAGE}+${change.size / PAGE}${change.punched ? ' punched' : ''}`,
      );
    };
    memory.on('discard', note('discard'));
    memory.on('populate', note('populate'));
    memory.on('convert', ({ to, bytes: n }) => told.push(`convert ${to} ${n / PAGE}`));
    memory.convert({ gpa: RAM, size: PAGE }, 'shared');
    expect(told.splice(0)).toEqual(['discard private 0+1 punched', 'populate shared 0+1', 'convert shared 1']);
    const off = memory.on('populate', ({ gpa, side }) => {
      if (side === 'shared' && gpa === RAM + 4 * PAGE) throw new Error('no');
    });
    const ranges = [
      { gpa: RAM + 2 * PAGE, size: PAGE },
      { gpa: RAM + 4 * PAGE, size: PAGE },
    ];
    expect(() => memory.convert(ranges, 'shared')).toThrow(/undone: no/);
    expect(told.splice(0)).toEqual([
      'discard private 2+1 punched',
      'discard private 4+1 punched',
      'populate shared 2+1',
      'populate shared 4+1',
      'discard shared 4+1',
      'discard shared 2+1',
      'populate private 4+1',
      'populate private 2+1',
    ]);
    expect(memory.ledger.sideAt(RAM + 2 * PAGE)).toBe('private');
    off();
    memory.on('convert', () => memory.convert({ gpa: RAM + PAGE, size: PAGE }, 'shared'));
    expect(() => memory.convert(ranges, 'shared')).toThrow(StateError);
  });

  it('gives back huge pages only as wholes', () => {
    const HUGE = 0x20_0000;
    world = new World({ hugePages: new Map([[HUGE, 8]]) });
    const { memory } = world;
    const gpa = 0x4000_0000;
    memory.addRam({ name: 'huge', gpa, size: 4 * HUGE, shared: { hugetlb: HUGE }, private: true, initial: 'shared' });
    memory.fill(gpa, 4 * HUGE, 1);
    const held = (): number => memory.residency({ gpa, size: 4 * HUGE }).shared / HUGE;
    expect(held()).toBe(4);
    const part = memory.convert({ gpa: gpa + HUGE / 2, size: 2 * HUGE }, 'private');
    expect(part.calls.slice(1)).toMatchObject([{ does: 'discard', gpa: gpa + HUGE, size: HUGE }]);
    expect(part.kept).toEqual([
      { gpa: gpa + HUGE / 2, size: HUGE / 2 },
      { gpa: gpa + 2 * HUGE, size: HUGE / 2 },
    ]);
    expect(held()).toBe(3);
    // A part that is entered anew is zeroed; the rest of its page stays as it is.
    memory.convert({ gpa: gpa + 2 * HUGE, size: PAGE }, 'shared', 'discard-entered');
    expect([memory.read(gpa + 2 * HUGE, 1)[0], memory.read(gpa + 2.5 * HUGE, 1)[0]]).toEqual([0, 1]);
    memory.convert({ gpa: gpa + 2 * HUGE, size: PAGE }, 'private');
    // The other half follows: now the page as a whole goes.
    const rest = memory.convert({ gpa, size: HUGE / 2 }, 'private');
    expect(rest.calls.slice(1)).toMatchObject([{ does: 'discard', gpa, size: HUGE }]);
    expect(held()).toBe(2);
    // Two pieces that meet in one page give it back once.
    const third = memory.convert(
      [
        { gpa: gpa + 2.5 * HUGE, size: PAGE },
        { gpa: gpa + 2.5 * HUGE + 2 * PAGE, size: HUGE / 2 - 2 * PAGE },
      ],
      'private',
    );
    expect(third.calls.filter(({ does }) => does === 'discard')).toEqual([]);
    const last = memory.convert({ gpa: gpa + 2.5 * HUGE + PAGE, size: PAGE }, 'private');
    expect(last.calls.filter(({ does }) => does === 'discard')).toMatchObject([{ gpa: gpa + 2 * HUGE, size: HUGE }]);
    expect(held()).toBe(1);
  });

  it('is not there where the kernel has none', () => {
    world = new World({}, KVM_VM_TYPE.value.KVM_X86_DEFAULT_VM);
    const { memory } = world;
    const ram = { name: 'a', gpa: RAM, size: PAGE } as const;
    expect(() => memory.addRam({ ...ram, shared: 'memfd', private: true, initial: 'private' })).toThrow(
      UnsupportedError,
    );
    memory.addRam({ ...ram, shared: 'guest-memfd', private: true, initial: 'shared' });
    memory.write(RAM, bytes(8));
    expect(world.guestWords([RAM])).toEqual([0x0807060504030201n]);
    expect(() => memory.convert({ gpa: RAM, size: PAGE }, 'private')).toThrow(/KVM_SET_MEMORY_ATTRIBUTES2/);
  });

  it('keeps contents in one backing, and keeps the host out', () => {
    world = new World({ patches: ['in-place-v8'] });
    const { memory } = world;
    memory.addRam({ name: 'a', gpa: RAM, size: 4 * PAGE, shared: 'guest-memfd', private: true, initial: 'shared' });
    memory.write(RAM, bytes(8));
    const receipt = memory.convert({ gpa: RAM, size: 2 * PAGE }, 'private', { measure: true });
    expect(receipt).toMatchObject({ strategy: 'in-place', calls: [{ request: 'KVM_SET_MEMORY_ATTRIBUTES2' }] });
    expect(receipt.residency?.after.private).toBe(PAGE);
    expect(world.guestWords([RAM])).toEqual([0x0807060504030201n]);
    expect(refusal(() => memory.read(RAM, 8)).kind).toBe('private-unreachable');
    memory.convert({ gpa: RAM, size: PAGE }, 'shared', 'discard-first');
    expect(memory.read(RAM, 8)).toEqual(new Uint8Array(8));
  });
});
