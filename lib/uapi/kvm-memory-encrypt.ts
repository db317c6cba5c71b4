/**
 * KVM_MEMORY_ENCRYPT_OP, the one request behind all launch commands of SEV (on the VM) and TDX (on the VM and on vCPUs).
 * Source: include/uapi/linux/kvm.h.
 */
import { fd, u32, u64 } from './fields.ts';
import { struct } from './layout.ts';
import { defineIoctl } from './registry.ts';

/**
 * What kvm_sev_cmd and kvm_tdx_cmd share: which of the two a VM takes, the request does not say. Encode with those; this one is
 * for reading traces. `flags` is unused by SEV; the last two words are hw_error for TDX.
 */
export const kvm_memory_encrypt_cmd = struct(
  'kvm_memory_encrypt_cmd',
  { id: u32, flags: u32, data: u64, error: u32, sev_fd: fd },
  { cType: 'struct kvm_sev_cmd', cNames: { flags: 'pad0' }, arch: 'x86', source: 'arch/x86/include/uapi/asm/kvm.h' },
);

/** The number encodes the size of a long, 8 bytes, but the kernel reads and writes 24. A null argument asks whether SEV is there. */
export const KVM_MEMORY_ENCRYPT_OP = defineIoctl('KVM_MEMORY_ENCRYPT_OP', {
  nr: 0xba,
  direction: 'read-write',
  on: ['vm', 'vcpu'],
  arg: kvm_memory_encrypt_cmd,
  encodedSize: 8,
  realLength: () => kvm_memory_encrypt_cmd.size,
  pointers: ['data'],
  arch: 'x86',
  since: '4.16',
});
