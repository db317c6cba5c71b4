/** Requests of a VM that only arm64 has. arch/arm64/kvm/arm.c, kvm_arch_vm_ioctl */
import {
  KVM_ARM_PREFERRED_TARGET,
  KVM_ARM_TARGET,
  KVM_ARM_VM_SMCCC,
  KVM_CREATE_IRQCHIP,
  KVM_HAS_DEVICE_ATTR,
  KVM_SET_DEVICE_ATTR,
  kvm_device_attr,
  kvm_smccc_filter,
  kvm_vcpu_init,
} from '../../../uapi/index.ts';
import { EFAULT, EINVAL, ENXIO } from '../../errno.ts';
import type { Arm64Machine } from './machine.ts';
import type { Arm64Vm } from './vm.ts';

const { KVM_ARM_VM_SMCCC_CTRL, KVM_ARM_VM_SMCCC_FILTER } = KVM_ARM_VM_SMCCC.value;
const AT = kvm_device_attr.offsets;
const FILTER = kvm_smccc_filter.offsets;

function deviceAttribute(vm: Arm64Vm, request: number, arg: bigint): number {
  const { user } = vm.process;
  const bytes = user.read(arg, kvm_device_attr.size);
  if (bytes === undefined) return -EFAULT;
  const attr = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (attr.getUint32(AT.group, true) !== KVM_ARM_VM_SMCCC_CTRL) return -ENXIO;
  if (attr.getBigUint64(AT.attr, true) !== BigInt(KVM_ARM_VM_SMCCC_FILTER)) return -ENXIO;
  if (request === KVM_HAS_DEVICE_ATTR.request) return 0;
  const filter = user.read(attr.getBigUint64(AT.addr, true), kvm_smccc_filter.size);
  if (filter === undefined) return -EFAULT;
  const view = new DataView(filter.buffer, filter.byteOffset, filter.byteLength);
  const base = view.getUint32(FILTER.base, true);
  const count = view.getUint32(FILTER.nr_functions, true);
  return vm.filter.set(base, count, view.getUint8(FILTER.action), filter.subarray(FILTER.pad), vm.hasRunOnce);
}

/** kvm_pkvm_ioctl_allowed: of a protected VM only those whose capability it has. */
const PROTECTED: ReadonlySet<number> = new Set([KVM_ARM_PREFERRED_TARGET.request, KVM_CREATE_IRQCHIP.request]);

/** Unlike on x86-64, what nobody knows is EINVAL. */
export function vmRequest(machine: Arm64Machine, vm: Arm64Vm, request: number, arg: bigint): number {
  if (machine.isProtected(vm.type) && !PROTECTED.has(request)) return -EINVAL;
  switch (request) {
    case KVM_ARM_PREFERRED_TARGET.request: {
      const init = kvm_vcpu_init.encode({ target: KVM_ARM_TARGET.value.KVM_ARM_TARGET_GENERIC_V8 });
      return vm.process.user.write(arg, init) ? 0 : -EFAULT;
    }
    case KVM_CREATE_IRQCHIP.request:
      return -ENXIO;
    case KVM_SET_DEVICE_ATTR.request:
    case KVM_HAS_DEVICE_ATTR.request:
      return deviceAttribute(vm, request, arg);
    default:
      return -EINVAL;
  }
}
