/** Requests of /dev/kvm that only x86-64 has. arch/x86/kvm/x86.c, kvm_arch_dev_ioctl */
import {
  KVM_GET_DEVICE_ATTR,
  KVM_GET_MSR_INDEX_LIST,
  KVM_GET_SUPPORTED_CPUID,
  KVM_HAS_DEVICE_ATTR,
} from '../../../uapi/index.ts';
import { E2BIG, EFAULT } from '../../errno.ts';
import type { Process } from '../../process.ts';
import { supportedCpuid, supportedMsrs } from './features.ts';
import { MAX_CPUID_ENTRIES } from './limits.ts';
import type { X64Machine } from './machine.ts';
import { getSystemAttr, hasSystemAttr } from './system-attr.ts';

export function deviceRequest(machine: X64Machine, process: Process, request: number, arg: bigint): number | undefined {
  if (request === KVM_GET_SUPPORTED_CPUID.request) return giveCpuid(machine, process, arg);
  if (request === KVM_GET_MSR_INDEX_LIST.request) return giveMsrIndices(process, arg);
  if (request === KVM_GET_DEVICE_ATTR.request) return getSystemAttr(machine, process, arg);
  return request === KVM_HAS_DEVICE_ATTR.request ? hasSystemAttr(machine, process, arg) : undefined;
}

function giveCpuid(machine: X64Machine, { user }: Process, arg: bigint): number {
  const header = user.read(arg, 8);
  if (header === undefined) return -EFAULT;
  const view = new DataView(header.buffer, header.byteOffset, 8);
  const room = Math.min(view.getUint32(0, true), MAX_CPUID_ENTRIES);
  const { bytes, count } = supportedCpuid(machine);
  if (room < count) return -E2BIG;
  view.setUint32(0, count, true);
  return user.write(arg + 8n, bytes) && user.write(arg, header) ? 0 : -EFAULT;
}

/** The number is told also when there is no room. */
function giveMsrIndices({ user }: Process, arg: bigint): number {
  const header = user.read(arg, 4);
  if (header === undefined) return -EFAULT;
  const view = new DataView(header.buffer, header.byteOffset, 4);
  const room = view.getUint32(0, true);
  const indices = supportedMsrs();
  view.setUint32(0, indices.length, true);
  if (!user.write(arg, header)) return -EFAULT;
  if (room < indices.length) return -E2BIG;
  return user.write(arg + 4n, new Uint8Array(indices.buffer)) ? 0 : -EFAULT;
}
