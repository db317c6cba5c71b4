/** Every planted fault, by what it breaks. */
import { ATTRIBUTE_MUTANTS } from './attributes.ts';
import { GUEST_MEMFD_BINDING_MUTANTS } from './guest-memfd-binding.ts';
import { GUEST_MEMFD_FILE_MUTANTS } from './guest-memfd-file.ts';
import { MEMORY_FAULT_MUTANTS } from './memory-fault.ts';
import { MEMSLOT_CHANGE_MUTANTS } from './memslot-changes.ts';
import { MEMSLOT_REQUEST_MUTANTS } from './memslot-requests.ts';
import type { Mutant } from './mutant.ts';
import { PRE_FAULT_HYPERCALL_MUTANTS } from './pre-fault-hypercall.ts';
import { SUBTLE_MUTANTS } from './subtle.ts';

export const MUTANTS: Readonly<Record<string, readonly Mutant[]>> = {
  'guest-memfd-file': GUEST_MEMFD_FILE_MUTANTS,
  'guest-memfd-binding': GUEST_MEMFD_BINDING_MUTANTS,
  'memslot-requests': MEMSLOT_REQUEST_MUTANTS,
  'memslot-changes': MEMSLOT_CHANGE_MUTANTS,
  attributes: ATTRIBUTE_MUTANTS,
  'memory-fault': MEMORY_FAULT_MUTANTS,
  'pre-fault-hypercall': PRE_FAULT_HYPERCALL_MUTANTS,
  subtle: SUBTLE_MUTANTS,
};
