/** What a machine is made with, run with, and tells. */
import { channel } from 'node:diagnostics_channel';
import type { Exit } from '../kvm/exits.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Vm } from '../kvm/vm.ts';
import type { Conversion, ConversionPolicy } from './conversions.ts';
import type { DispatchOptions } from './dispatch.ts';
import type { MachineEnd, MachineMemory } from './words.ts';

export interface MachineOptions extends DispatchOptions {
  readonly vm: Vm;
  readonly vcpus: readonly Vcpu[];
  /** For conversions. Left out: memory faults end the machine, hypercalls get -KVM_ENOSYS. */
  readonly memory?: MachineMemory;
  readonly policy?: ConversionPolicy;
}

export interface MachineRunOptions {
  /** Stops the machine: the end is `aborted`, with the signal's reason. */
  readonly signal?: AbortSignal;
  /**
   * `own` (default): each vCPU on a thread of its own, but for bursts of exits, which are dealt with on this one, a few milliseconds at a time.
   * `caller`: a single vCPU on this thread, which costs no switch between threads at all; while the guest runs nothing else does, so a guest that
   * stops exiting stops the program as well. Every few milliseconds the event loop has its turn.
   */
  readonly thread?: 'own' | 'caller';
}

export interface MachineEvents {
  /** After it was answered. Only carried when somebody listens. */
  exit: [vcpu: number, exit: Exit];
  conversion: [conversion: Conversion];
  pause: [];
  resume: [];
  end: [end: MachineEnd];
}

/** node:diagnostics_channel: the same events for who cannot get at the machine. */
export const channels = {
  exit: channel('privmem:machine:exit'),
  conversion: channel('privmem:machine:conversion'),
  end: channel('privmem:machine:end'),
} as const;
