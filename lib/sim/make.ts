/** The calls that make a file: open, memfd_create, memfd_secret, eventfd2. mm/memfd.c, mm/secretmem.c, fs/eventfd.c */
import { EACCES, EEXIST, EINVAL, ENAMETOOLONG, ENODEV, ENOENT, ENOSYS, ENOTDIR } from './errno.ts';
import { O_ACCMODE, O_NONBLOCK, type SimFile } from './file.ts';
import { DevNullFile } from './files/dev-null.ts';
import { EventfdFile } from './files/eventfd.ts';
import { HugetlbFile, hugeSizeOf } from './files/hugetlb.ts';
import { MemfdFile } from './files/memfd.ts';
import { makePipe } from './files/pipe.ts';
import { F_SEAL_EXEC, F_SEAL_SEAL } from './files/sealed.ts';
import { SecretmemFile } from './files/secretmem.ts';
import type { KvmHost } from './kvm-host.ts';
import { Memfile } from './patches/memfile.ts';
import type { Process } from './process.ts';

const PATH_MAX = 4096;
const O_CREAT = 0x40;
const O_EXCL = 0x80;
const O_NOCTTY = 0x100;
const O_CLOEXEC = 0x80000;
const O_DIRECTORY = { x64: 0x10000, arm64: 0x4000 } as const;

/** Gives a file its descriptor, close-on-exec. */
const install = ({ fds }: Process, file: SimFile | number): number =>
  typeof file === 'number' ? file : fds.install(file, true);

const OF_DESCRIPTOR = /^\/(?:proc\/self|dev)\/fd\/(\d+)$/;
/** What open(2) does not keep as a status flag. */
const O_ONLY_OPEN = O_CREAT | O_EXCL | O_NOCTTY | O_CLOEXEC;

/** A new description of the file that a descriptor refers to. */
function reopen(process: Process, fd: number, flags: number): number {
  const file = process.fds.get(fd);
  if (file === undefined) return -ENOENT;
  if ((flags & (O_CREAT | O_EXCL)) === (O_CREAT | O_EXCL)) return -EEXIST;
  if ((flags & O_DIRECTORY[process.profile.arch]) !== 0) return -ENOTDIR;
  const broken = process.locks.breakLeases(file, (flags & O_ACCMODE) !== 0, (flags & O_NONBLOCK) !== 0);
  if (broken < 0) return broken;
  const opened = file.reopen(flags & ~O_ONLY_OPEN);
  if (typeof opened !== 'number' && opened.opened) process.locks.opened(opened);
  return install(process, opened);
}

/** Knows /proc/self/fd, /dev/null, and /dev/kvm (and what belongs to it) when there is a KVM. */
export function open(process: Process, kvm: KvmHost | undefined, path: string, flags: number): number {
  const bytes = new TextEncoder().encode(path).length;
  if (bytes >= PATH_MAX) return -ENAMETOOLONG;
  const reserved = process.fds.next();
  if (reserved < 0) return reserved;
  const descriptor = OF_DESCRIPTOR.exec(path)?.[1];
  if (descriptor !== undefined) return reopen(process, Number(descriptor), flags);
  const device = kvm?.devices?.get(path);
  const exists = path === '/dev/null' || (path === '/dev/kvm' && kvm !== undefined) || device !== undefined;
  if (!exists) return -ENOENT;
  if ((flags & (O_CREAT | O_EXCL)) === (O_CREAT | O_EXCL)) return -EEXIST;
  const { arch } = process.profile;
  if ((flags & O_DIRECTORY[arch]) !== 0) return -ENOTDIR;
  if (path === '/dev/kvm' && kvm !== undefined) return install(process, kvm.open(flags));
  if (device !== undefined) return install(process, device(flags));
  return install(process, new DevNullFile(flags & ~O_ONLY_OPEN, process.nextInode(), process.profile));
}

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const MFD_HUGETLB = 4;
const MFD_NOEXEC_SEAL = 8;
/** What flag 8 is in a kernel of 2022 with that series. */
const MFD_INACCESSIBLE = 8;
const MFD_EXEC = 0x10;
const MFD_HUGE_BITS = 0xfc00_0000;
const NAME_MAX = 249;

