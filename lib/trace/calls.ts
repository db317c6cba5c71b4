/**
 * What a replay, a comparison and an export must know of each call of the waist: what every argument is, what its result stands for, what
 * it could do that a file may not be trusted with. A new call is a new row.
 */
import type { CallName } from '../kernel/calls.ts';
import {
  CACHESTAT,
  CACHESTAT_LENGTH,
  FAULT,
  FAULT_LENGTH,
  IOCTL_MAKES_FD,
  STAT,
  STAT_LENGTH,
} from '../kernel/kernel.ts';
import type { Ioctl } from '../uapi/registry.ts';

/** Words of 64 bits that a call fills. */
export interface WordsRole {
  readonly kind: 'words';
  readonly signed: boolean;
  readonly count: number;
  /** Name of each word, by index. */
  readonly names: readonly string[];
  /** Words that differ between any two runs: inode numbers, host addresses. Equal when they stand for the same thing. */
  readonly identities?: readonly string[];
  /** Filled only when the call stopped at a fault: the first word says so by not being 0. */
  readonly isFault?: true;
  /** May be left out by the caller. */
  readonly optional?: true;
  /** The words are descriptors that the call made. */
  readonly makesFds?: true;
}

export type Role =
  /** A file descriptor; -1 is none. */
  | { readonly kind: 'fd' }
  /** A host virtual address. */
  | { readonly kind: 'hva' }
  /** 32 bits, signed or not. */
  | { readonly kind: 'int' }
  | { readonly kind: 'u64' }
  | { readonly kind: 's64' }
  | { readonly kind: 'text' }
  /** Bytes that go in. */
  | { readonly kind: 'in' }
  /** Bytes that come out; `upTo: result` when only as many as the result says. */
  | { readonly kind: 'out'; readonly upTo?: 'result' }
  | WordsRole
  /** The handle of a vCPU. */
  | { readonly kind: 'vcpu' }
  | { readonly kind: 'request' }
  /** A struct, an address or a number, as the request has it. */
  | { readonly kind: 'ioctl-arg' }
  | { readonly kind: 'pointers' };

export interface Arg {
  readonly name: string;
  readonly role: Role;
}

export interface TracedCall {
  readonly args: readonly Arg[];
  /** What a result of zero or more stands for. Default: a number. */
  readonly makes?: 'fd' | 'mapping' | 'vcpu';
  /** Index of the argument that says how many bytes of memory the call may bring into being, and under which condition. */
  readonly grows?: { readonly length: number; readonly when?: (args: readonly unknown[]) => boolean };
  /** On an eventfd it may wait for ever. */
  readonly waits?: true;
  /** The function of C with the same arguments, for those that need nothing else; or the number that syscall(2) takes. */
  readonly c?: string | { readonly name: string; readonly x64: number; readonly arm64: number };
}

const arg = (name: string, role: Role): Arg => ({ name, role });
const fd = arg('fd', { kind: 'fd' });
const int = (name: string): Arg => arg(name, { kind: 'int' });
const u64 = (name: string): Arg => arg(name, { kind: 'u64' });
const s64 = (name: string): Arg => arg(name, { kind: 's64' });
const hva = (name = 'address'): Arg => arg(name, { kind: 'hva' });
const text = (name: string): Arg => arg(name, { kind: 'text' });
const vcpu = arg('vcpu', { kind: 'vcpu' });
const into = arg('into', { kind: 'out', upTo: 'result' });
const from = arg('from', { kind: 'in' });
const namesOf = (places: Readonly<Record<string, number>>): string[] =>
  Object.entries(places)
    .sort(([, a], [, b]) => a - b)
    .map(([name]) => name);
const fault = arg('fault', {
  kind: 'words',
  signed: true,
  count: FAULT_LENGTH,
  names: namesOf(FAULT),
  identities: ['address'],
  isFault: true,
  optional: true,
});

const KEEPS_NO_PAGES = 0x2 | 0x8 | 0x20; // FALLOC_FL_PUNCH_HOLE, COLLAPSE_RANGE, INSERT_RANGE
const FILLS_NOW = 0x8000 | 0x2000; // MAP_POPULATE, MAP_LOCKED
const MADV_POPULATE_READ = 22;
const MADV_POPULATE_WRITE = 23;
const bitsOf = (args: readonly unknown[], index: number): number => Number(args[index] ?? 0);

