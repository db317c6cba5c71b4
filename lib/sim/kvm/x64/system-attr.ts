/** Attributes of /dev/kvm: what SEV offers. arch/x86/kvm/x86.c, kvm_x86_dev_get_attr; arch/x86/kvm/svm/sev.c, sev_dev_get_attr */
import { KVM_X86_GRP, KVM_X86_SEV_ATTR, KVM_X86_SYSTEM_ATTR, kvm_device_attr } from '../../../uapi/kvm-device.ts';
import { EFAULT, ENXIO } from '../../errno.ts';
import type { Process } from '../../process.ts';
import { supportedVmsaFeatures } from '../../sev/sev-base.ts';
import { SNP_POLICY_BITS } from '../../sev/snp-vm.ts';
import type { X64Machine } from './machine.ts';

const ATTR = KVM_X86_SEV_ATTR.value;
const XCOMP = BigInt(KVM_X86_SYSTEM_ATTR.value.KVM_X86_XCOMP_GUEST_SUPP);

/** The value, or undefined for what there is not. The newer two came after 6.18. */
function attribute(machine: X64Machine, group: number, attr: bigint): bigint | undefined {
  // No extended state: the processor has no XSAVE.
  if (group === KVM_X86_GRP.value.KVM_X86_GRP_SYSTEM) return attr === XCOMP ? 0n : undefined;
  if (group !== KVM_X86_GRP.value.KVM_X86_GRP_SEV || !machine.sev) return undefined;
  const snp = machine.technologies.has('sev-snp');
  switch (Number(attr)) {
    case ATTR.KVM_X86_SEV_VMSA_FEATURES:
      return supportedVmsaFeatures(machine.technologies.has('sev-es'));
    case ATTR.KVM_X86_SNP_POLICY_BITS:
      return machine.since('7.0') ? (snp ? SNP_POLICY_BITS : 0n) : undefined;
    case ATTR.KVM_X86_SEV_SNP_REQ_CERTS:
      return machine.since('7.0') ? (snp ? 1n : 0n) : undefined;
    default:
      return undefined;
  }
}

function read(process: Process, arg: bigint): DataView | undefined {
  const bytes = process.user.read(arg, kvm_device_attr.size);
  return bytes === undefined ? undefined : new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const AT = kvm_device_attr.offsets;
const wanted = (machine: X64Machine, struct: DataView): bigint | undefined =>
  attribute(machine, struct.getUint32(AT.group, true), struct.getBigUint64(AT.attr, true));

export function hasSystemAttr(machine: X64Machine, process: Process, arg: bigint): number {
  const struct = read(process, arg);
  if (struct === undefined) return -EFAULT;
  return wanted(machine, struct) === undefined ? -ENXIO : 0;
}

export function getSystemAttr(machine: X64Machine, process: Process, arg: bigint): number {
  const struct = read(process, arg);
  if (struct === undefined) return -EFAULT;
  const value = wanted(machine, struct);
  if (value === undefined) return -ENXIO;
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return process.user.write(struct.getBigUint64(AT.addr, true), bytes) ? 0 : -EFAULT;
}
