/** Attributes of a vCPU: the offset of its time-stamp counter. arch/x86/kvm/x86.c, kvm_vcpu_ioctl_device_attr */
import {
  KVM_GET_DEVICE_ATTR,
  KVM_HAS_DEVICE_ATTR,
  KVM_SET_DEVICE_ATTR,
  KVM_VCPU_TSC,
  kvm_device_attr,
} from '../../../uapi/kvm-device.ts';
import { EFAULT, ENXIO } from '../../errno.ts';
import type { X64Vcpu } from './vcpu.ts';

const TSC = KVM_VCPU_TSC.value;

function set({ cpu, vm }: X64Vcpu, addr: bigint): number {
  const bytes = vm.process.user.read(addr, 8);
  if (bytes === undefined) return -EFAULT;
  cpu.tscOffset = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  return 0;
}

function get({ cpu, vm }: X64Vcpu, addr: bigint): number {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, cpu.tscOffset, true);
  return vm.process.user.write(addr, bytes) ? 0 : -EFAULT;
}

/** Undefined for a request that is about something else. */
export function vcpuAttribute(vcpu: X64Vcpu, request: number, arg: bigint): number | undefined {
  const isSet = request === KVM_SET_DEVICE_ATTR.request;
  const isGet = request === KVM_GET_DEVICE_ATTR.request;
  if (!isSet && !isGet && request !== KVM_HAS_DEVICE_ATTR.request) return undefined;
  const struct = vcpu.vm.process.user.read(arg, kvm_device_attr.size);
  if (struct === undefined) return -EFAULT;
  const { group, attr, addr } = kvm_device_attr.decode(struct);
  if (group !== TSC.KVM_VCPU_TSC_CTRL || attr !== BigInt(TSC.KVM_VCPU_TSC_OFFSET)) return -ENXIO;
  return isSet ? set(vcpu, BigInt(addr)) : isGet ? get(vcpu, BigInt(addr)) : 0;
}