/** A call without a row is read, shown and skipped. */
export const TRACED: Readonly<Partial<Record<string, TracedCall>>> = {
  open: { args: [text('path'), int('flags'), int('mode')], makes: 'fd' },
  close: { args: [fd], c: 'close' },
  adopt: { args: [fd] },
  fcntl: { args: [fd, int('command'), int('arg')], c: 'fcntl' },
  ioctl: {
    args: [
      fd,
      arg('request', { kind: 'request' }),
      arg('arg', { kind: 'ioctl-arg' }),
      int('how'),
      arg('pointers', { kind: 'pointers' }),
    ],
  },
  memfdCreate: { args: [text('name'), int('flags')], makes: 'fd' },
  memfdSecret: { args: [int('flags')], makes: 'fd' },
  eventfd: { args: [int('initial'), int('flags')], makes: 'fd' },
  ftruncate: { args: [fd, s64('length')], c: 'ftruncate' },
  fchmod: { args: [fd, int('mode')], c: 'fchmod' },
  fchown: { args: [fd, int('uid'), int('gid')], c: 'fchown' },
  fsync: { args: [fd], c: 'fsync' },
  fdatasync: { args: [fd], c: 'fdatasync' },
  syncFileRange: { args: [fd, s64('offset'), s64('length'), int('flags')], c: 'sync_file_range' },
  fadvise: {
    args: [fd, s64('offset'), s64('length'), int('advice')],
    c: { name: 'fadvise64', x64: 221, arm64: 223 },
  },
  readahead: { args: [fd, s64('offset'), u64('count')], c: 'readahead' },
  fallocate: {
    args: [fd, int('mode'), s64('offset'), s64('length')],
    grows: { length: 3, when: (args) => (bitsOf(args, 1) & KEEPS_NO_PAGES) === 0 },
    c: 'fallocate',
  },
  fstat: {
    args: [
      fd,
      arg('out', {
        kind: 'words',
        signed: true,
        count: STAT_LENGTH,
        names: namesOf(STAT),
        identities: ['dev', 'ino'],
      }),
    ],
  },
  lseek: {
    args: [fd, s64('offset'), int('whence'), arg('out', { kind: 'words', signed: true, count: 1, names: ['offset'] })],
  },
  read: { args: [fd, into], waits: true },
  write: { args: [fd, from], waits: true },
  pread: { args: [fd, into, s64('offset')] },
  pwrite: { args: [fd, from, s64('offset')] },
  cachestat: {
    args: [
      fd,
      u64('offset'),
      u64('length'),
      arg('out', { kind: 'words', signed: false, count: CACHESTAT_LENGTH, names: namesOf(CACHESTAT) }),
    ],
  },
  pipe: {
    args: [
      int('flags'),
      arg('out', { kind: 'words', signed: true, count: 2, names: ['readEnd', 'writeEnd'], makesFds: true }),
    ],
  },
  vmsplice: { args: [fd, hva(), u64('length'), int('flags')], waits: true },
  processVmReadv: { args: [hva(), into] },
  processVmWritev: { args: [hva(), from] },
  mmap: {
    args: [hva(), u64('length'), int('prot'), int('flags'), fd, s64('offset')],
    makes: 'mapping',
    grows: { length: 1, when: (args) => (bitsOf(args, 3) & FILLS_NOW) !== 0 },
  },
  munmap: { args: [hva(), u64('length')], c: 'munmap' },
  mprotect: { args: [hva(), u64('length'), int('prot')], c: 'mprotect' },
  madvise: {
    args: [hva(), u64('length'), int('advice')],
    grows: { length: 1, when: (args) => [MADV_POPULATE_READ, MADV_POPULATE_WRITE].includes(bitsOf(args, 2)) },
    c: 'madvise',
  },
  mlock: {
    args: [hva(), u64('length'), int('flags')],
    grows: { length: 1 },
    c: { name: 'mlock2', x64: 325, arm64: 284 },
  },
  munlock: { args: [hva(), u64('length')], c: 'munlock' },
  msync: { args: [hva(), u64('length'), int('flags')], c: 'msync' },
  mincore: { args: [hva(), u64('length'), arg('vec', { kind: 'out' })] },
  copyOut: { args: [hva(), into, fault] },
  copyIn: { args: [hva(), from, fault] },
  fill: { args: [hva(), u64('length'), int('byte'), fault], grows: { length: 1 } },
  compare: { args: [hva(), arg('expected', { kind: 'in' }), fault] },
  view: { args: [hva(), u64('length')] },
  vcpuAttach: { args: [fd, hva('runPage')], makes: 'vcpu' },
  vcpuRun: { args: [vcpu, int('timeoutMs')] },
  vcpuStart: { args: [vcpu] },
  vcpuKick: { args: [vcpu] },
  vcpuDetach: { args: [vcpu] },
} satisfies Partial<Record<CallName, TracedCall>>;

const F_DUPFD_CLOEXEC = 1030;

/** What the result of this very call stands for: fcntl and ioctl make descriptors by command and request. */
export function madeBy(call: string, args: readonly unknown[], ioctl: Ioctl | undefined): TracedCall['makes'] {
  if (call === 'fcntl') return args[1] === F_DUPFD_CLOEXEC ? 'fd' : undefined;
  if (call !== 'ioctl') return TRACED[call]?.makes;
  // Of a request that nobody declared, the caller knew.
  const makes = ioctl === undefined ? (Number(args[3] ?? 0) & IOCTL_MAKES_FD) !== 0 : makesResult(ioctl);
  return makes ? 'fd' : undefined;
}

/** Whether the result of the request is a descriptor. */
export const makesResult = ({ makes, makesField }: Ioctl): boolean => makes !== undefined && makesField === undefined;
