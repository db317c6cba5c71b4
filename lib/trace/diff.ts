/** Compares two recordings call by call. Descriptors, vCPUs, addresses and inodes count as equal when they stand for the same thing. */
import type { Ioctl } from '../uapi/registry.ts';
import { align } from './align.ts';
import { madeBy, type Role, TRACED } from './calls.ts';
import { FdKinds, madeInArguments } from './kinds.ts';
import {
  compareBytes,
  compareOutcomes,
  compareStructs,
  type Difference,
  describesProcessor,
  onlyProcessor,
  sameHva,
} from './outcome.ts';
import { placesOf } from './places.ts';
import { numberOf, type RecordedCall, type RecordedPointer, type RecordedValue, type Recording } from './recording.ts';
import { ValueMap } from './values.ts';

export type DiffEntry =
  /** The same call with other arguments, or with another outcome. */
  | {
      readonly kind: 'changed';
      readonly a: RecordedCall;
      readonly b: RecordedCall;
      readonly differences: readonly Difference[];
    }
  | { readonly kind: 'only-a'; readonly a: RecordedCall }
  | { readonly kind: 'only-b'; readonly b: RecordedCall };

export interface TraceDiff {
  readonly a: Recording['kernel'];
  readonly b: Recording['kernel'];
  /** Calls that both have, with the same arguments and the same outcome. */
  readonly same: number;
  /** Calls of both that differ in nothing but what they say of the processor (CPUID, lists of MSRs). */
  readonly processor: readonly DiffEntry[];
  /** Everything else, in order. */
  readonly entries: readonly DiffEntry[];
}

interface Known {
  readonly call: RecordedCall;
  readonly ioctl: Ioctl | undefined;
  readonly fdKind: string;
}

function known(recording: Recording): Known[] {
  const kinds = new FdKinds(recording);
  return recording.calls.map((call) => {
    const ioctl = kinds.ioctl(call);
    const fdAt = TRACED[call.call]?.args.findIndex(({ role }) => role.kind === 'fd') ?? -1;
    const fdKind = fdAt < 0 ? '' : (kinds.of(Number(call.args[fdAt])) ?? '');
    kinds.follow(call);
    return { call, ioctl, fdKind };
  });
}

const weakKey = ({ call, ioctl, fdKind }: Known): string =>
  `${call.call} ${ioctl?.name ?? (call.call === 'ioctl' ? String(call.args[1]) : '')} ${fdKind}`;

/** What identifies an argument by itself: descriptors and addresses do not. */
function strongPart(role: Role, value: RecordedValue, ioctl: Ioctl | undefined): string {
  switch (role.kind) {
    case 'int':
    case 'u64':
    case 's64':
    case 'text':
    case 'request':
      return String(value);
    case 'in':
    case 'out':
      return value instanceof Uint8Array ? String(value.length) : '';
    case 'ioctl-arg':
      return value instanceof Uint8Array ? structKey(value, ioctl) : String(value);
    default:
      return '';
  }
}

function structKey(bytes: Uint8Array, ioctl: Ioctl | undefined): string {
  if (ioctl?.travels === 'out' || describesProcessor(ioctl?.name)) return '';
  const blank = bytes.slice();
  for (const { offset, size } of placesOf(ioctl, bytes)) blank.fill(0, offset, offset + size);
  return Buffer.from(blank).toString('base64');
}

function strongKey(item: Known): string {
  const { call, ioctl } = item;
  const parts = (TRACED[call.call]?.args ?? []).map(({ role }, i) => strongPart(role, call.args[i], ioctl));
  return `${weakKey(item)} ${parts.join(' ')}`;
}

/** Where the calls that made them were not paired, the first use pairs them: one missing call must not make all later ones differ. */
function sameNumber(numbers: ValueMap['fds'], x: number, y: number): boolean {
  const counterpart = numbers.of(x);
  return counterpart.kind === 'known' ? counterpart.value === y : numbers.assume(x, y);
}

class Comparison {
  readonly #map = new ValueMap();

