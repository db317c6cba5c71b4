/** Compares what two kernels answered to the same call, field by field, modulo descriptors and addresses. */
import { errnoName } from '../kernel/errno.ts';
import { FAULT, STAT } from '../kernel/kernel.ts';
import { exitPayload } from '../kernel/trace-exit.ts';
import { KVM_EXIT, KVM_RUN_EXIT_OFFSET, kvm_run, showNamed } from '../uapi/index.ts';
import { kvm_run_internal, kvm_run_io, kvm_run_mmio, kvm_run_system_event } from '../uapi/kvm-run.ts';
import { type Layout, viewOf } from '../uapi/layout.ts';
import type { Ioctl } from '../uapi/registry.ts';
import { madeBy, TRACED, type TracedCall, type WordsRole } from './calls.ts';
import { type Leaf, leavesOf, leavesOfBytes, placesOf } from './places.ts';
import type { RecordedCall, RecordedOutcome } from './recording.ts';
import type { Counterpart, ValueMap } from './values.ts';

export interface Difference {
  /** `result`, `cs.base`, `fault.signal`, `bytes from 0x10`, `exit_reason`. */
  readonly what: string;
  readonly expected: string;
  readonly got: string;
  /** It says what processor there is, not what the kernel does with it. */
  readonly processor?: true;
}

/** Requests whose struct describes the processor: another machine answers otherwise, and so does one processor from the next. */
const ABOUT_PROCESSOR: ReadonlySet<string> = new Set([
  'KVM_GET_SUPPORTED_CPUID',
  'KVM_GET_EMULATED_CPUID',
  'KVM_GET_SUPPORTED_HV_CPUID',
  'KVM_GET_CPUID2',
  'KVM_SET_CPUID',
  'KVM_SET_CPUID2',
  'KVM_GET_MSR_INDEX_LIST',
  'KVM_GET_MSR_FEATURE_INDEX_LIST',
]);

export const describesProcessor = (request: string | undefined): boolean =>
  request !== undefined && ABOUT_PROCESSOR.has(request);

/** Whether nothing but the processor differs. */
export const onlyProcessor = (differences: readonly Difference[]): boolean =>
  differences.length > 0 && differences.every(({ processor }) => processor);

const differs = (what: string, expected: string, got: string): Difference => ({ what, expected, got });

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** Fields that differ between two runs of one program on one kernel: time. Everything else is compared. */
const PASSING_TIME: Readonly<Record<string, readonly RegExp[]>> = {
  KVM_GET_CLOCK: [/^(clock|realtime|host_tsc)$/],
  KVM_GET_PIT2: [/count_load_time$/],
  KVM_GET_PIT: [/count_load_time$/],
};

export const changesWithTime = (request: string | undefined, path: string): boolean =>
  request !== undefined && (PASSING_TIME[request] ?? []).some((pattern) => pattern.test(path));

function showResult(result: number, makes: TracedCall['makes']): string {
  if (result < 0) return errnoName(-result);
  switch (makes) {
    case 'fd':
      return 'a descriptor';
    case 'mapping':
      return 'a mapping';
    case 'vcpu':
      return 'a vCPU';
    default:
      return result < 4096 ? String(result) : hex(result);
  }
}

