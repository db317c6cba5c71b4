/** Scenarios of the area kvm, in the order in which they run. */
import type { Scenario } from '../../scenario.ts';
import { kvmCapabilities, kvmVmTypes } from './capabilities.ts';
import { kvmIoctl } from './ioctl.ts';
import { kvmLifetime, kvmProcesses } from './lifetime.ts';

export const kvmScenarios: readonly Scenario[] = [
  ...kvmIoctl,
  ...kvmCapabilities,
  ...kvmVmTypes,
  ...kvmLifetime,
  ...kvmProcesses,
];
