/** What is compared between a real arm64 kernel and the simulated one. */
import { PROTECTED_VMS } from './protected.ts';
import { randomCode } from './random-code.ts';
import type { Scenario } from './recording.ts';
import { REQUESTS } from './requests.ts';
import { RUNS } from './runs.ts';

const PROGRAMS = 60;

export interface Choice {
  /** Protected VMs too: a kernel with kvm-arm.mode=protected. */
  readonly pkvm: boolean;
  /** Of the random programs. */
  readonly seed: number;
}

/** Under pKVM the sizes of IPA spaces mean nothing, so what is about them is left to the ordinary kernel. */
export function scenarios({ pkvm, seed }: Choice): Record<string, Scenario> {
  const random = { 'random code': randomCode(seed, PROGRAMS) };
  return pkvm ? { ...PROTECTED_VMS, ...RUNS, ...random } : { ...REQUESTS, ...RUNS, ...random };
}
