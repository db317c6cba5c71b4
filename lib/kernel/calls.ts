/** How each call of the waist is shown, in errors and traces alike: the manual page's name, and its arguments in strace's manner. */
import { showNamed } from '../uapi/fields.ts';
import { describeRequest } from '../uapi/ioctl.ts';
import { allNameSets, type FdKind, findIoctl, type Ioctl } from '../uapi/registry.ts';
import type { Kernel } from './kernel.ts';

/** The calls of the waist that are system calls; the rest are copies, views and the vCPU's bookkeeping. */
export type CallName = Exclude<keyof Kernel, 'backend' | 'arch' | 'release'>;

type ArgKind =
  | 'fd'
  | 'int'
  | 'size'
  | 'hva'
  | 'octal'
  | 'string'
  | 'buffer'
  | 'mask'
  | 'request'
  | 'ioctl-arg'
  | 'hidden'
  | { readonly names: string };

export interface CallShape {
  /** As in the manual pages; undefined when the call is none (copies, views, bookkeeping). */
  readonly syscall: string | undefined;
  readonly args: readonly ArgKind[];
}

const names = (set: string): ArgKind => ({ names: set });

export const CALLS: { readonly [K in CallName]: CallShape } = {
  open: { syscall: 'openat', args: ['string', names('O'), 'octal'] },
  close: { syscall: 'close', args: ['fd'] },
  adopt: { syscall: undefined, args: ['fd'] },
  fcntl: { syscall: 'fcntl', args: ['fd', names('F'), 'int'] },
  ioctl: { syscall: 'ioctl', args: ['fd', 'request', 'ioctl-arg', 'hidden', 'hidden'] },
  memfdCreate: { syscall: 'memfd_create', args: ['string', names('MFD')] },
  memfdSecret: { syscall: 'memfd_secret', args: [names('O')] },
  eventfd: { syscall: 'eventfd2', args: ['int', names('EFD')] },
  ftruncate: { syscall: 'ftruncate', args: ['fd', 'size'] },
  fchmod: { syscall: 'fchmod', args: ['fd', 'octal'] },
  fchown: { syscall: 'fchown', args: ['fd', 'int', 'int'] },
  fallocate: { syscall: 'fallocate', args: ['fd', names('FALLOC_FL'), 'size', 'size'] },
  fstat: { syscall: 'fstat', args: ['fd', 'hidden'] },
  lseek: { syscall: 'lseek', args: ['fd', 'size', names('SEEK'), 'hidden'] },
  readlink: { syscall: 'readlinkat', args: ['string', 'buffer'] },
  read: { syscall: 'read', args: ['fd', 'buffer'] },
  write: { syscall: 'write', args: ['fd', 'buffer'] },
  pread: { syscall: 'pread64', args: ['fd', 'buffer', 'size'] },
  pwrite: { syscall: 'pwrite64', args: ['fd', 'buffer', 'size'] },
  cachestat: { syscall: 'cachestat', args: ['fd', 'size', 'size', 'hidden'] },
  flock: { syscall: 'flock', args: ['fd', names('LOCK')] },
  poll: { syscall: 'ppoll', args: ['fd', names('POLL')] },
  fsync: { syscall: 'fsync', args: ['fd'] },
  fdatasync: { syscall: 'fdatasync', args: ['fd'] },
  syncFileRange: { syscall: 'sync_file_range', args: ['fd', 'size', 'size', names('SYNC_FILE_RANGE')] },
  fadvise: { syscall: 'fadvise64', args: ['fd', 'size', 'size', names('POSIX_FADV')] },
  readahead: { syscall: 'readahead', args: ['fd', 'size', 'size'] },
  pipe: { syscall: 'pipe2', args: [names('O'), 'hidden'] },
  splice: { syscall: 'splice', args: ['fd', 'fd', 'size', names('SPLICE_F')] },
  sendfile: { syscall: 'sendfile', args: ['fd', 'fd', 'size'] },
  copyFileRange: { syscall: 'copy_file_range', args: ['fd', 'fd', 'size', 'int'] },
  mmap: { syscall: 'mmap', args: ['hva', 'size', names('PROT'), names('MAP'), 'fd', 'size'] },
  munmap: { syscall: 'munmap', args: ['hva', 'size'] },
  mprotect: { syscall: 'mprotect', args: ['hva', 'size', names('PROT')] },
  madvise: { syscall: 'madvise', args: ['hva', 'size', names('MADV')] },
  mincore: { syscall: 'mincore', args: ['hva', 'size', 'hidden'] },
  mlock: { syscall: 'mlock2', args: ['hva', 'size', names('MLOCK')] },
  munlock: { syscall: 'munlock', args: ['hva', 'size'] },
  msync: { syscall: 'msync', args: ['hva', 'size', names('MS')] },
  mbind: { syscall: 'mbind', args: ['hva', 'size', names('MPOL'), 'mask', names('MPOL_MF')] },
  getMempolicy: { syscall: 'get_mempolicy', args: ['hidden', 'hidden', 'hva', names('MPOL_F')] },
  vmsplice: { syscall: 'vmsplice', args: ['fd', 'hva', 'size', names('SPLICE_F')] },
  processVmReadv: { syscall: 'process_vm_readv', args: ['hva', 'buffer'] },
  processVmWritev: { syscall: 'process_vm_writev', args: ['hva', 'buffer'] },
  copyOut: { syscall: undefined, args: ['hva', 'buffer', 'hidden'] },
  copyIn: { syscall: undefined, args: ['hva', 'buffer', 'hidden'] },
  fill: { syscall: undefined, args: ['hva', 'size', 'int', 'hidden'] },
  compare: { syscall: undefined, args: ['hva', 'buffer', 'hidden'] },
  view: { syscall: undefined, args: ['hva', 'size'] },
  vcpuAttach: { syscall: undefined, args: ['fd', 'hva'] },
  vcpuRun: { syscall: 'ioctl', args: ['int', 'int'] },
  vcpuStart: { syscall: 'ioctl', args: ['int', 'hidden'] },
  vcpuKick: { syscall: undefined, args: ['int'] },
  vcpuDetach: { syscall: undefined, args: ['int'] },
};

