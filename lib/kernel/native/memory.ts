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
  | 'mlock'
  | 'munlock'
  | 'msync'
  | 'mbind'
  | 'getMempolicy'
  | 'vmsplice'
  | 'processVmReadv'
  | 'processVmWritev'
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
  const mlock2 = addon.row('mlock2');
  const munlock = addon.row('munlock');
  const msync = addon.row('msync');
  const mbind = addon.row('mbind');
  const getMempolicy = addon.row('get_mempolicy');
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
    mlock: (address, length, flags) => {
      range(address, length);
      frame.bits32(2, flags, 'flags');
      return addon.call(mlock2);
    },
    munlock: (address, length) => {
      range(address, length);
      return addon.call(munlock);
    },
    msync: (address, length, flags) => {
      range(address, length);
      frame.bits32(2, flags, 'flags');
      return addon.call(msync);
    },
    mbind: (address, length, mode, nodemask, flags) => {
      range(address, length);
      frame.bits32(2, mode, 'mode');
      const nodes = take.bytes(nodemask, 'nodemask');
      frame.bits32(5, flags, 'flags');
      return addon.callWithBytes(mbind, nodes);
    },
    getMempolicy: (out, nodemask, address, flags) => {
      const mode = new Int32Array(1);
      const into = take.outS64(out, 'out', 1);
      const nodes = take.bytes(nodemask, 'nodemask');
      frame.u64(3, address, 'address');
      frame.bits32(4, flags, 'flags');
      const result = addon.callWithBytes(getMempolicy, new Uint8Array(mode.buffer), nodes);
      if (result === 0) into[0] = BigInt(mode[0] ?? 0);
      return result;
    },
    vmsplice: (fd, address, length, flags) => {
      frame.int32(0, fd, 'fd');
      frame.u64(1, address, 'address');
      frame.u64(2, length, 'length');
      frame.bits32(3, flags, 'flags');
      functions.vmsplice();
      return frame.result;
    },
    processVmReadv: (address, into) => {
      frame.u64(0, address, 'address');
      functions.processVmReadv(take.bytes(into, 'into'));
      return frame.result;
    },
    processVmWritev: (address, from) => {
      frame.u64(0, address, 'address');
      functions.processVmWritev(take.bytes(from, 'from'));
      return frame.result;
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
