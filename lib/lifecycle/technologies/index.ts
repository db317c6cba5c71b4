/** The technologies that lifecycles can be carried out with. */
import { none } from './none.ts';
import { swProtected } from './sw-protected.ts';
import type { Technology } from './technology.ts';

export const TECHNOLOGIES: readonly Technology[] = [none, swProtected];
export type { Technology } from './technology.ts';
