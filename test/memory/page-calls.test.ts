/** Locking, syncing, pinning, policies, locks, leases, splicing: on the real kernel, and the same on the simulated one of its release. */
import os from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import { Sys } from '../../lib/kernel/sys.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { Mapping } from '../../lib/memory/mapping.ts';
import { Memfd } from '../../lib/memory/memfd.ts';
import { Pipe } from '../../lib/memory/pipe.ts';
import { SecretMem } from '../../lib/memory/secret-mem.ts';
import { nearestRelease } from '../../lib/sim/profile.ts';
import { simulate } from '../../lib/sim/simulate.ts';
import { LEASE, LOCK, MADV, MLOCK, MPOL, MS, POLL, POSIX_FADV, PROT, SPLICE_F } from '../../lib/uapi/index.ts';
import { describeKernel } from '../support/kvm.ts';

const PAGE = 4096;
const MMAP = 1n;
const INIT_SHARED = 2n;
const refused = (code: string) => expect.objectContaining({ ok: false, code });
const { LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN } = LOCK.value;
const { F_RDLCK, F_UNLCK, F_WRLCK } = LEASE.value;
const { POLLIN, POLLOUT, POLLHUP, POLLERR } = POLL.value;

interface Place {
  readonly sys: Sys;
  /** Undefined where there is no KVM. */
  readonly kvm: () => Kvm | undefined;
}