/** `12 34 …`, from the first byte that differs. */
function showBytes(bytes: Uint8Array, from: number): string {
  const MOST = 16;
  const shown = [...bytes.subarray(from, from + MOST)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return bytes.length > from + MOST ? `${shown} …` : shown === '' ? '(end)' : shown;
}

export function compareBytes(what: string, expected: Uint8Array, got: Uint8Array): Difference[] {
  if (Buffer.compare(expected, got) === 0) return [];
  let at = 0;
  while (at < expected.length && at < got.length && expected[at] === got[at]) at++;
  return [differs(`${what} from byte ${hex(at)}`, showBytes(expected, at), showBytes(got, at))];
}

const isSame = (known: Counterpart, got: number): boolean => known.kind === 'known' && known.value === got;

/** A host address: the same place of counterparts, or the same number where nobody mapped anything. */
export function sameHva(map: ValueMap, expected: bigint, got: bigint): boolean {
  if (expected > BigInt(Number.MAX_SAFE_INTEGER) || expected === 0n) return expected === got;
  const known = map.hva(Number(expected));
  return isSame(known, Number(got));
}

function compareLeaf(
  leaf: Leaf,
  expected: Uint8Array,
  got: Uint8Array,
  same: (what: 'fd' | 'hva', offset: number) => boolean,
  place: 'fd' | 'hva' | undefined,
): Difference[] {
  const { path, offset, field } = leaf;
  const [a, b] = [expected, got].map((bytes) => bytes.subarray(offset, offset + field.size));
  if (a === undefined || b === undefined || Buffer.compare(a, b) === 0) return [];
  if (place !== undefined && same(place, offset)) return [];
  return [differs(path, field.show(viewOf(expected), offset), field.show(viewOf(got), offset))];
}

/** Two structs of one request, by their fields. */
export function compareStructs(
  ioctl: Ioctl | undefined,
  expected: Uint8Array,
  got: Uint8Array,
  map: ValueMap,
): Difference[] {
  const found = compareFields(ioctl, expected, got, map);
  return describesProcessor(ioctl?.name) ? found.map((one) => ({ ...one, processor: true })) : found;
}

function compareFields(ioctl: Ioctl | undefined, expected: Uint8Array, got: Uint8Array, map: ValueMap): Difference[] {
  if (ioctl?.arg.kind !== 'struct' || expected.length !== got.length || expected.length < ioctl.arg.layout.size) {
    return compareBytes('bytes', expected, got);
  }
  const places = new Map(placesOf(ioctl, expected).map((place) => [place.offset, place]));
  const [a, b] = [viewOf(expected), viewOf(got)];
  const same = (what: 'fd' | 'hva', offset: number): boolean => {
    const place = places.get(offset);
    if (place?.made) return a.getInt32(offset, true) >= 0 === b.getInt32(offset, true) >= 0;
    if (what === 'hva') return sameHva(map, a.getBigUint64(offset, true), b.getBigUint64(offset, true));
    return isSame(map.fds.of(a.getInt32(offset, true)), b.getInt32(offset, true));
  };
  const found: Difference[] = [];
  for (const leaf of leavesOfBytes(ioctl.arg.layout, expected)) {
    if (/(^|\.)(pad|reserved)/.test(leaf.path) || changesWithTime(ioctl.name, leaf.path)) continue;
    found.push(...compareLeaf(leaf, expected, got, same, places.get(leaf.offset)?.what));
  }
  return found;
}

function compareWords(
  role: WordsRole,
  expected: Uint8Array,
  got: Uint8Array,
  map: ValueMap,
  argName: string,
): Difference[] {
  const [a, b] = [viewOf(expected), viewOf(got)];
  const word = (view: DataView, index: number): bigint =>
    role.signed ? view.getBigInt64(index * 8, true) : view.getBigUint64(index * 8, true);
  const NO_FAULT = 0n;
  // Numbers of descriptors say nothing; what they stand for is followed by whoever uses them.
  if (role.makesFds) return [];
  const isQuiet = role.isFault && word(a, FAULT.signal) === NO_FAULT;
  if (isQuiet && word(b, FAULT.signal) === NO_FAULT) return [];
  return role.names.flatMap((name, index) => {
    const [x, y] = [word(a, index), word(b, index)];
    if (x === y) return [];
    if (role.identities?.includes(name)) {
      const isSameOne = role.isFault ? sameHva(map, x, y) : map.sameIdentity(index === STAT.dev ? 'dev' : 'ino', x, y);
      if (isSameOne) return [];
    }
    return [differs(role.isFault ? `${argName}.${name}` : name, String(x), String(y))];
  });
}

/** How many words of a payload's array are valid, and bytes of its data. */
function isLeftOver(layout: Layout, page: Uint8Array, path: string): boolean {
  const view = new DataView(page.buffer, page.byteOffset + KVM_RUN_EXIT_OFFSET);
  const index = Number(/\[(\d+)\]$/.exec(path)?.[1] ?? 0);
  if (!path.startsWith('data[')) return false;
  if (layout === (kvm_run_internal as Layout)) return index >= view.getUint32(kvm_run_internal.offsets.ndata, true);
  if (layout === (kvm_run_system_event as Layout)) {
    return index >= view.getUint32(kvm_run_system_event.offsets.ndata, true);
  }
  return false;
}

const IO_OUT = 1;

function comparePayload(layout: Layout, expected: Uint8Array, got: Uint8Array): Difference[] {
  const at = (bytes: Uint8Array): Uint8Array => bytes.subarray(KVM_RUN_EXIT_OFFSET);
  const [a, b] = [at(expected), at(got)];
  return [...leavesOf(layout)].flatMap((leaf) => {
    if (isLeftOver(layout, expected, leaf.path)) return [];
    if (layout === (kvm_run_mmio as Layout) && leaf.path === 'data') {
      const { data, len } = kvm_run_mmio.offsets;
      const length = Math.min(8, viewOf(a).getUint32(len, true));
      return compareBytes('data', a.subarray(data, data + length), b.subarray(data, data + length));
    }
    return compareLeaf(leaf, a, b, () => false, undefined);
  });
}

/** What a run page says beside the exit. cr8 and apic_base are the vCPU's, the rest is about interrupts. */
const HEAD = ['ready_for_interrupt_injection', 'if_flag', 'flags', 'cr8', 'apic_base'];

function compareExits(expected: RecordedOutcome, got: RecordedOutcome): Difference[] {
  const [a, b] = [expected.exit, got.exit];
  if (a === undefined || b === undefined) {
    return a === b
      ? []
      : [differs('exit', a === undefined ? 'none' : 'there is one', b === undefined ? 'none' : 'there is one')];
  }
  const reasonAt = (page: Uint8Array): number => viewOf(page).getUint32(kvm_run.offsets.exit_reason, true);
  const [was, is] = [reasonAt(a.page), reasonAt(b.page)];
  if (was !== is) {
    return [differs('exit_reason', showNamed(BigInt(was), KVM_EXIT), showNamed(BigInt(is), KVM_EXIT))];
  }
  const found: Difference[] = [];
  for (const leaf of leavesOf(kvm_run)) {
    if (HEAD.includes(leaf.path)) found.push(...compareLeaf(leaf, a.page, b.page, () => false, undefined));
  }
  const layout = exitPayload(was);
  if (layout !== undefined) found.push(...comparePayload(layout, a.page, b.page));
  if (was === KVM_EXIT.value.KVM_EXIT_IO && a.page[KVM_RUN_EXIT_OFFSET + kvm_run_io.offsets.direction] === IO_OUT) {
    found.push(...compareBytes('data', a.data ?? new Uint8Array(), b.data ?? new Uint8Array()));
  }
  const registers = kvm_run.offsets.kvm_valid_regs;
  found.push(...compareBytes('shared registers', a.page.subarray(registers), b.page.subarray(registers)));
  return found;
}

const sign = (result: number): number => Math.min(result, 0);

/** Every difference between the outcome of `call` and `got`, which is what the same call met elsewhere. */
export function compareOutcomes(
  call: RecordedCall,
  got: RecordedOutcome,
  ioctl: Ioctl | undefined,
  map: ValueMap,
): Difference[] {
  const makes = madeBy(call.call, call.args, ioctl);
  const resultOf = (result: number): string => showResult(result, makes);
  const found: Difference[] = [];
  const isSameResult = makes === undefined ? call.result === got.result : sign(call.result) === sign(got.result);
  if (!isSameResult) found.push(differs('result', resultOf(call.result), resultOf(got.result)));
  // After different errnos nothing says what the buffers should hold.
  const isComparable = sign(call.result) === sign(got.result);
  TRACED[call.call]?.args.forEach(({ name, role }, index) => {
    const [a, b] = [call.out.get(index), got.out.get(index)];
    if (a === undefined || b === undefined) return;
    if (role.kind === 'words' && (isComparable || role.isFault)) found.push(...compareWords(role, a, b, map, name));
    if (!isComparable) return;
    if (role.kind === 'out') {
      const end = role.upTo === 'result' ? Math.min(call.result, got.result) : a.length;
      found.push(...compareBytes('bytes', a.subarray(0, end), b.subarray(0, end)));
    }
    if (role.kind === 'ioctl-arg' && ioctl?.travels !== 'in') found.push(...compareStructs(ioctl, a, b, map));
  });
  if (isComparable) {
    call.pointed.forEach((bytes, i) => {
      found.push(...compareBytes(`buffer ${i}`, bytes, got.pointed[i] ?? new Uint8Array()));
    });
    found.push(...compareExits(call, got));
  }
  return found;
}
