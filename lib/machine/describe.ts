/** The end of a machine in words. */
import { describeSnapshot } from './snapshot.ts';
import type { MachineEnd } from './words.ts';

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
const bytesOf = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');

function sentence(end: MachineEnd): string {
  switch (end.kind) {
    case 'powered-off':
      return `the guest switched itself off (${end.by})`;
    case 'reset':
      return `the guest reset itself (${end.by})`;
    case 'debug-exit':
      return `the guest wrote ${end.value} to the debug exit port`;
    case 'halted':
      return 'every vCPU halted, and nothing can wake one';
    case 'triple-fault':
      return `vCPU ${end.vcpu}: triple fault (KVM_EXIT_SHUTDOWN)`;
    case 'system-event':
      return `vCPU ${end.vcpu}: ${end.event.typeName ?? `system event ${end.event.type}`}`;
    case 'fault-loop': {
      const [first, second] = end.faults.map(
        ({ gpa, size, private: isPrivate, code }) =>
          `${hex(gpa)} (${size} bytes, ${isPrivate ? 'private' : 'shared'}, ${code})`,
      );
      return `vCPU ${end.vcpu}: the same memory fault twice without progress: ${first}, then ${second}`;
    }
    case 'fault':
      return `vCPU ${end.vcpu}: memory fault at ${hex(end.fault.gpa)} (${end.fault.private ? 'private' : 'shared'}): ${end.reason}`;
    case 'hole': {
      const place = end.bus === 'port' ? `port ${hex(end.address)}` : `gpa ${hex(end.address)}`;
      const what = end.isWrite ? 'write to' : 'read from';
      return `vCPU ${end.vcpu}: ${what} ${place} (${end.size} bytes), where there is ${end.bus === 'port' ? 'no device' : 'neither memory nor a device'}`;
    }
    case 'internal-error': {
      const at = end.instruction === undefined ? '' : `; the instruction: ${bytesOf(end.instruction)}`;
      return `vCPU ${end.vcpu}: ${end.exit.suberrorName ?? `KVM internal error ${end.exit.suberror}`}${at}`;
    }
    case 'unhandled-exit':
      return `vCPU ${end.vcpu}: ${end.name ?? `exit ${end.reason}`}: ${end.detail}`;
    case 'device-error':
      return `the device ${end.device} failed: ${textOf(end.error)}`;
    case 'kernel-error':
      return `vCPU ${end.vcpu}: ${textOf(end.error)}`;
    case 'aborted':
      return `stopped: ${textOf(end.reason)}`;
  }
}

/** A sentence, and the vCPU's state below it where the end has it. */
export function describeEnd(end: MachineEnd): string[] {
  const state = 'state' in end ? end.state : undefined;
  return [sentence(end), ...(state === undefined ? [] : describeSnapshot(state))];
}