  /** Every difference of arguments and outcome; learns what stands for what. */
  compare({ call: a, ioctl }: Known, { call: b, ioctl: other }: Known): Difference[] {
    const found = this.#args(a, b, ioctl);
    found.push(...this.#writes(a, b));
    found.push(...compareOutcomes(a, b, ioctl ?? other, this.#map));
    this.link(a, b, ioctl);
    return found;
  }

  #args(a: RecordedCall, b: RecordedCall, ioctl: Ioctl | undefined): Difference[] {
    return (TRACED[a.call]?.args ?? []).flatMap(({ name, role }, index) => {
      const [x, y] = [a.args[index], b.args[index]];
      if (this.#sameArg(role, x, y)) return [];
      if (x instanceof Uint8Array && y instanceof Uint8Array) {
        // What a call only fills says nothing before it.
        if (role.kind === 'out' || role.kind === 'words' || ioctl?.travels === 'out') return [];
        const inside = role.kind === 'ioctl-arg' ? compareStructs(ioctl, x, y, this.#map) : compareBytes(name, x, y);
        return inside.map(({ what, ...rest }) => ({
          what: role.kind === 'ioctl-arg' ? `${name}: ${what}` : what,
          ...rest,
        }));
      }
      if (role.kind === 'pointers') return this.#pointers(x, y);
      return [{ what: name, expected: String(x), got: String(y) }];
    });
  }

  #pointers(x: RecordedValue, y: RecordedValue): Difference[] {
    const [a, b] = [x, y].map((value) => (value ?? []) as readonly RecordedPointer[]);
    if (a === undefined || b === undefined || a.length !== b.length) {
      return [{ what: 'pointers', expected: `${a?.length} of them`, got: `${b?.length}` }];
    }
    return a.flatMap(([, bytes], i) => compareBytes(`buffer ${i} going in`, bytes, b[i]?.[1] ?? new Uint8Array()));
  }

  #sameArg(role: Role, x: RecordedValue, y: RecordedValue): boolean {
    if (role.kind === 'fd' && Number(x) < 0) return x === y;
    if (x === y && !['fd', 'vcpu', 'hva'].includes(role.kind)) return true;
    if (x === undefined || y === undefined || x instanceof Uint8Array || y instanceof Uint8Array) return false;
    switch (role.kind) {
      case 'fd':
        return sameNumber(this.#map.fds, Number(x), Number(y));
      case 'vcpu':
        return sameNumber(this.#map.vcpus, Number(x), Number(y));
      case 'hva':
        if (sameHva(this.#map, BigInt(x as number), BigInt(y as number))) return true;
        return this.#map.hva(Number(x)).kind === 'unknown' ? x === y : this.#map.assumeHva(Number(x), Number(y));
      case 'int':
      case 'u64':
      case 's64':
      case 'ioctl-arg':
        return BigInt(x as number) === BigInt(y as number);
      default:
        return false;
    }
  }

  #writes(a: RecordedCall, b: RecordedCall): Difference[] {
    const place = ([hva, bytes]: readonly [number, Uint8Array]): string =>
      `${bytes.length} bytes at 0x${hva.toString(16)}`;
    const text = (call: RecordedCall): string => call.writes.map(place).join(', ') || 'nothing';
    const isEqual =
      a.writes.length === b.writes.length &&
      a.writes.every(([hva, bytes], i) => {
        const [otherHva, otherBytes] = b.writes[i] ?? [0, new Uint8Array()];
        return sameHva(this.#map, BigInt(hva), BigInt(otherHva)) && Buffer.compare(bytes, otherBytes) === 0;
      });
    return isEqual ? [] : [{ what: 'written through views before', expected: text(a), got: text(b) }];
  }

  /** `b` undefined: only the first recording made the call. */
  link(a: RecordedCall, b: RecordedCall | undefined, ioctl: Ioctl | undefined): void {
    if (a.result < 0) return;
    const map = this.#map;
    const to = b === undefined || b.result < 0 ? undefined : b.result;
    const [first, second] = [numberOf(a.args[0]), numberOf(a.args[1])];
    const makes = madeBy(a.call, a.args, ioctl);
    if (makes === 'fd') map.fds.link(a.result, to, a.n);
    else if (makes === 'mapping') map.linkRange(a.result, second, to, a.n);
    else if (makes === 'vcpu') map.vcpus.link(a.result, to, a.n);
    const there = madeInArguments(b?.call ?? '', ioctl, b?.out);
    for (const [i, made] of madeInArguments(a.call, ioctl, a.out).entries()) map.fds.link(made, there[i], a.n);
    if (a.call === 'close') {
      map.fds.end(first);
      map.forgetIdentities();
    } else if (a.call === 'munmap') map.endRange(first, second);
    else if (a.call === 'vcpuDetach') map.vcpus.end(first);
  }
}

/** Compares `a` with `b`. What differs is in the order of the calls. */
export function diffTraces(a: Recording, b: Recording): TraceDiff {
  const [callsA, callsB] = [known(a), known(b)];
  const comparison = new Comparison();
  const entries: DiffEntry[] = [];
  const processor: DiffEntry[] = [];
  let same = 0;
  for (const [i, j] of align(callsA, callsB, strongKey, weakKey)) {
    const [x, y] = [i === undefined ? undefined : callsA[i], j === undefined ? undefined : callsB[j]];
    if (x !== undefined && y !== undefined) {
      const differences = comparison.compare(x, y);
      if (differences.length === 0) same++;
      else
        (onlyProcessor(differences) ? processor : entries).push({ kind: 'changed', a: x.call, b: y.call, differences });
    } else if (x !== undefined) {
      comparison.link(x.call, undefined, x.ioctl);
      entries.push({ kind: 'only-a', a: x.call });
    } else if (y !== undefined) entries.push({ kind: 'only-b', b: y.call });
  }
  return { a: a.kernel, b: b.kernel, same, processor, entries };
}
