/** Guests that take turns with the host, and the exits that they must end with. */
import type { X64Builder } from '../guest/x64/builder.ts';
import type { Int } from '../kernel/kernel.ts';
import type { Exit } from '../kvm/exits.ts';
import { Broken, countCheck, same } from './check.ts';
import { checked, describeExit, type Guest, type GuestRun, halted } from './guest.ts';

/** A port that no device has: an access to it ends KVM_RUN, and needs no memory. */
const TURN_PORT = 0x10;

/** The guest hands the turn to the host. */
export function turn(g: X64Builder): void {
  g.out(TURN_PORT, 0);
}

/** What the guest reported when it handed the turn over; its checks must have held. */
export function handedOver(run: GuestRun): ReadonlyMap<number, bigint> {
  const { last } = run;
  countCheck();
  if (last.name !== 'KVM_EXIT_IO' || last.port !== TURN_PORT)
    throw new Broken('the guest', "that it comes to the host's turn", describeExit(last));
  return checked(run);
}

type Host = () => unknown;

/** Runs a program to its halt; at its turns the host's steps come one after the other, as many as there are turns. */
export async function phases(
  guest: Guest,
  write: (g: X64Builder) => void,
  ...host: readonly Host[]
): Promise<ReadonlyMap<number, bigint>> {
  const reports = new Map<number, bigint>();
  const keep = (some: ReadonlyMap<number, bigint>): void => {
    for (const [tag, value] of some) reports.set(tag, value);
  };
  guest.load(write);
  for (const step of host) {
    keep(handedOver(await guest.resume()));
    await step();
  }
  keep(halted(await guest.resume()));
  return reports;
}

export interface FaultExit {
  readonly gpa: number;
  readonly private: boolean;
  /** errno of KVM_RUN, default EFAULT. */
  readonly code?: string;
}

/** The guest must have ended with exactly this KVM_EXIT_MEMORY_FAULT. */
export function memoryFault({ last }: GuestRun, { gpa, private: isPrivate, code = 'EFAULT' }: FaultExit): void {
  if (last.name !== 'KVM_EXIT_MEMORY_FAULT')
    throw new Broken('the guest', `KVM_EXIT_MEMORY_FAULT at gpa 0x${gpa.toString(16)}`, describeExit(last));
  const { gpa: at, size, flags, code: errno } = last;
  same(
    { gpa: at, size, flags, errno },
    { gpa, size: 4096, flags: isPrivate ? 8n : 0n, errno: code },
    'the fields of the memory fault',
  );
}

/** The guest must have ended with an MMIO access of 8 bytes there. */
export function mmio(last: Exit, gpa: number, written?: Int): void {
  countCheck();
  if (last.name !== 'KVM_EXIT_MMIO')
    throw new Broken('the guest', `KVM_EXIT_MMIO at gpa 0x${gpa.toString(16)}`, describeExit(last));
  const { data } = last;
  const value = new DataView(data.buffer, data.byteOffset, data.byteLength);
  same(
    { gpa: last.gpa, length: last.length, isWrite: last.isWrite },
    { gpa, length: 8, isWrite: written !== undefined },
    'the fields of the MMIO exit',
  );
  if (written !== undefined) same(value.getBigUint64(0, true), BigInt(written), 'what the guest wrote');
}
