/** KVM_CHECK_EXTENSION: what virt/kvm answers by itself on every architecture. kvm_vm_ioctl_check_extension_generic */
import { KVM_CAP } from '../../uapi/kvm-caps.ts';
import type { KvmMachine } from './machine.ts';

export const ATTRIBUTE_PRIVATE = 8;
export const GMEM_MMAP = 1;
export const GMEM_INIT_SHARED = 2;

const C = KVM_CAP.value;

type Answer = number | ((machine: KvmMachine, type: number | undefined) => number);

const since =
  (release: string): Answer =>
  (machine) =>
    machine.since(release) ? 1 : 0;

/** `type` undefined stands for /dev/kvm, which answers for the VM that has most. */
const mayBePrivate = (machine: KvmMachine, type: number | undefined): boolean =>
  type === undefined || machine.hasPrivateMemory(type);

function attributesOf(machine: KvmMachine, type: number | undefined, here: boolean): number {
  return here && machine.memoryAttributes && mayBePrivate(machine, type) ? ATTRIBUTE_PRIVATE : 0;
}

/**
 * KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES of the in-place series: 250 in its revision 8, where 7.3 has another capability. This is the next free
 * number of 7.3; a number means nothing without its base.
 */
const CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES = 252;

const GENERIC: ReadonlyMap<number, Answer> = new Map<number, Answer>([
  [C.KVM_CAP_SYNC_MMU, 1],
  [C.KVM_CAP_USER_MEMORY, 1],
  [C.KVM_CAP_USER_MEMORY2, since('6.8')],
  [C.KVM_CAP_DESTROY_MEMORY_REGION_WORKS, 1],
  [C.KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, 1],
  [C.KVM_CAP_INTERNAL_ERROR_DATA, 1],
  [C.KVM_CAP_CHECK_EXTENSION_VM, 1],
  [C.KVM_CAP_ENABLE_CAP_VM, 1],
  [C.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 3],
  [C.KVM_CAP_NR_MEMSLOTS, (machine) => machine.limits.memslots],
  [C.KVM_CAP_MEMORY_ATTRIBUTES, (machine, type) => attributesOf(machine, type, !machine.convertsInPlace)],
  [CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES, (machine, type) => attributesOf(machine, type, machine.convertsInPlace)],
  [
    C.KVM_CAP_GUEST_MEMFD,
    (machine, type) => (machine.guestMemfd && (type === undefined || machine.takesGuestMemfd(type)) ? 1 : 0),
  ],
  [C.KVM_CAP_GUEST_MEMFD_FLAGS, (machine, type) => machine.guestMemfdFlags(type)],
]);

/** The answer of a table; undefined when it is silent. */
export function lookUp<M extends KvmMachine>(
  table: ReadonlyMap<number, number | ((machine: M, type: number | undefined) => number)>,
  capability: number,
  machine: M,
  type: number | undefined,
): number | undefined {
  const answer = table.get(capability);
  return typeof answer === 'function' ? answer(machine, type) : answer;
}

/** A capability that nobody knows is 0. @param type that of the VM; absent for /dev/kvm. */
export function checkExtension(machine: KvmMachine, capability: bigint, type?: number): number {
  if (capability > 0xffffn) return 0;
  const number = Number(capability);
  return lookUp(GENERIC, number, machine, type) ?? machine.extension(number, type);
}
