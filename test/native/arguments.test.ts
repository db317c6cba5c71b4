/** Every argument of every call: a wrong type gives a TypeError, a number out of range a RangeError, both naming the argument. */
import { describe, expect, it } from 'vitest';
import { CACHESTAT_LENGTH, FAULT_LENGTH, type Kernel, STAT_LENGTH } from '../../lib/kernel/kernel.ts';
import guest from './children/guest.cjs';
import { kernel } from './host.ts';

interface Kind {
  /** Never of use, whatever the call does with it. */
  readonly types: readonly unknown[];
  readonly ranges: readonly unknown[];
}

const NOTHING = [null, {}, [], true, () => 0, Symbol('s')];
const NO_NUMBER = [undefined, '1', ...NOTHING];
const NO_INTEGER = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1.5, 1e300];
const NO_BYTES = [new ArrayBuffer(8), new DataView(new ArrayBuffer(8)), new Int8Array(8), new Uint8ClampedArray(8)];

const int32: Kind = { types: [...NO_NUMBER, 1n], ranges: [...NO_INTEGER, 2 ** 31, -(2 ** 31) - 1] };
const bits32: Kind = { types: [...NO_NUMBER, 1n], ranges: [...NO_INTEGER, 2 ** 32, -(2 ** 31) - 1] };
const bits16: Kind = { types: [...NO_NUMBER, 1n], ranges: [...NO_INTEGER, 2 ** 16, -1] };
const u64: Kind = { types: NO_NUMBER, ranges: [...NO_INTEGER, -1, 2 ** 53, -1n, 2n ** 64n] };
const s64: Kind = {
  types: NO_NUMBER,
  ranges: [...NO_INTEGER, 2 ** 53, -(2 ** 53), 2n ** 63n, -(2n ** 63n) - 1n],
};
const text: Kind = { types: [undefined, 1, 1n, Buffer.from('x'), ...NOTHING], ranges: ['a\0b', '\0'] };
const bytes: Kind = { types: [undefined, 1, 'x', new Uint16Array(4), ...NO_BYTES, ...NOTHING], ranges: [] };
const fn: Kind = { types: [undefined, 1, 'x', null, {}], ranges: [] };
const longs = (length: number, Right: BigInt64ArrayConstructor | BigUint64ArrayConstructor): Kind => ({
  types: [1, 'x', new Right(length).buffer, new Uint8Array(64), new Float64Array(8), ...NOTHING].concat(
    Right === BigInt64Array ? new BigUint64Array(9) : new BigInt64Array(9),
  ),
  ranges: [new Right(length - 1), new Right(0)],
});
const fault = longs(FAULT_LENGTH, BigInt64Array);

type Call = Exclude<keyof Kernel, 'backend' | 'arch' | 'release'>;
type Argument = readonly [name: string, kind: Kind, good: unknown];

const fd: Argument = ['fd', int32, -1];
const into: Argument = ['into', bytes, new Uint8Array(8)];
const from: Argument = ['from', bytes, new Uint8Array(8)];
const address: Argument = ['address', u64, 0];
const length: Argument = ['length', u64, 0];
const flags: Argument = ['flags', bits32, 0];
const handle: Argument = ['vcpu', int32, -1];

