/** The simulated kernel: every call of the waist, for one process on a machine of its own. */
import * as take from '../kernel/arguments.ts';
import { CACHESTAT, CACHESTAT_LENGTH, type Int, STAT, STAT_LENGTH } from '../kernel/kernel.ts';
import { EBADF, ENOSYS } from './errno.ts';
import * as calls from './file-calls.ts';
import { ioctl } from './ioctl.ts';
import type { KvmFactory, KvmHost } from './kvm-host.ts';
import * as make from './make.ts';
import { MemoryCalls } from './memory-calls.ts';
import { Process, type ProcessOptions } from './process.ts';
import { migratePages, pinPages, type SimulatedKernel } from './simulated-kernel.ts';
import * as sync from './sync-calls.ts';
import { transferCalls } from './transfer-calls.ts';
import { VcpuCalls } from './vcpu-calls.ts';

export interface SimKernelOptions extends ProcessOptions {
  /** Makes what /dev/kvm is. Without it there is no such device. */
  readonly kvm?: KvmFactory;
}

/** st_dev of everything: there is one file system. */
const DEVICE = 1n;

/** The methods need no `this`, like the addon's functions. */
export function simKernel(options: SimKernelOptions): SimulatedKernel & { readonly process: Process } {
  const process = new Process(options);
  const { profile, fds } = process;
  const kvm: KvmHost | undefined = options.kvm?.(process);
  const memory = new MemoryCalls(process);
  const vcpus = new VcpuCalls(process, kvm?.vcpus);
  const fileOf = (fd: number) => fds.get(fd);

  return {
    backend: 'sim',
    arch: profile.arch,
    release: profile.uname,
    process,
    events: process.events,
    migratePages: (address, length) => migratePages(process, address, length),
    pinPages: (address, length) => pinPages(process, address, length),

    open: (path, flags, mode) => {
      const name = take.text(path, 'path');
      const bits = take.bits32(flags, 'flags');
      take.bits32(mode, 'mode');
      return make.open(process, kvm, name, bits);
    },
    close: (fd) => fds.close(take.int32(fd, 'fd')),
    adopt: (fd) => fds.setCloexec(take.int32(fd, 'fd'), true),
    fcntl: (givenFd, givenCommand, givenArg) => {
      const fd = take.int32(givenFd, 'fd');
      const command = take.fcntlCommand(givenCommand, 'command');
      return calls.fcntl(process, fd, command, take.bits32(givenArg, 'arg'));
    },
    ioctl: (...given) => ioctl(process, ...given),
    memfdCreate: (givenName, givenFlags) => {
      const name = take.text(givenName, 'name');
      return make.memfdCreate(process, name, take.bits32(givenFlags, 'flags'));
    },
    memfdSecret: (flags) => make.memfdSecret(process, take.bits32(flags, 'flags')),
    eventfd: (givenInitial, givenFlags) => {
      const initial = take.bits32(givenInitial, 'initial');
      return make.eventfd(process, initial, take.bits32(givenFlags, 'flags'));
    },
    ftruncate: (fd, length) => {
      const file = take.int32(fd, 'fd');
      return calls.ftruncate(fileOf(file), take.s64(length, 'length'));
    },
    fchmod: (givenFd, givenMode) => {
      const fd = take.int32(givenFd, 'fd');
      const mode = take.bits32(givenMode, 'mode');
      return fileOf(fd)?.chmod(mode) ?? -EBADF;
    },
    fchown: (givenFd, uid, gid) => {
      const fd = take.int32(givenFd, 'fd');
      take.bits32(uid, 'uid');
      take.bits32(gid, 'gid');
      return fileOf(fd)?.chown() ?? -EBADF;
    },
    fallocate: (givenFd, givenMode, givenOffset, givenLength) => {
      const fd = take.int32(givenFd, 'fd');
      const mode = take.bits32(givenMode, 'mode');
      const offset = take.s64(givenOffset, 'offset');
      const length = take.s64(givenLength, 'length');
      return calls.fallocate(fileOf(fd), mode, offset, length, profile);
    },
    fstat: (givenFd, givenOut) => {
      const fd = take.int32(givenFd, 'fd');
      const out = take.outS64(givenOut, 'out', STAT_LENGTH);
      const stat = fileOf(fd)?.stat();
      if (stat === undefined) return -EBADF;
      out[STAT.dev] = DEVICE;
      out[STAT.ino] = stat.ino;
      out[STAT.mode] = BigInt(stat.mode);
      out[STAT.nlink] = BigInt(stat.nlink);
      out[STAT.size] = stat.size;
      out[STAT.blksize] = BigInt(stat.blksize);
      out[STAT.blocks] = stat.blocks;
      out[STAT.fsType] = BigInt(stat.fsType);
      return 0;
    },
    lseek: (givenFd, givenOffset, givenWhence, givenOut) => {
      const fd = take.int32(givenFd, 'fd');
      const offset = take.s64(givenOffset, 'offset');
      const whence = take.int32(givenWhence, 'whence');
      const out = take.outS64(givenOut, 'out', 1);
      const at = calls.lseek(fileOf(fd), offset, whence);
      if (at < 0n) return Number(at);
      out[0] = at;
      return 0;
    },
    readlink: (path, into) => {
      const name = take.text(path, 'path');
      return sync.readlink(process, name, take.bytes(into, 'into'));
    },
    read: (fd, into) => {
      const file = take.int32(fd, 'fd');
      return calls.read(process, file, take.bytes(into, 'into'));
    },
    write: (fd, from) => {
      const file = take.int32(fd, 'fd');
      return calls.write(process, file, take.bytes(from, 'from'));
    },
    pread: (givenFd, givenInto, givenOffset) => {
      const fd = take.int32(givenFd, 'fd');
      const into = take.bytes(givenInto, 'into');
      return calls.pread(process, fd, into, take.s64(givenOffset, 'offset'));
    },
    pwrite: (givenFd, givenFrom, givenOffset) => {
      const fd = take.int32(givenFd, 'fd');
      const from = take.bytes(givenFrom, 'from');
      return calls.pwrite(process, fd, from, take.s64(givenOffset, 'offset'));
    },
    cachestat: (givenFd, givenOffset, givenLength, givenOut) => {
      const fd = take.int32(givenFd, 'fd');
      const offset = take.u64(givenOffset, 'offset');
      const length = take.u64(givenLength, 'length');
      const out = take.outU64(givenOut, 'out', CACHESTAT_LENGTH);
      if (!profile.cachestat) return -ENOSYS;
      const cached = calls.cachestat(fileOf(fd), offset, length);
      if (cached < 0) return cached;
      // Memory files are not written back, and nothing is evicted: there is no swap.
      out.fill(0n, 0, CACHESTAT_LENGTH);
      out[CACHESTAT.cache] = BigInt(cached);
      return 0;
    },

    ...transferCalls(process),

    mmap: (...given) => memory.mmap(...given),
    munmap: (address, length) => memory.munmap(address, length),
    mprotect: (address, length, prot) => memory.mprotect(address, length, prot),
    madvise: (address, length, advice) => memory.madvise(address, length, advice),
    mincore: (address, length, vec) => memory.mincore(address, length, vec),
    mlock: (address, length, flags) => memory.mlock(address, length, flags),
    munlock: (address, length) => memory.munlock(address, length),
    msync: (address, length, flags) => memory.msync(address, length, flags),
    mbind: (...given) => memory.mbind(...given),
    getMempolicy: (...given) => memory.getMempolicy(...given),
    vmsplice: (...given) => memory.vmsplice(...given),
    processVmReadv: (address, into) => memory.processVmReadv(address, into),
    processVmWritev: (address, from) => memory.processVmWritev(address, from),
    copyOut: (address, into, fault) => memory.copyOut(address, into, fault),
    copyIn: (address, from, fault) => memory.copyIn(address, from, fault),
    fill: (address, length: Int, byte, fault) => memory.fill(address, length, byte, fault),
    compare: (address, expected, fault) => memory.compare(address, expected, fault),
    view: (address, length) => memory.view(address, length),

    vcpuAttach: (fd, runPage) => vcpus.attach(fd, runPage),
    vcpuRun: (vcpu, timeoutMs) => vcpus.run(vcpu, timeoutMs),
    vcpuStart: (vcpu, done) => vcpus.start(vcpu, done),
    vcpuKick: (vcpu) => vcpus.kick(vcpu),
    vcpuDetach: (vcpu) => vcpus.detach(vcpu),
  };
}
