/** Scenarios of the area guest_memfd, in the order in which they run. */
import type { Scenario } from '../../scenario.ts';
import { guestMemfdCreate } from './create.ts';
import { guestMemfdAllocate, guestMemfdFallocate } from './fallocate.ts';
import { guestMemfdGuest } from './guest.ts';
import { guestMemfdGuestPunch } from './guest-punch.ts';
import { guestMemfdPunchHole } from './punch-hole.ts';
import { guestMemfdStat, guestMemfdSyscalls } from './syscalls.ts';

export const guestMemfdScenarios: readonly Scenario[] = [
  ...guestMemfdCreate,
  ...guestMemfdStat,
  ...guestMemfdSyscalls,
  ...guestMemfdFallocate,
  ...guestMemfdAllocate,
  ...guestMemfdPunchHole,
  ...guestMemfdGuest,
  ...guestMemfdGuestPunch,
];