function suite({ sys, kvm }: Place): void {
  const open: { close(): void }[] = [];
  const keep = <T extends { close(): void }>(owner: T): T => {
    open.push(owner);
    return owner;
  };
  afterEach(() => {
    for (const owner of open.splice(0).reverse()) owner.close();
  });
  const file = (pages = 4): Memfd => keep(Memfd.create(sys, { name: 'calls', size: pages * PAGE }));
  const memory = (pages = 4): Mapping => keep(Mapping.anonymous(sys, pages * PAGE, { shared: false }));
  const secret = (): SecretMem | undefined => {
    const made = sys.raw.memfdSecret(0);
    if (!made.ok) return undefined;
    sys.close(made.value);
    return keep(SecretMem.create(sys, PAGE));
  };
  const gmem = (flags: bigint) => {
    const device = kvm();
    const vm = device && keep(device.createVm());
    return vm?.raw.createGuestMemfd(2 * PAGE, flags).value;
  };

  it('mlock fetches the pages, and refuses where none can be had', () => {
    const lazy = memory();
    lazy.lock(MLOCK.value.MLOCK_ONFAULT);
    expect(lazy.resident()).toEqual([false, false, false, false]);
    const eager = memory();
    eager.lock(0, { offset: PAGE, length: 2 * PAGE });
    expect(eager.resident()).toEqual([false, true, true, false]);
    expect(eager.raw.advise(MADV.value.MADV_DONTNEED, { offset: PAGE, length: PAGE })).toEqual(refused('EINVAL'));
    eager.unlock();
    eager.advise(MADV.value.MADV_DONTNEED);
    eager.protect(PROT.value.PROT_NONE, { offset: 3 * PAGE });
    expect(eager.raw.lock()).toEqual(refused('ENOMEM'));
    expect(eager.raw.lock(8)).toEqual(refused('EINVAL'));
    const short = keep(file(1).map({ length: 2 * PAGE }));
    expect(short.raw.lock()).toEqual(refused('ENOMEM'));
    short.lock(0, { length: PAGE });
  });

  it('msync writes nothing back, but asks the file', () => {
    const mapping = keep(file().map());
    for (const flags of [0, MS.value.MS_SYNC, MS.value.MS_ASYNC, MS.value.MS_INVALIDATE]) mapping.sync(flags);
    expect(mapping.raw.sync(MS.value.MS_SYNC | MS.value.MS_ASYNC)).toEqual(refused('EINVAL'));
    mapping.lock();
    expect(mapping.raw.sync(MS.value.MS_INVALIDATE)).toEqual(refused('EBUSY'));
  });

  it('pinned reads stop where a page cannot be had', () => {
    const mapping = memory();
    mapping.write(
      0,
      Uint8Array.from({ length: 2 * PAGE }, (_, i) => i & 0xff),
    );
    mapping.protect(PROT.value.PROT_NONE, { offset: 2 * PAGE, length: PAGE });
    const into = new Uint8Array(3 * PAGE);
    expect(mapping.readPinned(100, into)).toBe(2 * PAGE - 100);
    expect(into[0]).toBe(100);
    expect(mapping.raw.readPinned(2 * PAGE, into.subarray(0, 8))).toEqual(refused('EFAULT'));
    expect(mapping.writePinned(PAGE, Uint8Array.of(7))).toBe(1);
    expect(mapping.read(PAGE, 1)).toEqual(Uint8Array.of(7));
  });

  it('policies are set, shown and taken back', ({ skip }) => {
    const mapping = memory();
    const answer = mapping.raw.policy();
    if (!answer.ok && answer.code === 'ENOSYS') return skip('a kernel without CONFIG_NUMA');
    expect(answer.value).toEqual({ mode: MPOL.value.MPOL_DEFAULT, nodes: [] });
    mapping.bindPolicy(MPOL.value.MPOL_BIND, [0], 0, { offset: PAGE, length: PAGE });
    expect(mapping.policy(PAGE)).toEqual({ mode: MPOL.value.MPOL_BIND, nodes: [0] });
    expect(mapping.policy(2 * PAGE)).toEqual({ mode: MPOL.value.MPOL_DEFAULT, nodes: [] });
    expect(mapping.nodeAt(PAGE)).toBeGreaterThanOrEqual(0);
    mapping.bindPolicy(MPOL.value.MPOL_DEFAULT);
    expect(mapping.policy(PAGE).mode).toBe(MPOL.value.MPOL_DEFAULT);
    expect(mapping.raw.bindPolicy(999, [0])).toEqual(refused('EINVAL'));
    expect(mapping.raw.bindPolicy(MPOL.value.MPOL_BIND, [])).toEqual(refused('EINVAL'));
    expect(() => mapping.bindPolicy(MPOL.value.MPOL_BIND, [-1])).toThrow(RangeError);
    // A tmpfs file keeps them itself.
    const shared = file();
    keep(shared.map()).bindPolicy(MPOL.value.MPOL_PREFERRED, [0]);
    expect(keep(shared.map()).policy()).toEqual({ mode: MPOL.value.MPOL_PREFERRED, nodes: [0] });
  });

  it('flock: open files exclude each other, descriptors of one do not', () => {
    const first = file();
    first.flock(LOCK_EX | LOCK_NB);
    const again = sys.open(`/proc/self/fd/${first.fd}`, 2);
    expect(sys.raw.flock(again, LOCK_SH | LOCK_NB)).toEqual(refused('EAGAIN'));
    first.flock(LOCK_UN);
    sys.flock(again, LOCK_SH | LOCK_NB);
    first.flock(LOCK_SH | LOCK_NB);
    expect(first.raw.flock(LOCK_EX | LOCK_NB)).toEqual(refused('EAGAIN'));
    sys.close(again);
    first.flock(LOCK_EX | LOCK_NB);
    expect(first.raw.flock(LOCK_NB)).toEqual(refused('EINVAL'));
  });

  it('leases: to read while nobody has it open to write', () => {
    const made = file();
    expect(made.lease()).toBe(F_UNLCK);
    expect(made.raw.setLease(F_WRLCK)).toEqual(refused('EAGAIN'));
    made.setLease(F_RDLCK);
    expect(made.lease()).toBe(F_RDLCK);
    made.setLease(F_UNLCK);
    expect(made.raw.setLease(F_UNLCK)).toEqual(refused('EAGAIN'));
    expect(made.raw.setLease(7)).toEqual(refused('EINVAL'));
    const again = sys.open(`/proc/self/fd/${made.fd}`, 2);
    expect(made.raw.setLease(F_RDLCK)).toEqual(refused('EAGAIN'));
    sys.close(again);
    made.setLease(F_RDLCK);
  });

  it('write-back and advice: nothing to do, but judged', () => {
    const made = file();
    made.fsync();
    made.fdatasync();
    made.syncRange(7);
    expect(made.raw.syncRange(8)).toEqual(refused('EINVAL'));
    made.advise(POSIX_FADV.value.POSIX_FADV_DONTNEED);
    expect(made.raw.advise(6)).toEqual(refused('EINVAL'));
    made.readahead(0, PAGE);
    made.chown(-1, -1);
  });

  it('names and readiness', () => {
    const made = file();
    expect(made.linkName()).toBe('/memfd:calls (deleted)');
    expect(made.poll(POLLIN | POLLOUT)).toBe(POLLIN | POLLOUT);
    const event = sys.eventfd(0, 0);
    expect(sys.poll(event, POLLIN | POLLOUT)).toBe(POLLOUT);
    sys.write(event, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
    expect(sys.poll(event, POLLIN | POLLOUT)).toBe(POLLIN | POLLOUT);
    sys.close(event);
    expect(sys.readlink(`/proc/self/fd/${made.fd}`)).toBe('/memfd:calls (deleted)');
    expect(sys.raw.readlink('/proc/self/fd/999999')).toEqual(refused('ENOENT'));
  });

  it('pipes: bytes, pages of files, pages of memory', () => {
    const pipe = keep(Pipe.create(sys));
    expect(pipe.raw.read(new Uint8Array(1))).toEqual(refused('EAGAIN'));
    expect(pipe.write(Uint8Array.of(1, 2, 3))).toBe(3);
    const got = new Uint8Array(8);
    expect(pipe.read(got)).toBe(3);
    expect([...got.subarray(0, 3)]).toEqual([1, 2, 3]);
    const from = file();
    from.pwrite(new Uint8Array(PAGE).fill(9), 0);
    expect(pipe.spliceFrom(from, 2 * PAGE)).toBe(2 * PAGE);
    // The page itself is in the pipe.
    from.pwrite(Uint8Array.of(77), 0);
    const to = file();
    expect(pipe.spliceTo(to, PAGE)).toBe(PAGE);
    to.pread(got, 0);
    expect([...got]).toEqual([77, 9, 9, 9, 9, 9, 9, 9]);
    expect(pipe.readEnd.poll(POLLIN)).toBe(POLLIN);
    const mapping = memory();
    mapping.fill(5);
    expect(pipe.vmspliceFrom(mapping, { length: PAGE })).toBe(PAGE);
  });

  it('pipes whose other end is closed', () => {
    const pipe = keep(Pipe.create(sys));
    pipe.writeEnd.close();
    expect(pipe.readEnd.poll(POLLIN)).toBe(POLLHUP);
    expect(pipe.read(new Uint8Array(1))).toBe(0);
    const other = keep(Pipe.create(sys));
    other.readEnd.close();
    expect(other.writeEnd.poll(POLLOUT)).toBe(POLLOUT | POLLERR);
    expect(other.raw.write(Uint8Array.of(1))).toEqual(refused('EPIPE'));
  });

  it('vmsplice to memory copies', () => {
    const pipe = keep(Pipe.create(sys));
    pipe.write(Uint8Array.of(4, 5, 6));
    const mapping = memory();
    expect(pipe.vmspliceTo(mapping, { offset: 10 }, SPLICE_F.value.SPLICE_F_NONBLOCK)).toBe(3);
    expect(mapping.read(10, 3)).toEqual(Uint8Array.of(4, 5, 6));
  });

  it('sendfile and copy_file_range: from position to position', () => {
    const from = file();
    from.pwrite(new Uint8Array(2 * PAGE).fill(3), 0);
    const to = file(0);
    expect(from.sendTo(to, PAGE + 1)).toBe(PAGE + 1);
    expect(from.copyRangeTo(to, PAGE)).toBe(PAGE);
    expect(to.size).toBe(2 * PAGE + 1);
    expect(to.raw.copyRangeTo(to, 1)).toMatchObject({ ok: true, value: 0 });
    expect(from.raw.copyRangeTo(from, PAGE)).toEqual(refused('EINVAL'));
  });

  it('memfd_secret: the kernel itself has no way to its pages', ({ skip }) => {
    const hidden = secret();
    if (hidden === undefined) return skip('no memfd_secret here');
    const mapping = keep(hidden.map());
    mapping.write(0, Uint8Array.of(1));
    const pipe = keep(Pipe.create(sys));
    for (const refusal of [mapping.raw.readPinned(0, new Uint8Array(1)), pipe.raw.vmspliceFrom(mapping)]) {
      expect(refusal).toEqual(refused('EFAULT'));
    }
    for (const refusal of [mapping.raw.sync(MS.value.MS_SYNC), hidden.raw.fsync(), pipe.raw.spliceFrom(hidden, PAGE)]) {
      expect(refusal).toEqual(refused('EINVAL'));
    }
    expect(hidden.linkName()).toBe('/secretmem (deleted)');
  });

  it('guest_memfd: what it has no operation for, and what its private pages answer', ({ skip }) => {
    const shared = gmem(MMAP | INIT_SHARED);
    const hidden = gmem(MMAP);
    if (shared === undefined || hidden === undefined) return skip('no guest_memfd that can be mapped here');
    for (const refusal of [shared.raw.fsync(), shared.raw.chown(0, 0), shared.raw.readahead(0, PAGE)]) {
      expect(refusal).toEqual(refused('EINVAL'));
    }
    shared.flock(LOCK_EX | LOCK_NB);
    expect(shared.poll(POLLIN | POLLOUT)).toBe(POLLIN | POLLOUT);
    const target = file();
    expect(shared.raw.sendTo(target, PAGE)).toEqual(refused('EINVAL'));
    const pipe = keep(Pipe.create(sys));
    expect(pipe.raw.spliceFrom(shared, PAGE)).toEqual(refused('EINVAL'));
    const mapping = keep(shared.map());
    mapping.lock();
    expect(mapping.raw.sync(MS.value.MS_SYNC)).toEqual(refused('EINVAL'));
    mapping.write(0, Uint8Array.of(42));
    expect(mapping.readPinned(0, new Uint8Array(1))).toBe(1);
    expect(pipe.vmspliceFrom(mapping, { length: 1 })).toBe(1);
    const unreachable = keep(hidden.map());
    expect(unreachable.raw.lock()).toEqual(refused('ENOMEM'));
    expect(unreachable.raw.readPinned(0, new Uint8Array(1))).toEqual(refused('EFAULT'));
    expect(pipe.raw.vmspliceFrom(unreachable)).toEqual(refused('EFAULT'));
  });
}

describeKernel(
  'calls on pages and files, real kernel',
  (sys) => {
    let device: Kvm | undefined;
    suite({
      sys,
      kvm: () => {
        try {
          device ??= Kvm.open(sys);
        } catch {
          return undefined;
        }
        return device;
      },
    });
  },
  {},
);

describe('calls on pages and files, simulated kernel', () => {
  const sys = new Sys(simulate({ release: nearestRelease(os.release()) }));
  let device: Kvm | undefined;
  suite({
    sys,
    kvm: () => {
      device ??= Kvm.open(sys);
      return device;
    },
  });
});
