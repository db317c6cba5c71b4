/** Seals of a memfd (memfd_create(2), fcntl(2)): what each forbids, with which errno, and what it leaves alone. */
import { afterEach, expect, it } from 'vitest';
import { Memfd, type MemfdOptions } from '../../lib/memory/memfd.ts';
import { sinceRelease } from '../../lib/sim/profile.ts';
import { F_SEAL, FALLOC_FL, MFD } from '../../lib/uapi/memfd.ts';
import { MAP, PROT } from '../../lib/uapi/mman.ts';
import { describeKernel } from '../support/kvm.ts';

const { F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_EXEC } = F_SEAL.value;
const { PROT_READ, PROT_WRITE } = PROT.value;
const { MAP_PRIVATE } = MAP.value;
const KEEP_SIZE = FALLOC_FL.value.FALLOC_FL_KEEP_SIZE;
const PAGE = 4096;
const BYTE = new Uint8Array([1]);

const refused = (code: string) => expect.objectContaining({ ok: false, code });
const ok = expect.objectContaining({ ok: true });

describeKernel('seals', (sys) => {
  const open: { close(): void }[] = [];
  const memfd = (options: MemfdOptions = {}): Memfd => {
    const file = Memfd.create(sys, { size: 2 * PAGE, flags: MFD.value.MFD_EXEC, ...options });
    open.push(file);
    return file;
  };
  afterEach(() => {
    for (const owner of open.splice(0)) owner.close();
  });

  it('start empty, and as SEAL for a file that cannot be sealed', () => {
    expect(memfd().seals).toBe(0);
    const fixed = memfd({ sealable: false });
    expect(fixed.seals).toBe(F_SEAL_SEAL);
    expect(fixed.raw.addSeals(F_SEAL_GROW)).toEqual(refused('EPERM'));
  });

  it('start as EXEC with MFD_NOEXEC_SEAL, and take more', () => {
    for (const sealable of [true, false]) {
      const file = memfd({ flags: MFD.value.MFD_NOEXEC_SEAL, sealable });
      expect(file.seals).toBe(F_SEAL_EXEC);
      expect(file.stat().mode & 0o777).toBe(0o666);
      file.addSeals(F_SEAL_GROW);
      expect(file.seals).toBe(F_SEAL_EXEC | F_SEAL_GROW);
    }
  });

  it('add up, and are never taken back', () => {
    const file = memfd();
    file.addSeals(F_SEAL_SHRINK);
    file.addSeals(0);
    file.addSeals(F_SEAL_GROW);
    expect(file.seals).toBe(F_SEAL_SHRINK | F_SEAL_GROW);
  });

  it('refuse unknown bits before they look at SEAL', () => {
    const file = memfd();
    expect(file.raw.addSeals(0x40)).toEqual(refused('EINVAL'));
    file.addSeals(F_SEAL_SEAL);
    expect(file.raw.addSeals(0x40)).toEqual(refused('EINVAL'));
    expect(file.raw.addSeals(F_SEAL_GROW)).toEqual(refused('EPERM'));
    expect(file.seals).toBe(F_SEAL_SEAL);
  });

  it('SHRINK', () => {
    const file = memfd();
    file.addSeals(F_SEAL_SHRINK);
    expect(file.raw.truncate(PAGE)).toEqual(refused('EPERM'));
    expect([file.raw.truncate(2 * PAGE), file.raw.truncate(4 * PAGE), file.raw.punchHole(0, PAGE)]).toEqual([
      ok,
      ok,
      ok,
    ]);
  });

  it('GROW, also for an allocation that would keep the size', () => {
    const file = memfd();
    file.addSeals(F_SEAL_GROW);
    expect(file.raw.truncate(3 * PAGE)).toEqual(refused('EPERM'));
    expect(file.raw.fallocate(0, 2 * PAGE, PAGE)).toEqual(refused('EPERM'));
    expect(file.raw.fallocate(KEEP_SIZE, 2 * PAGE, PAGE)).toEqual(refused('EPERM'));
    expect(file.raw.pwrite(BYTE, 2 * PAGE)).toEqual(refused('EPERM'));
    // A write that starts inside is cut short at the end; since some release after 6.18 up to 2 MiB of it are judged at once.
    const whole = sinceRelease(sys.kernel.release, '7.3');
    const cut = expect.objectContaining({ ok: true, value: 3 });
    expect(file.raw.pwrite(new Uint8Array(8), 2 * PAGE - 3)).toEqual(whole ? refused('EPERM') : cut);
    expect([file.raw.truncate(PAGE), file.raw.punchHole(0, PAGE), file.raw.fallocate(0, 0, PAGE)]).toEqual([
      ok,
      ok,
      ok,
    ]);
  });

  it.each([
    ['WRITE', F_SEAL_WRITE],
    ['FUTURE_WRITE', F_SEAL_FUTURE_WRITE],
  ])('%s', (_, seal) => {
    const file = memfd();
    file.pwrite(BYTE, 0);
    file.addSeals(seal);
    expect(file.raw.pwrite(BYTE, 0)).toEqual(refused('EPERM'));
    expect(file.raw.write(BYTE)).toEqual(refused('EPERM'));
    expect(file.raw.punchHole(0, PAGE)).toEqual(refused('EPERM'));
    expect(file.raw.map()).toEqual(refused('EPERM'));
    expect(file.raw.pwrite(new Uint8Array(0), 0)).toEqual(expect.objectContaining({ value: 0 }));
    expect([file.raw.truncate(3 * PAGE), file.raw.truncate(2 * PAGE), file.raw.fallocate(0, 0, PAGE)]).toEqual([
      ok,
      ok,
      ok,
    ]);
    const into = new Uint8Array(1);
    expect([file.pread(into, 0), into[0]]).toEqual([1, 1]);
    using copyOnWrite = file.map({ flags: MAP_PRIVATE });
    copyOnWrite.fill(7);
    using readOnly = file.map({ prot: PROT_READ });
    expect(readOnly.raw.protect(PROT_READ | PROT_WRITE)).toEqual(refused('EACCES'));
    expect(readOnly.read(0, 1)).toEqual(BYTE);
  });

  it('WRITE waits for every shared mapping that could be written', () => {
    const file = memfd();
    for (const prot of [PROT_READ | PROT_WRITE, PROT_READ, 0]) {
      using _mapping = file.map({ prot });
      expect(file.raw.addSeals(F_SEAL_WRITE)).toEqual(refused('EBUSY'));
      // All or none.
      expect(file.raw.addSeals(F_SEAL_WRITE | F_SEAL_GROW)).toEqual(refused('EBUSY'));
      expect(file.seals).toBe(0);
    }
    using copyOnWrite = file.map({ flags: MAP_PRIVATE });
    file.addSeals(F_SEAL_WRITE);
    expect(copyOnWrite.closed).toBe(false);
  });

  it('WRITE does not mind a mapping through a read-only descriptor', () => {
    const file = memfd();
    const fd = sys.open(`/proc/self/fd/${file.fd}`, 0);
    const hva = sys.mmap(0, PAGE, PROT_READ, MAP.value.MAP_SHARED, fd, 0);
    file.addSeals(F_SEAL_WRITE);
    expect(file.seals).toBe(F_SEAL_WRITE);
    sys.munmap(hva, PAGE);
    sys.close(fd);
  });

  it('FUTURE_WRITE lets earlier mappings write on', () => {
    const file = memfd();
    using mapping = file.map();
    file.addSeals(F_SEAL_FUTURE_WRITE);
    mapping.fill(0x5a);
    const into = new Uint8Array(1);
    file.pread(into, PAGE);
    expect(into[0]).toBe(0x5a);
  });

  it('EXEC on an executable file implies the seals against changes', () => {
    const file = memfd();
    expect(file.stat().mode & 0o777).toBe(0o777);
    file.addSeals(F_SEAL_EXEC);
    expect(file.seals).toBe(F_SEAL_EXEC | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
  });

  it('need a descriptor that can write, and a file that can be sealed', () => {
    const file = memfd();
    const fd = sys.open(`/proc/self/fd/${file.fd}`, 0);
    // Before the bits are looked at.
    expect(sys.raw.fcntl(fd, 1033, 0x40)).toEqual(refused('EPERM'));
    expect(sys.raw.fcntl(fd, 1034, 0)).toEqual(ok);
    sys.close(fd);
    const event = sys.eventfd(0, 0);
    expect(sys.raw.fcntl(event, 1033, 0x40)).toEqual(refused('EINVAL'));
    expect(sys.raw.fcntl(event, 1034)).toEqual(refused('EINVAL'));
    sys.close(event);
  });

  it('do not survive their file: a closed one says that it is closed', () => {
    const file = memfd();
    file.close();
    expect(() => file.seals).toThrow('memfd (fd');
    expect(() => file.raw.addSeals(1)).toThrow(/is closed/);
  });
});
