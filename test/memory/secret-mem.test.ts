/** memfd_secret(2): memory without the kernel's own view of it. */
import { readlinkSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { SecretMem } from '../../lib/memory/secret-mem.ts';
import { MADV, MAP } from '../../lib/uapi/mman.ts';
import { describeKernel, requires } from '../support/kvm.ts';

const PAGE = 4096;
const refused = (code: string) => expect.objectContaining({ ok: false, code });

describeKernel(
  'SecretMem',
  (sys) => {
    const open: { close(): void }[] = [];
    const secret = (size = 0): SecretMem => {
      const file = SecretMem.create(sys, size);
      open.push(file);
      return file;
    };
    afterEach(() => {
      for (const owner of open.splice(0).reverse()) owner.close();
    });

    it('is a file of its own kind', () => {
      const file = secret();
      expect(file.stat()).toMatchObject({ mode: 0o100600, size: 0n, fsType: 0x5345434dn });
      if (sys.kernel.backend === 'kvm') expect(readlinkSync(`/proc/self/fd/${file.fd}`)).toBe('/secretmem (deleted)');
    });

    it('refuses flags other than O_CLOEXEC', () => {
      expect(sys.raw.memfdSecret(1)).toEqual(refused('EINVAL'));
    });

    it('takes its size once', () => {
      const file = secret();
      file.truncate(2 * PAGE);
      for (const size of [PAGE, 2 * PAGE, 3 * PAGE]) expect(file.raw.truncate(size)).toEqual(refused('EINVAL'));
      expect(secret(PAGE).size).toBe(PAGE);
    });

    it('has no reads, writes, seals or allocation', () => {
      const file = secret(PAGE);
      const byte = new Uint8Array(1);
      expect([file.raw.read(byte), file.raw.write(byte)]).toEqual([refused('EINVAL'), refused('EINVAL')]);
      expect([file.raw.pread(byte, 0), file.raw.pwrite(byte, 0)]).toEqual([refused('ESPIPE'), refused('ESPIPE')]);
      expect(file.raw.seek('data', 0)).toEqual(refused('ESPIPE'));
      expect(file.raw.allocate(0, PAGE)).toEqual(refused('EOPNOTSUPP'));
      expect(file.raw.punchHole(0, PAGE)).toEqual(refused('EOPNOTSUPP'));
      expect(file.raw.addSeals(1)).toEqual(refused('EINVAL'));
      expect(() => file.seals).toThrow(/EINVAL/);
    });

    it('maps shared only, and the copies reach it although the kernel has no view of it', () => {
      const file = secret(2 * PAGE);
      expect(file.raw.map({ flags: MAP.value.MAP_PRIVATE })).toEqual(refused('EINVAL'));
      const mapping = file.map();
      open.push(mapping);
      mapping.fill(0x77);
      expect(mapping.firstDifference(0, new Uint8Array(2 * PAGE).fill(0x77))).toBeUndefined();
    });

    it('beyond its size is SIGBUS', () => {
      const mapping = secret(PAGE).map({ length: 2 * PAGE });
      open.push(mapping);
      expect(mapping.raw.read(PAGE, 1)).toMatchObject({ code: 'SIGBUS', fault: { offset: PAGE, bytesDone: 0 } });
    });

    // Not VM_LOCKED any more in 7.3.
    requires({ kvm: false, before: [7, 0] })('is locked memory: MADV_DONTNEED and REMOVE are refused', () => {
      const mapping = secret(PAGE).map();
      open.push(mapping);
      for (const advice of [MADV.value.MADV_DONTNEED, MADV.value.MADV_REMOVE]) {
        expect(mapping.raw.advise(advice)).toEqual(refused('EINVAL'));
      }
    });
  },
  {
    also: ({ sys }) => {
      const made = sys.raw.memfdSecret(0);
      if (!made.ok) return `memfd_secret: ${made.code} (boot with secretmem.enable=1)`;
      sys.close(made.value);
      return undefined;
    },
  },
);
