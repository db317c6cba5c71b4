/** Scenarios of the area memslot, in the order in which they run. */
import type { Scenario } from '../../scenario.ts';
import { memslotBinding } from './binding.ts';
import { memslotBindingRanges } from './binding-ranges.ts';
import { memslotChange } from './change.ts';
import { memslotChecks } from './checks.ts';
import { memslotDirtyLog } from './dirty-log.ts';
import { memslotExits } from './exits.ts';
import { memslotAddressSpaces, memslotFlags } from './flags.ts';
import { memslotGuest } from './guest.ts';
import { memslotRanges } from './ranges.ts';
import { memslotReadonly } from './readonly.ts';

export const memslotScenarios: readonly Scenario[] = [
  ...memslotChecks,
  ...memslotFlags,
  ...memslotAddressSpaces,
  ...memslotRanges,
  ...memslotChange,
  ...memslotBinding,
  ...memslotBindingRanges,
  ...memslotExits,
  ...memslotGuest,
  ...memslotReadonly,
  ...memslotDirtyLog,
];
