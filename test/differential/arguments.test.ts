/** What cannot be expressed at all: the simulation throws where the addon throws, the same error with the same words. */
import { describe, expect, it } from 'vitest';
import type { CallName } from '../../lib/kernel/calls.ts';
import type { Kernel } from '../../lib/kernel/kernel.ts';
import { profileOf } from '../../lib/sim/profile.ts';
import { simKernel } from '../../lib/sim/sim-kernel.ts';
import { openHost } from './pair.ts';

const bytes = new Uint8Array(8);
const stat = new BigInt64Array(8);
const cache = new BigUint64Array(5);
const fault = new BigInt64Array(3);

/** Arguments that each call takes without harm: no descriptor, no memory. */
const GOOD: Readonly<Record<CallName, readonly unknown[]>> = {
  open: ['', 0, 0],
  close: [-1],
  adopt: [-1],
  fcntl: [-1, 1, 0],
  ioctl: [-1, 0xae00, 0, 0, undefined],
  memfdCreate: ['x', 0x8000],
  memfdSecret: [1],
  eventfd: [0, 0x70],
  ftruncate: [-1, 0],
  fchmod: [-1, 0],
  fchown: [-1, 0, 0],
  fallocate: [-1, 0, 0, 0],
  fstat: [-1, stat],
  lseek: [-1, 0, 0, stat],
  readlink: ['', bytes],
  flock: [-1, 4],
  poll: [-1, 0],
  fsync: [-1],
  fdatasync: [-1],
  syncFileRange: [-1, 0, 0, 0],
  fadvise: [-1, 0, 0, 0],
  readahead: [-1, 0, 0],
  pipe: [1, stat],
  splice: [-1, -1, 1, 0],
  sendfile: [-1, -1, 1],
  copyFileRange: [-1, -1, 1, 0],
  read: [-1, bytes],
  write: [-1, bytes],
  pread: [-1, bytes, 0],
  pwrite: [-1, bytes, 0],
  cachestat: [-1, 0, 0, cache],
  mmap: [0, 0, 0, 0, -1, 0],
  munmap: [0, 0],
  mprotect: [0, 0, 0],
  madvise: [0, 0, 0],
  mincore: [0, 0, bytes],
  mlock: [0, 0, 0],
  munlock: [0, 0],
  msync: [0, 0, 0],
  mbind: [0, 0, 0, new Uint8Array(0), 0],
  getMempolicy: [stat, new Uint8Array(0), 0, 0],
  vmsplice: [-1, 0, 0, 0],
  processVmReadv: [0, new Uint8Array(0)],
  processVmWritev: [0, new Uint8Array(0)],
  copyOut: [0, new Uint8Array(0), fault],
  copyIn: [0, new Uint8Array(0), fault],
  fill: [0, 0, 0, fault],
  compare: [0, new Uint8Array(0), fault],
  view: [0, 0],
  vcpuAttach: [-1, 1],
  vcpuRun: [-1, 0],
  vcpuStart: [-1, () => undefined],
  vcpuKick: [-1],
  vcpuDetach: [-1],
};

const BAD: readonly unknown[] = [
  undefined,
  null,
  true,
  'a\0b',
  {},
  [],
  Symbol('s'),
  () => 0,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  1.5,
  -0,
  -1,
  256,
  2 ** 31,
  -(2 ** 31) - 1,
  2 ** 32,
  2 ** 53,
  -(2 ** 53),
  1n,
  -1n,
  2n ** 63n,
  2n ** 64n - 1n,
  2n ** 64n,
  -(2n ** 63n) - 1n,
  new ArrayBuffer(8),
  new DataView(new ArrayBuffer(8)),
  new Uint8ClampedArray(8),
  new Uint16Array(4),
  new BigInt64Array(0),
  new BigUint64Array(0),
  new BigInt64Array(9),
  new BigUint64Array(9),
];

/** Where the words differ because the reason does: memory and descriptors of others, which the simulation does not have. */
const FOREIGN = /privmem did not map|not mapped|is mapped|was not opened by privmem|privmem mapped/;

const MAKES: readonly CallName[] = ['open', 'memfdCreate', 'memfdSecret', 'eventfd'];

function outcome(kernel: Kernel, call: CallName, values: readonly unknown[]): string {
  try {
    const result: unknown = Reflect.apply(kernel[call], undefined, values);
    const made = typeof result === 'number' && result >= 3 && MAKES.includes(call);
    if (made) kernel.close(result);
    return made ? 'makes a descriptor' : `returns ${result}`;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return `${error.constructor.name}: ${FOREIGN.test(error.message) ? 'memory' : error.message}`;
  }
}

/** Arguments that are descriptors or handles: numbers that could be somebody's are not tried there. */
const isDescriptor = (call: CallName, index: number): boolean => GOOD[call][index] === -1;
const couldBeOpen = (value: unknown): boolean => typeof value === 'number' && value >= 0 && value < 2 ** 31;

/** Ranges that would reach memory of others, where the addon refuses what the simulation has no reason to. */
const REACHES: readonly CallName[] = [
  ...(['munmap', 'mprotect', 'madvise', 'mincore', 'fill', 'view', 'mlock', 'munlock', 'msync', 'mbind'] as const),
  ...(['getMempolicy', 'vmsplice', 'processVmReadv', 'processVmWritev'] as const),
];
const reachesFar = (call: CallName, value: unknown): boolean =>
  REACHES.includes(call) && (typeof value === 'number' || typeof value === 'bigint') && value >= 4096;

const host = openHost();
const title = 'wrong arguments';
if (typeof host === 'string') {
  console.warn(`SKIPPED ${title}: ${host}`);
  it.skip(`${title} [SKIPPED: ${host}]`, () => {});
} else {
  const simulated = simKernel({ profile: profileOf('6.18', host.real.arch) });
  describe(title, () => {
    it.each(Object.entries(GOOD) as [CallName, readonly unknown[]][])('of %s', (call, good) => {
      for (const index of good.keys()) {
        for (const value of BAD) {
          if (isDescriptor(call, index) && couldBeOpen(value)) continue;
          if (reachesFar(call, value)) continue;
          const values = good.map((one, i) => (i === index ? value : one));
          const label = `${call} argument ${index}: ${typeof value === 'symbol' ? 'symbol' : String(value)}`;
          expect(outcome(simulated, call, values), label).toBe(outcome(host.real, call, values));
        }
      }
    });
  });
}