/** The flags with the choice that vm.memfd_noexec makes, or a negated errno. check_sysctl_memfd_noexec. */
function withExec({ profile, memfdNoexec }: Process, flags: number): number {
  if (!profile.memfdExec) return flags | MFD_EXEC;
  let chosen = flags;
  if ((flags & (MFD_EXEC | MFD_NOEXEC_SEAL)) === 0) chosen |= memfdNoexec === 0 ? MFD_EXEC : MFD_NOEXEC_SEAL;
  return memfdNoexec === 2 && (chosen & MFD_NOEXEC_SEAL) === 0 ? -EACCES : chosen;
}

export function memfdCreate(process: Process, name: string, asked: number): number {
  const { profile, hugePages } = process;
  const inaccessible = profile.patches.has('inaccessible-memfd-v5') ? MFD_INACCESSIBLE : 0;
  const exec = profile.memfdExec ? MFD_NOEXEC_SEAL | MFD_EXEC : 0;
  const plain = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | exec | inaccessible;
  const known = (asked & MFD_HUGETLB) !== 0 ? plain | MFD_HUGE_BITS : plain;
  if ((asked & ~known) !== 0) return -EINVAL;
  if ((asked & MFD_EXEC) !== 0 && (asked & MFD_NOEXEC_SEAL) !== 0) return -EINVAL;
  const closed = (asked & inaccessible) !== 0;
  if (closed && (asked & MFD_ALLOW_SEALING) !== 0) return -EINVAL;
  const flags = withExec(process, asked);
  // As an errno only: the huge-size bits make flags negative too.
  if (flags === -EACCES) return flags;
  if (new TextEncoder().encode(name).length > NAME_MAX) return -EINVAL;
  const reserved = process.fds.next();
  if (reserved < 0) return reserved;
  const noexec = !closed && (flags & MFD_NOEXEC_SEAL) !== 0;
  const seals = noexec ? F_SEAL_EXEC : (flags & MFD_ALLOW_SEALING) !== 0 ? 0 : F_SEAL_SEAL;
  const mode = noexec ? 0o666 : 0o777;
  const ino = process.nextInode();
  if ((flags & MFD_HUGETLB) === 0) {
    const memfile = profile.patches.size > 0 && !profile.memfdExec ? { memfile: new Memfile(process, closed) } : {};
    return install(process, MemfdFile.create({ profile, ino, name, mode, seals, ...memfile }));
  }
  const hugeSize = hugeSizeOf(flags, hugePages);
  if (hugeSize === undefined) return -ENODEV;
  return install(process, HugetlbFile.create({ process, ino, name, hugeSize, mode, seals }));
}

export function memfdSecret(process: Process, flags: number): number {
  if (!process.secretmem) return -ENOSYS;
  if ((flags & ~O_CLOEXEC) !== 0) return -EINVAL;
  const reserved = process.fds.next();
  return reserved < 0 ? reserved : install(process, new SecretmemFile(process.profile, process.nextInode()));
}

const EFD_KNOWN = 1 | 0x800 | 0x80000;

export function eventfd(process: Process, initial: number, flags: number): number {
  if ((flags & ~EFD_KNOWN) !== 0) return -EINVAL;
  return install(process, new EventfdFile(initial, flags, process.nextInode(), process.profile));
}

const PIPE_FLAGS = { x64: O_CLOEXEC | O_NONBLOCK | 0x4000, arm64: O_CLOEXEC | O_NONBLOCK | 0x10000 } as const;

/** pipe2(2): both ends, or a negated errno. */
export function pipe(process: Process, flags: number): readonly [number, number] | number {
  const { fds, profile } = process;
  if ((flags & ~PIPE_FLAGS[profile.arch]) !== 0) return -EINVAL;
  const [reader, writer] = makePipe(process, flags);
  const read = fds.install(reader, true);
  if (read < 0) return read;
  const write = fds.install(writer, true);
  if (write >= 0) return [read, write];
  fds.close(read);
  return write;
}
