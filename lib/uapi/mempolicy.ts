/** Memory policies: on which NUMA nodes pages are allocated. Source: include/uapi/linux/mempolicy.h. */
import { defineNames } from './registry.ts';

/** Modes of mbind(2), and what get_mempolicy(2) answers. PREFERRED_MANY since 5.15, WEIGHTED_INTERLEAVE since 6.9. */
export const MPOL = defineNames('MPOL', 'values', {
  MPOL_DEFAULT: 0,
  MPOL_PREFERRED: 1,
  MPOL_BIND: 2,
  MPOL_INTERLEAVE: 3,
  MPOL_LOCAL: 4,
  MPOL_PREFERRED_MANY: 5,
  MPOL_WEIGHTED_INTERLEAVE: 6,
});

/** Flags that are part of a mode. */
export const MPOL_MODE = defineNames('MPOL_MODE', 'bits', {
  MPOL_F_NUMA_BALANCING: 0x2000,
  MPOL_F_RELATIVE_NODES: 0x4000,
  MPOL_F_STATIC_NODES: 0x8000,
});

/** Flags of get_mempolicy(2). */
export const MPOL_F = defineNames('MPOL_F', 'bits', { MPOL_F_NODE: 1, MPOL_F_ADDR: 2, MPOL_F_MEMS_ALLOWED: 4 });

/** Flags of mbind(2). */
export const MPOL_MF = defineNames('MPOL_MF', 'bits', { MPOL_MF_STRICT: 1, MPOL_MF_MOVE: 2, MPOL_MF_MOVE_ALL: 4 });
