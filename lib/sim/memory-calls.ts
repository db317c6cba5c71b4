/**
 * The calls on memory as the waist has them: the addon's rules on arguments, the kernel's answers. Memory that is the run page of an
 * attached vCPU, or that lies under a view, is guarded as in native/sys_memory.cc; foreign memory does not exist here.
 */

import * as take from '../kernel/arguments.ts';
import { FAULT, FAULT_LENGTH } from '../kernel/kernel.ts';
import { compare, copyIn, copyOut, fill, type Stop, strayFault } from './access.ts';
import { madvise } from './advice.ts';
import { EFAULT } from './errno.ts';
import { mlock, msync, munlock } from './lock-calls.ts';
import { getMempolicy, mbind } from './mempolicy.ts';
import { mmap } from './mmap.ts';
import { PAGE_SIZE } from './page.ts';
import { processVmReadv, processVmWritev } from './pinned.ts';
import type { Process } from './process.ts';
import { mincore, mprotect, munmap, unmapRange } from './protect.ts';
import { vmsplice } from './splice.ts';

const MAP_FIXED = 0x10;
/** Ranges that end behind it cannot be rounded to pages. */
const END = 2n ** 64n - 4096n;

export class MemoryCalls {
  readonly #process: Process;

  constructor(process: Process) {
    this.#process = process;
  }

