/** Scenarios of the area guest_memfd, in the order in which they run. */
import type { Scenario } from '../../scenario.ts';
import { guestMemfdAdvice } from './advice.ts';
import { guestMemfdCreate } from './create.ts';
import { guestMemfdAllocate, guestMemfdFallocate } from './fallocate.ts';
import { guestMemfdFaults } from './faults.ts';
import { guestMemfdFileCalls } from './file-calls.ts';
import { guestMemfdGuest } from './guest.ts';
import { guestMemfdGuestPunch } from './guest-punch.ts';
import { guestMemfdLifetime } from './lifetime.ts';
import { guestMemfdMmap } from './mmap.ts';
import { guestMemfdNuma } from './numa.ts';
import { guestMemfdPunchHole } from './punch-hole.ts';
import { guestMemfdStat, guestMemfdSyscalls } from './syscalls.ts';

export const guestMemfdScenarios: readonly Scenario[] = [
  ...guestMemfdCreate,
  ...guestMemfdStat,
  ...guestMemfdSyscalls,
  ...guestMemfdFileCalls,
  ...guestMemfdFallocate,
  ...guestMemfdAllocate,
  ...guestMemfdPunchHole,
  ...guestMemfdMmap,
  ...guestMemfdFaults,
  ...guestMemfdAdvice,
  ...guestMemfdNuma,
  ...guestMemfdLifetime,
  ...guestMemfdGuest,
  ...guestMemfdGuestPunch,
];
