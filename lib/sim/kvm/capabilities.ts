/**
 * KVM_CHECK_EXTENSION: what the simulation can do, per release and VM type. A capability that is not here is 0, as it would be in a kernel
 * that lacks it. arch/x86/kvm/x86.c and virt/kvm/kvm_main.c
 */
import { KVM_CAP } from '../../uapi/kvm-caps.ts';
import { MAX_VCPU_ID, MAX_VCPUS, MEMSLOTS } from './limits.ts';
import { type KvmMachine, VM_DEFAULT, VM_TDX } from './machine.ts';

/** Bit 12: KVM_HC_MAP_GPA_RANGE. */
export const EXIT_HYPERCALL_MASK = 1n << 12n;
export const ATTRIBUTE_PRIVATE = 8;
const GMEM_MMAP = 1;
const GMEM_INIT_SHARED = 2;

/** What of a VM's files: GUEST_MEMFD_FLAG bits. `type` is absent for /dev/kvm: then all flags that any VM could take. */
export function guestMemfdFlags(machine: KvmMachine, type: number | undefined): number {
  if (!machine.profile.guestMemfdMmap) return 0;
  const initPrivate = type !== undefined && machine.hasPrivateMemory(type) && !machine.convertsInPlace;
  return initPrivate ? GMEM_MMAP : GMEM_MMAP | GMEM_INIT_SHARED;
}

/** Whether a VM's slots take KVM_MEM_GUEST_MEMFD: since 6.18 those of every VM. */
export function takesGuestMemfd(machine: KvmMachine, type: number): boolean {
  return machine.guestMemfd && (machine.profile.guestMemfdMmap || machine.hasPrivateMemory(type));
}

type Answer = number | ((machine: KvmMachine, type: number | undefined) => number);

const C = KVM_CAP.value;
const since =
  (release: string): Answer =>
  (machine) =>
    machine.since(release) ? 1 : 0;

/** A kernel that could not have two does not know the question. */
const multiAddressSpace = (machine: KvmMachine, type: number = VM_DEFAULT): number =>
  machine.systemManagement ? machine.addressSpaces(type) : 0;

/**
 * KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES of the in-place series: 250 in its revision 8, where 7.3 has another capability. This is the next free
 * number of 7.3; a number means nothing without its base.
 */
const CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES = 252;

const TABLE: ReadonlyMap<number, Answer> = new Map<number, Answer>([
  [C.KVM_CAP_HLT, 1],
  [C.KVM_CAP_USER_MEMORY, 1],
  [C.KVM_CAP_SET_TSS_ADDR, 1],
  [C.KVM_CAP_EXT_CPUID, 1],
  [C.KVM_CAP_NR_VCPUS, (machine) => machine.cpus],
  [C.KVM_CAP_NR_MEMSLOTS, MEMSLOTS],
  [C.KVM_CAP_MP_STATE, 1],
  [C.KVM_CAP_SYNC_MMU, 1],
  [C.KVM_CAP_DESTROY_MEMORY_REGION_WORKS, 1],
  [C.KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, 1],
  [C.KVM_CAP_SET_IDENTITY_MAP_ADDR, 1],
  [C.KVM_CAP_INTERNAL_ERROR_DATA, 1],
  [C.KVM_CAP_MAX_VCPUS, (machine, type) => (type === VM_TDX ? machine.cpus : MAX_VCPUS)],
  // Elsewhere there are no interrupt controllers to split.
  [C.KVM_CAP_SPLIT_IRQCHIP, (_machine, type) => (type === VM_TDX ? 1 : 0)],
  [C.KVM_CAP_READONLY_MEM, (machine, type) => (type !== undefined && machine.hasProtectedState(type) ? 0 : 1)],
  [C.KVM_CAP_ENABLE_CAP_VM, 1],
  [C.KVM_CAP_CHECK_EXTENSION_VM, 1],
  [C.KVM_CAP_MULTI_ADDRESS_SPACE, multiAddressSpace],
  [C.KVM_CAP_MAX_VCPU_ID, MAX_VCPU_ID],
  [C.KVM_CAP_IMMEDIATE_EXIT, 1],
  [C.KVM_CAP_SYS_ATTRIBUTES, 1],
  [C.KVM_CAP_EXIT_HYPERCALL, Number(EXIT_HYPERCALL_MASK)],
  [C.KVM_CAP_USER_MEMORY2, since('6.8')],
  [C.KVM_CAP_MEMORY_FAULT_INFO, since('6.8')],
  [C.KVM_CAP_MEMORY_ATTRIBUTES, (machine, type) => attributesOf(machine, type, !machine.convertsInPlace)],
  [CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES, (machine, type) => attributesOf(machine, type, machine.convertsInPlace)],
  [
    C.KVM_CAP_GUEST_MEMFD,
    (machine, type) => (machine.guestMemfd && (type === undefined || takesGuestMemfd(machine, type)) ? 1 : 0),
  ],
  [C.KVM_CAP_VM_TYPES, (machine) => (machine.knowsVmTypes ? machine.vmTypes : 0)],
  [C.KVM_CAP_PRE_FAULT_MEMORY, (machine) => (machine.profile.preFault && machine.twoDimensionalPaging ? 1 : 0)],
  [C.KVM_CAP_GUEST_MEMFD_FLAGS, guestMemfdFlags],
]);

function attributesOf(machine: KvmMachine, type: number | undefined, here: boolean): number {
  return here && machine.memoryAttributes && mayBePrivate(machine, type) ? ATTRIBUTE_PRIVATE : 0;
}

const mayBePrivate = (machine: KvmMachine, type: number | undefined): boolean =>
  type === undefined || machine.hasPrivateMemory(type);

/** @param type that of the VM; absent for /dev/kvm. */
export function checkExtension(machine: KvmMachine, capability: bigint, type?: number): number {
  const answer = capability <= 0xffffn ? TABLE.get(Number(capability)) : undefined;
  if (answer === undefined) return 0;
  return typeof answer === 'number' ? answer : answer(machine, type);
}

/** KVM_CREATE_VM takes the type. */
export const isVmType = (machine: KvmMachine, type: bigint): boolean =>
  type === BigInt(VM_DEFAULT) || (type < 32n && (machine.vmTypes & (1 << Number(type))) !== 0);