  /** Pages of a range that the kernel would get to change; undefined when it refuses the range by itself. */
  #pages(what: string, address: bigint, length: bigint): { from: number; to: number } | undefined {
    if ((address & 4095n) !== 0n || length === 0n || address + length > END) return undefined;
    const from = Number(address >> 12n);
    const to = from + Math.ceil(Number(length) / PAGE_SIZE);
    if (this.#process.space.hasPinned(from, to)) {
      throw new RangeError(`${what} covers the run page of an attached vCPU; detach it first`);
    }
    return { from, to };
  }

  mmap(...given: readonly unknown[]): number {
    const address = take.u64(given[0], 'address');
    const length = take.u64(given[1], 'length');
    const prot = take.bits32(given[2], 'prot');
    const flags = take.bits32(given[3], 'flags');
    const fd = take.int32(given[4], 'fd');
    const offset = take.s64(given[5], 'offset');
    if ((flags & MAP_FIXED) !== 0) {
      const pages = this.#pages('mmap with MAP_FIXED', address, length);
      if (pages !== undefined && this.#process.views.overlaps(pages.from, pages.to)) {
        throw new RangeError('mmap with MAP_FIXED covers a view; unmap the range first');
      }
    }
    return mmap(this.#process, { address, length, prot, flags, fd, offset });
  }

  munmap(givenAddress: unknown, givenLength: unknown): number {
    const address = take.u64(givenAddress, 'address');
    const length = take.u64(givenLength, 'length');
    this.#pages('munmap', address, length);
    const range = unmapRange(this.#process, address, length);
    if (typeof range === 'number') return range;
    const result = munmap(this.#process, range);
    if (result === 0) this.#process.views.detach(range.from, range.to);
    return result;
  }

  mprotect(givenAddress: unknown, givenLength: unknown, givenProt: unknown): number {
    const address = take.u64(givenAddress, 'address');
    const length = take.u64(givenLength, 'length');
    const prot = take.bits32(givenProt, 'prot');
    this.#pages('mprotect', address, length);
    return mprotect(this.#process, address, length, prot);
  }

  madvise(givenAddress: unknown, givenLength: unknown, givenAdvice: unknown): number {
    const address = take.u64(givenAddress, 'address');
    const length = take.u64(givenLength, 'length');
    const advice = take.int32(givenAdvice, 'advice');
    this.#pages('madvise', address, length);
    return madvise(this.#process, address, length, advice);
  }

  mincore(givenAddress: unknown, givenLength: unknown, givenVec: unknown): number {
    const address = take.u64(givenAddress, 'address');
    const length = take.u64(givenLength, 'length');
    return mincore(this.#process, address, length, take.pageVec(givenVec, length));
  }

  mlock(givenAddress: unknown, givenLength: unknown, givenFlags: unknown): number {
    const address = take.u64(givenAddress, 'address');
    const length = take.u64(givenLength, 'length');
    const flags = take.bits32(givenFlags, 'flags');
    checkPages('mlock2', address, length);
    return mlock(this.#process, address, length, flags);
  }

  munlock(givenAddress: unknown, givenLength: unknown): number {
    const address = take.u64(givenAddress, 'address');
    const length = take.u64(givenLength, 'length');
    checkPages('munlock', address, length);
    return munlock(this.#process, address, length);
  }

  msync(givenAddress: unknown, givenLength: unknown, givenFlags: unknown): number {
    const address = take.u64(givenAddress, 'address');
    const length = take.u64(givenLength, 'length');
    const flags = take.bits32(givenFlags, 'flags');
    this.#pages('msync', address, length);
    return msync(this.#process, address, length, flags);
  }

  mbind(...given: readonly unknown[]): number {
    const address = take.u64(given[0], 'address');
    const length = take.u64(given[1], 'length');
    const mode = take.bits32(given[2], 'mode');
    const nodemask = take.bytes(given[3], 'nodemask');
    const flags = take.bits32(given[4], 'flags');
    this.#pages('mbind', address, length);
    return mbind(this.#process, { address, length, mode, nodemask, flags });
  }

  getMempolicy(...given: readonly unknown[]): number {
    const out = take.outS64(given[0], 'out', 1);
    const nodemask = take.bytes(given[1], 'nodemask');
    const address = take.u64(given[2], 'address');
    const flags = take.bits32(given[3], 'flags');
    const answer = getMempolicy(this.#process, nodemask, address, flags);
    if (answer < 0) return answer;
    out[0] = BigInt(answer);
    return 0;
  }

  vmsplice(...given: readonly unknown[]): number {
    const fd = take.int32(given[0], 'fd');
    const address = take.u64(given[1], 'address');
    const length = take.u64(given[2], 'length');
    const flags = take.bits32(given[3], 'flags');
    checkReach('vmsplice', address, length);
    return vmsplice(this.#process.space, this.#process.fds.get(fd), address, length, flags);
  }

  processVmReadv(givenAddress: unknown, givenInto: unknown): number {
    const address = take.u64(givenAddress, 'address');
    const into = take.bytes(givenInto, 'into');
    checkReach('processVmReadv', address, BigInt(into.length));
    const { space, views } = this.#process;
    const reached = views.reach(into, true);
    return reached === 0 && into.length > 0 ? -EFAULT : processVmReadv(space, address, into.subarray(0, reached));
  }

  processVmWritev(givenAddress: unknown, givenFrom: unknown): number {
    const address = take.u64(givenAddress, 'address');
    const from = take.bytes(givenFrom, 'from');
    checkReach('processVmWritev', address, BigInt(from.length));
    const { space, views } = this.#process;
    const reached = views.reach(from, false);
    return reached === 0 && from.length > 0 ? -EFAULT : processVmWritev(space, address, from.subarray(0, reached));
  }

  #access(
    what: string,
    address: number | bigint,
    length: number,
    fault: BigInt64Array | undefined,
    go: (at: number) => Stop,
  ): number {
    if (length > 0 && typeof address === 'bigint' && address + BigInt(length) > END) {
      throw new RangeError(`${what} goes beyond the end of the address space`);
    }
    const { space } = this.#process;
    const stray = length === 0 ? undefined : strayFault(space, address);
    const stop = length === 0 || stray !== undefined ? { done: 0, fault: stray } : go(Number(address));
    if (fault !== undefined) {
      fault[FAULT.signal] = BigInt(stop.fault?.signal ?? 0);
      fault[FAULT.code] = BigInt(stop.fault?.code ?? 0);
      fault[FAULT.address] = stop.fault === undefined ? 0n : BigInt.asIntN(64, BigInt(address) + BigInt(stop.done));
    }
    return stop.done;
  }

  copyOut(address: unknown, givenInto: unknown, fault?: unknown): number {
    const at = take.hva(address, 'address');
    const into = take.bytes(givenInto, 'into');
    const out = faultOf(fault);
    return this.#access('copyOut', at, into.length, out, (from) => copyOut(this.#process.space, from, into));
  }

  copyIn(address: unknown, givenFrom: unknown, fault?: unknown): number {
    const at = take.hva(address, 'address');
    const from = take.bytes(givenFrom, 'from');
    const out = faultOf(fault);
    return this.#access('copyIn', at, from.length, out, (to) => copyIn(this.#process.space, to, from));
  }

  compare(address: unknown, givenExpected: unknown, fault?: unknown): number {
    const at = take.hva(address, 'address');
    const expected = take.bytes(givenExpected, 'expected');
    const out = faultOf(fault);
    return this.#access('compare', at, expected.length, out, (from) => compare(this.#process.space, from, expected));
  }

  fill(address: unknown, length: unknown, byte: unknown, fault?: unknown): number {
    const at = take.hva(address, 'address');
    const bytes = take.u64(length, 'length');
    const value = take.byte(byte, 'byte');
    const out = faultOf(fault);
    if (bytes > 0n && BigInt(at) + bytes > END) throw new RangeError('fill goes beyond the end of the address space');
    // No mapping is longer than what a number holds exactly: a fault ends it before.
    const count = Number(bytes);
    return this.#access('fill', at, count, out, (to) => fill(this.#process.space, to, count, value));
  }

  view(address: unknown, length: unknown): ArrayBuffer | number {
    const at = take.u64(address, 'address');
    const bytes = take.u64(length, 'length');
    return this.#process.views.make(at, Number(bytes));
  }
}

function checkReach(what: string, address: bigint, length: bigint): void {
  if (length > 0n && address + length > END) throw new RangeError(`${what} goes beyond the end of the address space`);
}

/** The same for calls that take all pages in which the bytes lie. */
function checkPages(what: string, address: bigint, length: bigint): void {
  const offset = address & 4095n;
  checkReach(what, address - offset, BigInt.asUintN(64, length + offset));
}

const faultOf = (fault: unknown): BigInt64Array | undefined =>
  fault === undefined ? undefined : take.outS64(fault, 'fault', FAULT_LENGTH);