const calls: Record<Call, readonly Argument[]> = {
  open: [['path', text, ''], flags, ['mode', bits32, 0]],
  close: [fd],
  adopt: [fd],
  fcntl: [fd, ['command', int32, guest.FCNTL.GETFD], ['arg', bits32, 0]],
  ioctl: [fd, ['request', bits32, 0], ['arg', { types: bytes.types.filter((v) => v !== 1), ranges: u64.ranges }, 0]],
  memfdCreate: [['name', text, 'x'], flags],
  memfdSecret: [flags],
  eventfd: [['initial', bits32, 0], flags],
  fchown: [fd, ['uid', bits32, 0], ['gid', bits32, 0]],
  readlink: [['path', text, ''], into],
  flock: [fd, ['operation', int32, 4]],
  poll: [fd, ['events', bits16, 0]],
  fsync: [fd],
  fdatasync: [fd],
  syncFileRange: [fd, ['offset', s64, 0], ['length', s64, 0], flags],
  fadvise: [fd, ['offset', s64, 0], ['length', s64, 0], ['advice', int32, 0]],
  readahead: [fd, ['offset', s64, 0], ['count', u64, 0]],
  pipe: [
    ['flags', bits32, 1],
    ['out', longs(2, BigInt64Array), new BigInt64Array(2)],
  ],
  splice: [['fdIn', int32, -1], ['fdOut', int32, -1], length, flags],
  sendfile: [
    ['outFd', int32, -1],
    ['inFd', int32, -1],
    ['count', u64, 0],
  ],
  copyFileRange: [['fdIn', int32, -1], ['fdOut', int32, -1], length, flags],
  fchmod: [fd, ['mode', bits32, 0]],
  ftruncate: [fd, ['length', s64, 0]],
  fallocate: [fd, ['mode', bits32, 0], ['offset', s64, 0], ['length', s64, 0]],
  fstat: [fd, ['out', longs(STAT_LENGTH, BigInt64Array), new BigInt64Array(STAT_LENGTH)]],
  lseek: [fd, ['offset', s64, 0], ['whence', int32, 0], ['out', longs(1, BigInt64Array), new BigInt64Array(1)]],
  read: [fd, into],
  write: [fd, from],
  pread: [fd, into, ['offset', s64, 0]],
  pwrite: [fd, from, ['offset', s64, 0]],
  cachestat: [
    fd,
    ['offset', u64, 0],
    length,
    ['out', longs(CACHESTAT_LENGTH, BigUint64Array), new BigUint64Array(CACHESTAT_LENGTH)],
  ],
  mmap: [address, length, ['prot', bits32, 0], flags, fd, ['offset', s64, 0]],
  munmap: [address, length],
  mprotect: [address, length, ['prot', bits32, 0]],
  madvise: [address, length, ['advice', int32, 0]],
  mincore: [address, length, ['vec', bytes, new Uint8Array(8)]],
  mlock: [address, length, flags],
  munlock: [address, length],
  msync: [address, length, flags],
  mbind: [address, length, ['mode', bits32, 0], ['nodemask', bytes, new Uint8Array(0)], flags],
  getMempolicy: [
    ['out', longs(1, BigInt64Array), new BigInt64Array(1)],
    ['nodemask', bytes, new Uint8Array(0)],
    address,
    flags,
  ],
  vmsplice: [fd, address, length, flags],
  processVmReadv: [address, into],
  processVmWritev: [address, from],
  copyOut: [address, into, ['fault', fault, new BigInt64Array(FAULT_LENGTH)]],
  copyIn: [address, from, ['fault', fault, new BigInt64Array(FAULT_LENGTH)]],
  fill: [
    address,
    length,
    ['byte', { types: bits32.types, ranges: [...bits32.ranges, 256, -1] }, 0],
    ['fault', fault, new BigInt64Array(FAULT_LENGTH)],
  ],
  compare: [address, ['expected', bytes, new Uint8Array(8)], ['fault', fault, new BigInt64Array(FAULT_LENGTH)]],
  view: [address, ['length', u64, 1]],
  vcpuAttach: [fd, ['runPage', u64, 0]],
  vcpuRun: [handle, ['timeoutMs', int32, 0]],
  vcpuStart: [handle, ['done', fn, () => undefined]],
  vcpuKick: [handle],
  vcpuDetach: [handle],
};

function thrownBy(call: Call, values: readonly unknown[]): unknown {
  try {
    Reflect.apply(kernel[call], undefined, values);
  } catch (error) {
    return error;
  }
  return undefined;
}

const show = (value: unknown): string =>
  typeof value === 'bigint' ? `${value}n` : String(value?.constructor?.name ?? value);

it('the table covers every call of the addon', () => {
  const exported = Object.entries(kernel).filter(([, value]) => typeof value === 'function');
  expect(exported.map(([name]) => name).sort()).toEqual(Object.keys(calls).sort());
});

describe.each(Object.entries(calls) as [Call, readonly Argument[]][])('%s', (call, args) => {
  const good = args.map(([, , value]) => value);
  describe.each(args.map(([name, kind], index) => ({ name, kind, index })))('$name', ({ name, kind, index }) => {
    const withBad = (value: unknown): unknown[] => good.map((one, i) => (i === index ? value : one));
    it('refuses wrong types', () => {
      for (const value of kind.types) {
        const error = thrownBy(call, withBad(value));
        expect(error, show(value)).toBeInstanceOf(TypeError);
        expect(String(error), show(value)).toContain(name);
      }
    });
    if (kind.ranges.length === 0) return;
    it('refuses values out of range', () => {
      for (const value of kind.ranges) {
        const error = thrownBy(call, withBad(value));
        expect(error, show(value)).toBeInstanceOf(RangeError);
        expect(String(error), show(value)).toContain(name);
      }
    });
  });
  it('refuses missing arguments', () => {
    const needed = good.length - (args.at(-1)?.[0] === 'fault' ? 1 : 0);
    for (let count = 0; count < needed; count++) {
      expect(thrownBy(call, good.slice(0, count))).toBeInstanceOf(TypeError);
    }
  });
});

describe('conversions never happen', () => {
  const objects = [
    { valueOf: () => 1 },
    { [Symbol.toPrimitive]: () => 1 },
    Object(1),
    new Proxy(
      {},
      {
        get: () => {
          throw new Error('looked at');
        },
      },
    ),
  ];
  it('objects are not asked for a number', () => {
    for (const object of objects) expect(thrownBy('close', [object])).toBeInstanceOf(TypeError);
  });
  it('vCPU handles that do not exist give EBADF', () => {
    for (const one of [-1, 0, 12345]) {
      expect(kernel.vcpuRun(one, 0)).toBe(-guest.E.EBADF);
      expect(kernel.vcpuStart(one, () => undefined)).toBe(-guest.E.EBADF);
      expect(kernel.vcpuKick(one)).toBe(-guest.E.EBADF);
      expect(kernel.vcpuDetach(one)).toBe(-guest.E.EBADF);
    }
  });
});
