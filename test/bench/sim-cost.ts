/**
 * `npm run bench:sim`: what conversions cost in the simulation as guests grow and fall into pieces, drawn into docs/sim-cost.svg. Fails when
 * the cost grows faster than logarithmically, or when a guest of 1 TiB takes more than 1 GiB.
 */
import { writeFileSync } from 'node:fs';
import { type Kernel, simulate } from 'privmem';
import { KVM_CREATE_VM, KVM_SET_MEMORY_ATTRIBUTES, kvm_memory_attributes } from 'privmem/uapi';
import { inPackage } from './host.ts';
import { svg } from './plot.ts';

const PAGE = 4096;
const GIB = 2 ** 30;
const TIB = 2 ** 40;
const PICTURE = 'docs/sim-cost.svg';
const MOST_PAGES = 64;
const PRIVATE = 8n;
const CONVERSIONS = 1_000_000;
/** Measured together: single ones are too short for a clock. */
const BATCH = 2000;
const MOST_BYTES = GIB;

/** Repeatable, below 2^31. */
function* random(): Generator<number, never> {
  for (let state = 1; ; ) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    yield state >>> 1;
  }
}

interface Guest {
  /** Converts `count` random ranges, alternately to private and to shared. */
  convert(count: number): void;
}

function guestOf(bytes: number): Guest {
  const kernel: Kernel = simulate();
  const kvm = kernel.open('/dev/kvm', 2, 0);
  const vm = kernel.ioctl(kvm, KVM_CREATE_VM.request, 1, 1);
  if (vm < 0) throw new Error(`KVM_CREATE_VM: errno ${-vm}`);
  const numbers = random();
  const struct = kvm_memory_attributes.encode({});
  const view = new DataView(struct.buffer);
  const at = kvm_memory_attributes.offsets;
  const pages = bytes / PAGE;
  let turn = 0;
  return {
    convert(count) {
      for (let i = 0; i < count; i++) {
        // Two numbers: one has not bits enough for the pages of a large guest.
        const first = (numbers.next().value * 2 ** 10 + (numbers.next().value & 1023)) % (pages - MOST_PAGES);
        const length = 1 + ((numbers.next().value >>> 8) % MOST_PAGES);
        view.setBigUint64(at.address, BigInt(first * PAGE), true);
        view.setBigUint64(at.size, BigInt(length * PAGE), true);
        view.setBigUint64(at.attributes, turn++ % 2 === 0 ? PRIVATE : 0n, true);
        const result = kernel.ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES.request, struct);
        if (result !== 0) throw new Error(`KVM_SET_MEMORY_ATTRIBUTES: errno ${-result}`);
      }
    },
  };
}

/** Of this process: others that want the processor do not count. */
function cpuNanoseconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

/** Nanoseconds for each conversion: the median of some batches, which a collection of garbage does not move. */
function cost(guest: Guest, batches: number): number {
  const times = Array.from({ length: batches }, () => {
    const start = cpuNanoseconds();
    guest.convert(BATCH);
    return (cpuNanoseconds() - start) / BATCH;
  });
  times.sort((a, b) => a - b);
  return times[times.length >> 1] ?? 0;
}

type Point = readonly [x: number, y: number];

function byFragments(): readonly Point[] {
  const guest = guestOf(TIB);
  const points: Point[] = [];
  const batches = 5;
  for (let done = 0, next = 16_000; done < CONVERSIONS; next *= 2) {
    const until = Math.min(next, CONVERSIONS) - batches * BATCH;
    if (until > done) guest.convert(until - done);
    done = Math.max(done, until);
    points.push([done + batches * BATCH, cost(guest, batches)]);
    done += batches * BATCH;
  }
  return points;
}

function bySize(): readonly Point[] {
  const points: Point[] = [];
  for (let size = 4 * GIB; size <= 64 * TIB; size *= 4) {
    const guest = guestOf(size);
    guest.convert(100_000);
    points.push([size, cost(guest, 9)]);
  }
  return points;
}

/** The first cost, grown as the logarithm of x. */
const logarithmic = (points: readonly Point[], of: (x: number) => number): readonly Point[] => {
  const [firstX = 1, firstY = 1] = points[0] ?? [];
  return points.map(([x]) => [x, (firstY * Math.log2(of(x))) / Math.log2(of(firstX))]);
};

function inBytes(value: number): string {
  return value >= TIB ? `${value / TIB} TiB` : `${value / GIB} GiB`;
}

function inTime(nanoseconds: number): string {
  return nanoseconds >= 1e6
    ? `${nanoseconds / 1e6} ms`
    : nanoseconds >= 1000
      ? `${nanoseconds / 1000} µs`
      : `${nanoseconds} ns`;
}

const before = process.memoryUsage().rss;
// Compiled, and the allocator warm, before anything counts.
for (let i = 0; i < 3; i++) guestOf(TIB).convert(150_000);
const start = cpuNanoseconds();
const fragments = byFragments();
const seconds = (cpuNanoseconds() - start) / 1e9;
const taken = process.memoryUsage().rss - before;
const sizes = bySize();
const expected = logarithmic(fragments, (x) => x);

const counted = {
  label: 'conversions so far, of 1 to 64 pages, in a guest of 1 TiB',
  tick: (x: number) => x.toLocaleString('en'),
};
const y = { label: 'one conversion', tick: inTime };
writeFileSync(
  inPackage(PICTURE),
  svg([
    {
      ...{ title: 'Cost against fragmentation', x: counted, y, base: 10 },
      series: [
        { name: 'KVM_SET_MEMORY_ATTRIBUTES', points: fragments },
        { name: 'logarithmic growth', points: expected, dashed: true },
      ],
    },
    {
      ...{
        title: 'Cost against guest size',
        x: { label: 'size of the guest, 100,000 conversions before', tick: inBytes },
        y,
        base: 4,
      },
      series: [{ name: 'KVM_SET_MEMORY_ATTRIBUTES', points: sizes }],
    },
  ]),
);

const table = (name: string, points: readonly Point[], unit: (x: number) => string): string =>
  `${name}\n${points.map(([x, cost]) => `  ${unit(x).padStart(12)}  ${Math.round(cost)} ns`).join('\n')}`;
process.stdout.write(`${CONVERSIONS} conversions in a guest of 1 TiB: ${seconds.toFixed(1)} s of processor time, ${Math.round(taken / 2 ** 20)} MiB
${table('by conversions so far', fragments, (x) => x.toLocaleString('en'))}
${table('by size', sizes, inBytes)}
${PICTURE} is drawn.
`);

// What no longer fits the processor's caches costs a constant more; the aim is the order of growth.
const SLACK = 2;
const last = fragments.at(-1)?.[1] ?? 0;
const allowed = (expected.at(-1)?.[1] ?? 0) * SLACK;
const faults: string[] = [];
if (last > allowed)
  faults.push(
    `a conversion costs ${Math.round(last)} ns in the end, logarithmic growth would be ${Math.round(allowed)}`,
  );
if (taken > MOST_BYTES) faults.push(`${Math.round(taken / 2 ** 20)} MiB for a guest of 1 TiB`);
for (const fault of faults) process.stderr.write(`${fault}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;
