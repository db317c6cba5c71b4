/** The designs that lifecycles can be carried out under. */
import type { Design } from './design.ts';
import { guestMemfd } from './guest-memfd.ts';
import { guestMemfdMmap } from './guest-memfd-mmap.ts';
import { unboundFirst } from './unbound-first.ts';

export const DESIGNS: readonly Design[] = [unboundFirst, guestMemfd, guestMemfdMmap];
export type { Design, Done, Memfile, Promises, Range } from './design.ts';
