/** The designs that lifecycles can be carried out under. */
import type { Design } from './design.ts';
import { guestMemfd } from './guest-memfd.ts';
import { guestMemfdMmap } from './guest-memfd-mmap.ts';
import { inPlace } from './in-place.ts';
import { inaccessibleMemfd } from './inaccessible-memfd.ts';
import { registerConverts } from './register-converts.ts';
import { unboundFirst } from './unbound-first.ts';

export const DESIGNS: readonly Design[] = [
  inaccessibleMemfd,
  registerConverts,
  unboundFirst,
  guestMemfd,
  guestMemfdMmap,
  inPlace,
];
export type {
  BoundSlot,
  Design,
  Done,
  Memfile,
  MemfileOptions,
  Promises,
  Range,
} from './design.ts';
