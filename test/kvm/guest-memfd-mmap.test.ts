/** Mappable guest_memfd (Linux 6.18): what the host sees of shared and of private pages. */
import { afterEach, expect, it } from 'vitest';
import type { GuestMemfd } from '../../lib/kvm/guest-memfd.ts';
import type { Mapping } from '../../lib/memory/mapping.ts';
import { MADV, MAP, PROT } from '../../lib/uapi/mman.ts';
import { describeKvm, requires, SHARED_GMEM } from '../support/kvm.ts';

const PAGE = 4096;
const { PROT_READ, PROT_WRITE, PROT_EXEC } = PROT.value;
const refused = (code: string) => expect.objectContaining({ ok: false, code });

describeKvm(
  'guest_memfd that can be mapped',
  ({ sys, kvm }) => {
    const vm = kvm.createVm();
    const open: { close(): void }[] = [];
    const keep = <T extends { close(): void }>(owner: T): T => {
      open.push(owner);
      return owner;
    };
    const shared = (pages = 4): GuestMemfd => keep(vm.createGuestMemfd(pages * PAGE, { mmap: true, initShared: true }));
    const secret = (pages = 4): GuestMemfd => keep(vm.createGuestMemfd(pages * PAGE, { mmap: true }));
    const map = (file: GuestMemfd, options = {}): Mapping => keep(file.map(options));
    afterEach(() => {
      for (const owner of open.splice(0).reverse()) owner.close();
    });

    it('shared pages are ordinary memory, zero at first and allocated at the first touch', () => {
      const file = shared();
      const mapping = map(file);
      expect(file.residency().cache).toBe(0);
      expect(mapping.read(PAGE, 8)).toEqual(new Uint8Array(8));
      expect(file.residency().cache).toBe(1);
      mapping.fill(0xa5);
      expect(file.residency().cache).toBe(4);
      // All mappings of a file show the same pages.
      expect(map(file, { offset: PAGE, length: PAGE }).read(0, 1)[0]).toBe(0xa5);
    });

    it('private pages are SIGBUS for every access, and the process goes on', () => {
      const file = secret();
      const mapping = map(file);
      const fault = { kind: 'SIGBUS', code: 'BUS_ADRERR', offset: 0, bytesDone: 0 };
      expect(mapping.raw.read(0, 8)).toMatchObject({ code: 'SIGBUS', fault });
      expect(mapping.raw.write(0, new Uint8Array(8))).toMatchObject({ code: 'SIGBUS', fault });
      expect(mapping.raw.fill(1)).toMatchObject({ code: 'SIGBUS', fault });
      expect(mapping.raw.firstDifference(PAGE, new Uint8Array(8))).toMatchObject({ fault: { ...fault, offset: PAGE } });
      file.allocate(0, PAGE);
      expect(mapping.raw.read(0, 8)).toMatchObject({ code: 'SIGBUS' });
      expect(file.residency().cache).toBe(1);
    });

    it('is mapped shared only, never executable', () => {
      const file = shared();
      expect(file.raw.map({ flags: MAP.value.MAP_PRIVATE })).toEqual(refused('EINVAL'));
      expect(file.raw.map({ prot: PROT_READ | PROT_EXEC })).toEqual(refused('EPERM'));
      expect(map(file, { flags: MAP.value.MAP_SHARED_VALIDATE }).length).toBe(4 * PAGE);
      const { MAP_SHARED_VALIDATE, MAP_SYNC } = MAP.value;
      expect(file.raw.map({ flags: MAP_SHARED_VALIDATE | MAP_SYNC })).toEqual(refused('EOPNOTSUPP'));
      expect(map(file).raw.protect(PROT_READ | PROT_EXEC)).toEqual(refused('EACCES'));
    });

    it('may be mapped beyond its end, where every touch is SIGBUS', () => {
      const mapping = map(shared(), { length: 6 * PAGE });
      mapping.fill(1, { length: 4 * PAGE });
      const fault = { kind: 'SIGBUS', offset: 4 * PAGE, bytesDone: PAGE };
      expect(mapping.raw.read(3 * PAGE, 2 * PAGE)).toMatchObject({ fault });
    });

    it('punching gives a fresh zero page, in every mapping', () => {
      const file = shared();
      const mapping = map(file);
      mapping.fill(0x33);
      file.punchHole(PAGE, PAGE);
      expect(file.residency().cache).toBe(3);
      expect([0, 1, 2].map((page) => mapping.read(page * PAGE, 1)[0])).toEqual([0x33, 0, 0x33]);
    });

    it('does not lose data to MADV_DONTNEED, and loses it to MADV_REMOVE', () => {
      const file = shared();
      const mapping = map(file);
      mapping.fill(0x44);
      mapping.advise(MADV.value.MADV_DONTNEED);
      expect(mapping.read(0, 1)[0]).toBe(0x44);
      mapping.advise(MADV.value.MADV_REMOVE, { length: PAGE });
      expect(file.residency().cache).toBe(3);
      expect([mapping.read(0, 1)[0], mapping.read(PAGE, 1)[0]]).toEqual([0, 0x44]);
      expect(map(secret()).raw.advise(MADV.value.MADV_REMOVE).ok).toBe(true);
    });

    it('populates shared pages, and says EFAULT for private ones and beyond the end', () => {
      const { MADV_POPULATE_READ, MADV_POPULATE_WRITE } = MADV.value;
      const file = shared();
      map(file).advise(MADV_POPULATE_WRITE);
      expect(file.residency().cache).toBe(4);
      for (const advice of [MADV_POPULATE_READ, MADV_POPULATE_WRITE]) {
        expect(map(secret()).raw.advise(advice)).toEqual(refused('EFAULT'));
        expect(map(shared(), { length: 5 * PAGE }).raw.advise(advice)).toEqual(refused('EFAULT'));
      }
    });

    it('MAP_POPULATE over private pages maps, and populates nothing', () => {
      const file = secret();
      const mapping = map(file, { flags: MAP.value.MAP_SHARED | MAP.value.MAP_POPULATE });
      expect(file.residency().cache).toBe(0);
      expect(mapping.raw.read(0, 1)).toMatchObject({ code: 'SIGBUS' });
    });

    it('refuses advice that changes what it is', () => {
      const mapping = map(shared());
      for (const advice of ['MADV_COLLAPSE', 'MADV_FREE', 'MADV_WIPEONFORK'] as const) {
        expect(mapping.raw.advise(MADV.value[advice])).toEqual(refused('EINVAL'));
      }
    });

    it('says what is resident', () => {
      const mapping = map(shared());
      mapping.fill(1, { offset: 2 * PAGE, length: 1 });
      expect(mapping.resident()).toEqual([false, false, true, false]);
    });

    const VIEW = { real: 'a view of what the host cannot reach has nothing behind it in simulation' };
    requires(VIEW)('the kernel itself can copy from shared pages, and not from private ones', () => {
      const source = map(shared());
      source.fill(0x66);
      const event = sys.memfdCreate('copy', 0);
      // Through the view the address reaches write(2) as it is: a fault there is an errno, not a signal.
      expect(sys.write(event, source.unsafeView({ length: 16 }))).toBe(16);
      expect(sys.raw.write(event, map(secret()).unsafeView({ length: 16 }))).toEqual(refused('EFAULT'));
      sys.close(event);
    });

    it('mapping, file and VM may go in any order', () => {
      const other = kvm.createVm();
      const file = other.createGuestMemfd(PAGE, { mmap: true, initShared: true });
      const mapping = file.map();
      mapping.fill(9);
      file.close();
      other.close();
      expect(mapping.read(0, 1)[0]).toBe(9);
      mapping.close();
      expect([file.closed, other.closed, mapping.closed]).toEqual([true, true, true]);
    });

    it('protection changes as on other files', () => {
      const mapping = map(shared(), { prot: PROT_READ });
      expect(mapping.raw.write(0, new Uint8Array(1))).toMatchObject({
        code: 'SIGSEGV',
        fault: { code: 'SEGV_ACCERR' },
      });
      mapping.protect(PROT_READ | PROT_WRITE);
      mapping.fill(1);
    });
  },
  SHARED_GMEM,
);
