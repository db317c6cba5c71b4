/** Requests of a VM that only x86-64 has. arch/x86/kvm/x86.c, kvm_arch_vm_ioctl */
import { KVM_SET_TSS_ADDR } from '../../../uapi/index.ts';
import { EFAULT, EINVAL, ENOTTY } from '../../errno.ts';
import type { Vm } from '../vm.ts';

/** The three pages of the task-state segment must end below 4 GiB. */
const LAST_TSS = 0xffff_d000n;
const KVM_SET_IDENTITY_MAP_ADDR = 0x4008ae48;

export function vmRequest(vm: Vm, request: number, arg: bigint): number {
  switch (request) {
    // The segment is for processors that cannot run real-mode guests by themselves; there it would take a slot.
    case KVM_SET_TSS_ADDR.request:
      return arg > LAST_TSS ? -EINVAL : 0;
    // Where a page table for guests without paging goes, on processors that need one. Not once there are vCPUs.
    case KVM_SET_IDENTITY_MAP_ADDR:
      if (vm.process.user.read(arg, 8) === undefined) return -EFAULT;
      return vm.vcpuCount > 0 ? -EINVAL : 0;
    default:
      return -ENOTTY;
  }
}
