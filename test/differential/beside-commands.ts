/** The commands of a differential run of guests beside the program: plain data, so that a sequence can be cut down and printed. */

/** One of two. */
export type VcpuIndex = 0 | 1;

/**
 * What a guest does before it tells eax at a port and halts: nothing; it waits for its flag; it waits and hands its flag on; it sets the
 * flag of the other at once, or after a while.
 */
export type Program = 'none' | 'wait' | 'relay' | 'signal' | 'later';

export type BesideCommand =
  /** vcpuStart. */
  | { readonly do: 'start'; readonly vcpu: VcpuIndex; readonly program: Program }
  /** vcpuRun, which a limit ends where nothing else does. `beside`: what the other vCPU is started with just before. */
  | { readonly do: 'run'; readonly vcpu: VcpuIndex; readonly program: Program; readonly beside?: Program }
  /** The host writes a flag. */
  | { readonly do: 'flag'; readonly vcpu: VcpuIndex; readonly value: number }
  | { readonly do: 'kick'; readonly vcpu: VcpuIndex }
  /** A kick, and a request that waits for the end of the run. */
  | { readonly do: 'kickAndAsk'; readonly vcpu: VcpuIndex }
  | { readonly do: 'detach'; readonly vcpu: VcpuIndex }
  /** A run of a descriptor that is none of a vCPU. */
  | { readonly do: 'other'; readonly waits: boolean };
