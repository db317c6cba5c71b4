/** What the simulated KVM plugs into the simulated kernel. */
import type { SimFile } from './file.ts';
import type { Process } from './process.ts';

/**
 * The vCPU calls of the waist, behind the checks of their arguments. Handles are the host's own. A run page that is attached is pinned by
 * the kernel until it is detached.
 */
export interface VcpuHost {
  /** A handle of zero or more. `fd` need not be a vCPU: then running it answers as KVM_RUN on it would. */
  attach(fd: number, runPage: number): number;
  run(vcpu: number, timeoutMs: number): number;
  start(vcpu: number, done: (result: number) => void): number;
  kick(vcpu: number): number;
  detach(vcpu: number): number;
}

export interface KvmHost {
  readonly vcpus: VcpuHost;
  /** Further devices by path: /dev/sev. */
  readonly devices?: ReadonlyMap<string, (flags: number) => SimFile>;
  /** open("/dev/kvm"): the file, or a negated errno. `flags` as open(2) got them. */
  open(flags: number): SimFile | number;
}

export type KvmFactory = (process: Process) => KvmHost;
