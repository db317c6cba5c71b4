/** Memslot requests with a default for each field, by both requests, and what can be seen of slots without a guest. */
import type { Result } from '../kernel/raw.ts';
import type { Vm } from '../kvm/vm.ts';
import { KVM_CAP } from '../uapi/index.ts';
import { Broken, countCheck } from './check.ts';
import type { Context } from './context.ts';
import { PAGE } from './file-kinds.ts';
import { checked, describeExit, type GuestRun } from './guest.ts';
import type { Needs } from './needs.ts';
import type { ScenarioOptions, Topic } from './scenario.ts';

export const LOG_DIRTY = 1;
export const READONLY = 2;
export const GUEST_MEMFD = 4;
/** Where the slots of scenarios are, unless they say otherwise. */
export const GPA = 0x100_0000;
/** A slot id that scenarios leave free. */
const PROBE = 499;

export interface RegionFields {
  readonly slot?: number;
  readonly flags?: number;
  readonly gpa?: number | bigint;
  readonly size?: number | bigint;
  readonly hva?: number | bigint;
  readonly offset?: number | bigint;
  readonly fd?: number;
}

/** Slot 1: four pages at {@link GPA}, with nothing mapped at their hva (NULL), which KVM does not mind. */
const asRegion = ({ slot = 1, flags = 0, gpa = GPA, size = 4 * PAGE, hva = 0 }: RegionFields) => ({
  slot,
  flags,
  guest_phys_addr: BigInt(gpa),
  memory_size: BigInt(size),
  userspace_addr: BigInt(hva),
});

export type SetRegion = (vm: Vm, fields?: RegionFields) => Result<void>;

/** KVM_SET_USER_MEMORY_REGION. */
export const setRegion: SetRegion = (vm, fields = {}) => vm.raw.setUserMemoryRegion(asRegion(fields));

/** KVM_SET_USER_MEMORY_REGION2. */
export const setRegion2: SetRegion = (vm, fields = {}) =>
  vm.raw.setUserMemoryRegion2({
    ...asRegion(fields),
    guest_memfd_offset: BigInt(fields.offset ?? 0),
    guest_memfd: fields.fd ?? 0,
  });

export const HAS_REGION2 = { vmCaps: { KVM_CAP_USER_MEMORY2: 1 } } as const;

/** Adds one behaviour for each of the two requests. */
export function forRequests(scenario: Topic) {
  return (behaviour: string, body: (t: Context, set: SetRegion) => void, options: ScenarioOptions = {}): void => {
    scenario(behaviour, options, (t) => body(t, setRegion));
    const needs: Needs = { ...options.needs, vmCaps: { ...options.needs?.vmCaps, ...HAS_REGION2.vmCaps } };
    scenario(`${behaviour}/REGION2`, { ...options, needs }, (t) => body(t, setRegion2));
  };
}

/** For each page of the range, whether a slot covers it. Nothing is left behind. */
export function coveredPages(t: Context, vm: Vm, gpa: number, pages: number, space = 0): boolean[] {
  const slot = (space << 16) | PROBE;
  return Array.from({ length: pages }, (_, page) => {
    const made = setRegion(vm, { slot, gpa: gpa + page * PAGE, size: PAGE });
    if (!made.ok) {
      t.refused(made, 'EEXIST', `a slot at gpa 0x${(gpa + page * PAGE).toString(16)}`);
      return true;
    }
    t.accepted(setRegion(vm, { slot, size: 0 }), 'deleting it');
    return false;
  });
}

/** Whether the id has a slot: it is deleted. */
export const deleted = (vm: Vm, slot = 1): boolean => setRegion(vm, { slot, size: 0 }).ok;

/** KVM_CAP_MULTI_ADDRESS_SPACE, which is 0 where there is one. */
export const addressSpaces = (vm: Vm): number =>
  Math.max(1, vm.checkExtension(KVM_CAP.value.KVM_CAP_MULTI_ADDRESS_SPACE));

/** The run ended in an access to memory that no slot has. */
export function mmio(t: Context, run: GuestRun, expected: { gpa: number; length: number; isWrite: boolean }): void {
  checked(run);
  const { last } = run;
  countCheck();
  if (last.name !== 'KVM_EXIT_MMIO') throw new Broken('the exit', 'KVM_EXIT_MMIO', describeExit(last));
  const { gpa, length, isWrite } = last;
  t.same({ gpa, length, isWrite }, expected, 'exit');
}
