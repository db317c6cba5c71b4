/** The technologies that lifecycles can be carried out with. */
import { none } from './none.ts';
import { pkvm } from './pkvm.ts';
import { sev } from './sev.ts';
import { sevEs } from './sev-es.ts';
import { sevSnp } from './sev-snp.ts';
import { swProtected } from './sw-protected.ts';
import { tdx } from './tdx.ts';
import type { Technology } from './technology.ts';

export const TECHNOLOGIES: readonly Technology[] = [none, swProtected, sev, sevEs, sevSnp, tdx, pkvm];
export type { LaunchRegion, ProtectedVm, Technology } from './technology.ts';
