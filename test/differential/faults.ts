/** All mistakes that can be planted. */
import { BESIDE } from './beside-faults.ts';
import { IN_CPU } from './cpu-faults.ts';
import { IN_FILES } from './file-faults.ts';
import { IN_KVM, IN_PROTECTED } from './kvm-faults.ts';
import type { PlantedFault } from './planting.ts';
import type { SuiteName } from './suites.ts';

const of =
  (suite: SuiteName) =>
  (fault: Omit<PlantedFault, 'suite'>): PlantedFault => ({ ...fault, suite });

export const FAULTS: readonly PlantedFault[] = [
  ...IN_FILES.map(of('files')),
  ...IN_KVM.map(of('kvm')),
  ...IN_PROTECTED.map(of('protected')),
  ...IN_CPU.map(of('cpu')),
  ...BESIDE.map(of('beside')),
];
