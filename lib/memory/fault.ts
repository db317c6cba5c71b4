/** Turns what a fault-safe copy reports into a typed fault. */
import { type FaultKind, type MemoryFault, MemoryFaultError } from '../kernel/errors.ts';
import { FAULT } from '../kernel/kernel.ts';

const SIGBUS = 7n;

/** si_code values of include/uapi/asm-generic/siginfo.h that a memory access can end with. */
const CODES: Readonly<Record<FaultKind, Readonly<Record<number, string>>>> = {
  SIGBUS: {
    1: 'BUS_ADRALN',
    2: 'BUS_ADRERR',
    3: 'BUS_OBJERR',
    4: 'BUS_MCEERR_AR',
    5: 'BUS_MCEERR_AO',
    128: 'SI_KERNEL',
  },
  SIGSEGV: { 1: 'SEGV_MAPERR', 2: 'SEGV_ACCERR', 3: 'SEGV_BNDERR', 4: 'SEGV_PKUERR', 128: 'SI_KERNEL' },
};

/** The fault in `record`, or undefined when the copy was not stopped by one. `base` is the hva of the mapping's first byte. */
export function faultOf(record: BigInt64Array, base: number, bytesDone: number): MemoryFault | undefined {
  const signal = record[FAULT.signal] ?? 0n;
  if (signal === 0n) return undefined;
  const kind: FaultKind = signal === SIGBUS ? 'SIGBUS' : 'SIGSEGV';
  const code = Number(record[FAULT.code] ?? 0n);
  const hva = Number(record[FAULT.address] ?? 0n);
  return { kind, code: CODES[kind][code] ?? String(code), hva, offset: hva - base, bytesDone };
}

export function throwOnFault(action: string, record: BigInt64Array, base: number, bytesDone: number): void {
  const fault = faultOf(record, base, bytesDone);
  if (fault !== undefined) throw new MemoryFaultError(action, fault);
}
