/** SEV-ES: SEV whose vCPUs' registers are encrypted and sealed by the launch as well. Conversions are the guest's own affair as with SEV. */
import { sevTechnology } from './sev.ts';

export const sevEs = sevTechnology('sev-es', 'SEV-ES: SEV, and the registers are encrypted and sealed by the launch');
