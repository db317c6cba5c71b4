/** The words that run loop, devices and boot share: how a machine ends, what a device is, what they need of guest memory. */
import type { InternalErrorExit, MemoryFaultExit, SystemEventExit } from '../kvm/exits.ts';
import type { VcpuSnapshot } from './snapshot.ts';

export type Side = 'private' | 'shared';

/** What run loop, devices and loaders need of guest memory; `GuestMemory` is one. Addresses and lengths in bytes. */
export interface MachineMemory {
  /** Copies out. A typed error for a hole or for memory that the host cannot reach. */
  read(gpa: number, length: number): Uint8Array;
  write(gpa: number, bytes: Uint8Array): void;
  /** Turns a range private or shared, or throws. Left out: the machine has one side only. */
  convert?(range: { readonly gpa: number; readonly size: number }, to: Side): unknown;
}

/**
 * A device on a bus: its registers, by offset from where it was attached. Values are unsigned; accesses of 8 bytes come as two of 4, the lower
 * one first.
 */
export interface Device {
  readonly name: string;
  /** `size` is 1, 2 or 4 bytes. Left out: reads give ones. */
  read?(offset: number, size: number): number;
  write?(offset: number, size: number, value: number): void;
  /** In place of `write`: the bytes of a write as they came, 1 to 8 of them. */
  writeBytes?(offset: number, bytes: Uint8Array): void;
  /** Puts back what it holds of the host: files, timers. */
  close?(): void;
}

/** An input of an interrupt controller. */
export interface IrqLine {
  /** For devices that hold the line. */
  set(level: boolean): void;
  /** An edge. */
  pulse(): void;
}

/** What a device may ask the machine for. */
export interface Power {
  /** Stops every vCPU; `run` gives this end. The first one counts. */
  end(end: DeviceEnd): void;
}

export type DeviceEnd =
  /** ACPI sleep state 5. */
  | { readonly kind: 'powered-off'; readonly by: string }
  | { readonly kind: 'reset'; readonly by: string }
  /** The guest wrote to the debug exit port. */
  | { readonly kind: 'debug-exit'; readonly value: number };

/** Why a machine stopped. `vcpu` is the one that said so, with its state at that moment where it can be had. */
export type MachineEnd =
  | DeviceEnd
  /** Every vCPU executed HLT, and nothing in the kernel can wake one. */
  | { readonly kind: 'halted'; readonly vcpu: number; readonly state?: VcpuSnapshot | undefined }
  /** KVM_EXIT_SHUTDOWN: an exception while one was delivered while one was delivered. */
  | { readonly kind: 'triple-fault'; readonly vcpu: number; readonly state?: VcpuSnapshot | undefined }
  /** KVM_EXIT_SYSTEM_EVENT of another type than shutdown and reset. */
  | { readonly kind: 'system-event'; readonly vcpu: number; readonly event: SystemEventExit }
  /** The same fault came again although nothing was left to convert, or nobody converts. */
  | {
      readonly kind: 'fault-loop';
      readonly vcpu: number;
      readonly faults: readonly [MemoryFaultExit, MemoryFaultExit];
      readonly state?: VcpuSnapshot | undefined;
    }
  /** A memory fault that could not be answered, and why. */
  | {
      readonly kind: 'fault';
      readonly vcpu: number;
      readonly fault: MemoryFaultExit;
      readonly reason: string;
      readonly state?: VcpuSnapshot | undefined;
    }
  /** An access where there is neither memory nor a device. */
  | {
      readonly kind: 'hole';
      readonly vcpu: number;
      readonly bus: 'memory' | 'port';
      readonly address: number;
      readonly size: number;
      readonly isWrite: boolean;
      readonly state?: VcpuSnapshot | undefined;
    }
  /** KVM could not go on. */
  | {
      readonly kind: 'internal-error';
      readonly vcpu: number;
      readonly exit: InternalErrorExit;
      /** The instruction that KVM does not emulate, as far as it says. */
      readonly instruction?: Uint8Array | undefined;
      readonly state?: VcpuSnapshot | undefined;
    }
  /** KVM_EXIT_FAIL_ENTRY, or an exit that nobody handles. */
  | {
      readonly kind: 'unhandled-exit';
      readonly vcpu: number;
      readonly reason: number;
      readonly name: string | undefined;
      readonly detail: string;
      readonly state?: VcpuSnapshot | undefined;
    }
  /** A device threw. */
  | {
      readonly kind: 'device-error';
      readonly vcpu: number | undefined;
      readonly device: string;
      readonly error: unknown;
      readonly state?: VcpuSnapshot | undefined;
    }
  /** KVM_RUN or a request of the loop failed with an errno that carries no exit. */
  | { readonly kind: 'kernel-error'; readonly vcpu: number; readonly error: unknown }
  /** The AbortSignal, or `stop`. */
  | { readonly kind: 'aborted'; readonly reason: unknown };

export type EndKind = MachineEnd['kind'];
