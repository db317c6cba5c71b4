/** Ends with the state of the vCPU that they name. */
import type { Vcpu } from '../kvm/vcpu.ts';
import { takeSnapshot } from './snapshot.ts';
import type { EndKind, MachineEnd } from './words.ts';

const WITH_STATE: ReadonlySet<EndKind> = new Set([
  'halted',
  'triple-fault',
  'fault-loop',
  'fault',
  'hole',
  'internal-error',
  'unhandled-exit',
  'device-error',
]);

/** Taken when every vCPU has stopped. A state that cannot be had does not hide the end. */
export function withState(end: MachineEnd, vcpus: readonly Vcpu[]): MachineEnd {
  if (!WITH_STATE.has(end.kind) || !('vcpu' in end)) return end;
  const vcpu = vcpus.find(({ id }) => id === end.vcpu);
  if (vcpu === undefined || vcpu.closed) return end;
  return { ...end, state: takeSnapshot(vcpu) } as MachineEnd;
}
