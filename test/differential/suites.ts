/** What there is to compare on a host, by name. */
import type { BesideCommand } from './beside-commands.ts';
import { besideSuite } from './beside-suite.ts';
import type { Command } from './commands.ts';
import type { CpuCommand } from './cpu-commands.ts';
import { cpuSuite } from './cpu-suite.ts';
import type { Suite } from './engine.ts';
import { filesSuite } from './files-suite.ts';
import type { KvmCommand } from './kvm-commands.ts';
import { kvmSuite } from './kvm-suite.ts';
import type { Host } from './pair.ts';

export interface Commands {
  /** Files and memory. */
  readonly files: Command;
  /** KVM with default VMs. */
  readonly kvm: KvmCommand;
  /** KVM with software-protected VMs. */
  readonly protected: KvmCommand;
  /** A vCPU: instructions and state. */
  readonly cpu: CpuCommand;
  /** Guests that run beside the program, and kicks. */
  readonly beside: BesideCommand;
}

export type SuiteName = keyof Commands;
export const SUITES: readonly SuiteName[] = ['files', 'kvm', 'protected', 'cpu', 'beside'];
const SW_PROTECTED = 1;

const MAKE: { readonly [N in SuiteName]: (host: Host) => Suite<Commands[N]> } = {
  files: filesSuite,
  kvm: (host) => kvmSuite(host, 0),
  protected: (host) => kvmSuite(host, SW_PROTECTED),
  cpu: cpuSuite,
  beside: besideSuite,
};

export const suiteOf = <N extends SuiteName>(host: Host, name: N): Suite<Commands[N]> => MAKE[name](host);

/** Why a suite cannot run here; undefined when it can. */
export function lacking({ kvm, noVm }: Host, name: SuiteName): string | undefined {
  if (name === 'files') return undefined;
  if (kvm === undefined) return noVm ?? 'no KVM';
  // Random code may hang an emulated processor: QEMU's, with a guest under SVM, no longer takes interrupts.
  if (name === 'cpu' && kvm.hardware) return 'guests run on a processor, and what is compared is the emulator of KVM';
  if (name === 'protected' && (kvm.types & (1 << SW_PROTECTED)) === 0) return 'this KVM has no software-protected VMs';
  return undefined;
}
