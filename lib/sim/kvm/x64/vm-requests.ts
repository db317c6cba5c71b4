/** Requests of a VM that only x86-64 has. arch/x86/kvm/x86.c, kvm_arch_vm_ioctl */
import {
  KVM_MEMORY_ENCRYPT_OP,
  KVM_MEMORY_ENCRYPT_REG_REGION,
  KVM_MEMORY_ENCRYPT_UNREG_REGION,
  KVM_SET_TSS_ADDR,
  kvm_enc_region,
} from '../../../uapi/index.ts';
import { KVM_CAP } from '../../../uapi/kvm-caps.ts';
import { EEXIST, EFAULT, EINVAL, ENOTTY } from '../../errno.ts';
import { EXIT_HYPERCALL_MASK } from './capabilities.ts';
import type { VmTechnology } from './technology.ts';
import { VM_TDX } from './types.ts';
import type { X64Vm } from './vm.ts';

/** The three pages of the task-state segment must end below 4 GiB. */
const LAST_TSS = 0xffff_d000n;
const KVM_SET_IDENTITY_MAP_ADDR = 0x4008ae48;

export function vmRequest(vm: X64Vm, request: number, arg: bigint): number {
  switch (request) {
    // The segment is for processors that cannot run real-mode guests by themselves; there it would take a slot.
    case KVM_SET_TSS_ADDR.request:
      return arg > LAST_TSS ? -EINVAL : 0;
    // Where a page table for guests without paging goes, on processors that need one. Not once there are vCPUs.
    case KVM_SET_IDENTITY_MAP_ADDR:
      if (vm.vcpuCount > 0) return -EINVAL;
      return vm.process.user.read(arg, 8) === undefined ? -EFAULT : 0;
    case KVM_MEMORY_ENCRYPT_OP.request:
      return vm.technology?.vmCommand(arg) ?? -ENOTTY;
    case KVM_MEMORY_ENCRYPT_REG_REGION.request:
      return encRegion(vm, arg, (technology) => technology.registerRegion.bind(technology));
    case KVM_MEMORY_ENCRYPT_UNREG_REGION.request:
      return encRegion(vm, arg, (technology) => technology.unregisterRegion.bind(technology));
    default:
      return -ENOTTY;
  }
}

type Region = (address: bigint, size: bigint) => number;

/** A kvm_enc_region for a technology that may know nothing of it. */
function encRegion({ technology, process }: X64Vm, arg: bigint, choose: (technology: VmTechnology) => Region): number {
  const bytes = process.user.read(arg, kvm_enc_region.size);
  if (bytes === undefined) return -EFAULT;
  if (technology === undefined) return -ENOTTY;
  const { addr, size } = kvm_enc_region.offsets;
  const struct = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return choose(technology)(struct.getBigUint64(addr, true), struct.getBigUint64(size, true));
}

/** Interrupt routes that there can be. */
const MAX_IRQ_ROUTES = 4096n;

function splitIrqchip(vm: X64Vm, pins: bigint): number {
  if (pins > MAX_IRQ_ROUTES) return -EINVAL;
  if (vm.splitIrqchip || vm.vcpuCount > 0) return -EEXIST;
  vm.splitIrqchip = true;
  return 0;
}

/** KVM_ENABLE_CAP, kvm_vm_ioctl_enable_cap. */
export function enableCapability(vm: X64Vm, capability: number, argument: bigint): number {
  if (capability === KVM_CAP.value.KVM_CAP_SPLIT_IRQCHIP && vm.type === VM_TDX) return splitIrqchip(vm, argument);
  if (capability !== KVM_CAP.value.KVM_CAP_EXIT_HYPERCALL || (argument & ~EXIT_HYPERCALL_MASK) !== 0n) return -EINVAL;
  vm.exitHypercalls = argument;
  return 0;
}
