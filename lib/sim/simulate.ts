/** The simulated kernel, ready to use: `new Sys(simulate())`. */
import { Arm64Machine } from './kvm/arm64/machine.ts';
import { kvmFactory } from './kvm/host.ts';
import type { MachineOptions } from './kvm/machine.ts';
import { X64Machine } from './kvm/x64/machine.ts';
import { PATCH_BASE, type SimPatch } from './patches/names.ts';
import type { ProcessOptions } from './process.ts';
import { profileOf, type SimArch, type SimRelease } from './profile.ts';
import { simKernel } from './sim-kernel.ts';
import type { SimulatedKernel } from './simulated-kernel.ts';

export type { SimEvent } from './events.ts';
export type { SimTechnology } from './kvm/machine.ts';
export type { SimPatch } from './patches/names.ts';
export type { SimArch, SimRelease } from './profile.ts';
export type { SimulatedKernel } from './simulated-kernel.ts';

export interface SimulateOptions extends MachineOptions, Omit<ProcessOptions, 'profile'> {
  /** Default x64. arm64 is simulated as of Linux 7.3. */
  readonly arch?: SimArch;
  /** Which release is imitated. Default: the newest, 7.3. */
  readonly release?: SimRelease;
  /**
   * Series that were never merged or are under review, in the revision that the name says; see docs/simulation.md. RangeError for one that does not
   * fit the release. The release is by default the one that the first patch is for.
   */
  readonly patches?: readonly SimPatch[];
}

const NEWEST: SimRelease = '7.3';

/**
 * A kernel of its own, with one process and no files but its own. `technologies` says what protects guests (default: software-protected VMs
 * where the release has them); `simulate({ release: '6.18', technologies: [] })` is a 6.18 kernel with default VMs only. RangeError for
 * options that contradict each other.
 */
export function simulate(options: SimulateOptions = {}): SimulatedKernel {
  const { arch = 'x64', patches = [] } = options;
  const [patch] = patches;
  const release = options.release ?? (patch === undefined ? NEWEST : PATCH_BASE[patch]);
  const profile = profileOf(release, arch, patches);
  const machine = arch === 'arm64' ? new Arm64Machine(profile, options) : new X64Machine(profile, options);
  return simKernel({ ...options, profile, kvm: kvmFactory(machine) });
}
