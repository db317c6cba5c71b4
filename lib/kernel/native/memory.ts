/** The calls of the waist on the address space, and the fault-safe copies. */
import * as take from '../arguments.ts';
import { FAULT_LENGTH, type Hva, type Int, type Kernel } from '../kernel.ts';
import type { Addon } from './addon.ts';
import { watchHandlers } from './handlers.ts';

type MemoryCall =
  | 'mmap'
  | 'munmap'
  | 'mprotect'
  | 'madvise'
  | 'mincore'
  | 'copyOut'
  | 'copyIn'
  | 'fill'
  | 'compare'
  | 'view';

export function memoryCalls(addon: Addon): Pick<Kernel, MemoryCall> {
  const { functions, frame } = addon;
  const mprotect = addon.row('mprotect');
  const madvise = addon.row('madvise');
  const mincore = addon.row('mincore');
  const watch = watchHandlers(addon);

  const range = (address: Hva, length: Int): void => {
    frame.u64(0, address, 'address');
    frame.u64(1, length, 'length');
  };
  const faultOf = (fault: BigInt64Array | undefined): BigInt64Array | undefined =>
    fault === undefined ? undefined : take.outS64(fault, 'fault', FAULT_LENGTH);
  const bytesDone = (fault: BigInt64Array | undefined): number => {
    if (fault !== undefined) frame.readFault(fault);
    return frame.result;
  };

  return {
    mmap: (address, length, prot, flags, fd, offset) => {
      range(address, length);
      frame.bits32(2, prot, 'prot');
      frame.bits32(3, flags, 'flags');
      frame.int32(4, fd, 'fd');
      frame.s64(5, offset, 'offset');
      functions.mmap();
      return frame.result;
    },
    munmap: (address, length) => {
      range(address, length);
      functions.munmap();
      return frame.result;
    },
    mprotect: (address, length, prot) => {
      range(address, length);
      frame.bits32(2, prot, 'prot');
      return addon.call(mprotect);
    },
    madvise: (address, length, advice) => {
      range(address, length);
      frame.int32(2, advice, 'advice');
      return addon.call(madvise);
    },
    mincore: (address, length, vec) => {
      range(address, length);
      return addon.callWithBytes(mincore, take.pageVec(vec, length));
    },
    copyOut: (address, into, fault) => {
      frame.u64(0, address, 'address');
      const bytes = take.bytes(into, 'into');
      const out = faultOf(fault);
      watch();
      functions.copyOut(bytes);
      return bytesDone(out);
    },
    copyIn: (address, from, fault) => {
      frame.u64(0, address, 'address');
      const bytes = take.bytes(from, 'from');
      const out = faultOf(fault);
      watch();
      functions.copyIn(bytes);
      return bytesDone(out);
    },
    fill: (address, length, byte, fault) => {
      range(address, length);
      frame.number(2, take.byte(byte, 'byte'));
      const out = faultOf(fault);
      watch();
      functions.fill();
      return bytesDone(out);
    },
    compare: (address, expected, fault) => {
      frame.u64(0, address, 'address');
      const bytes = take.bytes(expected, 'expected');
      const out = faultOf(fault);
      watch();
      functions.compare(bytes);
      return bytesDone(out);
    },
    view: (address, length) => {
      range(address, length);
      return functions.view() ?? frame.result;
    },
  };
}