const hex = (value: unknown): string =>
  typeof value === 'number' || typeof value === 'bigint'
    ? value < 0
      ? `-0x${(-value).toString(16)}`
      : `0x${value.toString(16)}`
    : String(value);

const isInt = (value: unknown): value is number | bigint =>
  typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value));

function showNames(value: unknown, set: string): string {
  const found = allNameSets().find((candidate) => candidate.name === set);
  if (!isInt(value) || value < 0) return String(value);
  return showNamed(BigInt(value), found);
}

/** The argument of an ioctl: a decoded struct with its flexible tail, a named value, or what can be said of it. */
export function showIoctlArg(ioctl: Ioctl | undefined, arg: unknown): string {
  if (arg instanceof Uint8Array) {
    if (ioctl?.arg.kind !== 'struct') return `<${arg.length} bytes>`;
    const { layout } = ioctl.arg;
    const tail = layout.flexible !== undefined && arg.length > layout.size ? `, ${layout.flexible.name}=[…]` : '';
    return layout.format(arg).replace(/}$/, `${tail}}`);
  }
  if (ioctl?.arg.kind === 'value' && ioctl.arg.names !== undefined && isInt(arg) && arg >= 0) {
    return showNamed(BigInt(arg), ioctl.arg.names);
  }
  return isInt(arg) && arg >= 10 ? hex(arg) : String(arg);
}

/** The request of an ioctl with these arguments: the one that was handed over if they fit it, or what its number says on such a descriptor. */
export function requestOf(args: readonly unknown[], on?: FdKind, handed?: Ioctl): Ioctl | undefined {
  const arg = args[2];
  const fits = handed?.arg.kind !== 'struct' || !(arg instanceof Uint8Array) || handed.arg.layout.size <= arg.length;
  return handed !== undefined && fits ? handed : findIoctl(Number(args[1]), on, undefined, arg);
}

function showArg(kind: ArgKind, value: unknown, ioctl: Ioctl | undefined): string | undefined {
  if (typeof kind === 'object') return showNames(value, kind.names);
  switch (kind) {
    case 'hidden':
      return undefined;
    case 'string':
      return typeof value === 'string' ? JSON.stringify(value) : String(value);
    case 'octal':
      return isInt(value) && value !== 0 ? `0${value.toString(8)}` : undefined;
    case 'hva':
      return value === 0 || value === 0n ? 'NULL' : hex(value);
    case 'size':
      return isInt(value) && value >= 0 && value < 10 ? String(value) : hex(value);
    case 'buffer':
      return value instanceof Uint8Array ? `<${value.length} bytes>` : String(value);
    case 'mask':
      return value instanceof Uint8Array
        ? `0x${[...value]
            .reverse()
            .map((byte) => byte.toString(16).padStart(2, '0'))
            .join('')
            .replace(/^0+(?=.)/, '')}`
        : String(value);
    case 'request':
      return ioctl?.name ?? describeRequest(Number(value));
    case 'ioctl-arg':
      return showIoctlArg(ioctl, value);
    default:
      return String(value);
  }
}

/** The arguments of a call as strings, in order, the ones that only receive results left out. `ioctl`: the request, of an ioctl. */
export function showArgs(call: CallName, args: readonly unknown[], ioctl?: Ioctl): string[] {
  const shown: string[] = call === 'open' || call === 'readlink' ? ['AT_FDCWD'] : [];
  CALLS[call].args.forEach((kind, i) => {
    const text = showArg(kind, args[i], ioctl);
    if (text !== undefined) shown.push(text);
  });
  return shown;
}
