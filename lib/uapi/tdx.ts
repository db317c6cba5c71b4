/** TDX: the commands of KVM_MEMORY_ENCRYPT_OP on VMs and vCPUs, since 6.16. Source: arch/x86/include/uapi/asm/kvm.h. */
import { address, array, named, u64 } from './fields.ts';
import { kvm_cpuid_entry2, kvm_cpuid2 } from './kvm-x86-cpuid.ts';
import { struct } from './layout.ts';
import { defineLayout, defineNames } from './registry.ts';

const x86 = { arch: 'x86', source: 'arch/x86/include/uapi/asm/kvm.h' } as const;

/** CAPABILITIES, INIT_VM and FINALIZE_VM are for the VM, the others for a vCPU. */
export const KVM_TDX = defineNames(
  'KVM_TDX',
  'values',
  {
    KVM_TDX_CAPABILITIES: 0,
    KVM_TDX_INIT_VM: 1,
    KVM_TDX_INIT_VCPU: 2,
    KVM_TDX_INIT_MEM_REGION: 3,
    KVM_TDX_FINALIZE_VM: 4,
    KVM_TDX_GET_CPUID: 5,
  },
  'x86',
);

/** kvm_tdx_cmd.flags of INIT_MEM_REGION. */
export const KVM_TDX_CMD_FLAG = defineNames('KVM_TDX_CMD_FLAG', 'bits', { KVM_TDX_MEASURE_MEMORY_REGION: 0x1 }, 'x86');

/** `data` is a pointer or a value, by command. `hw_error` must be 0 on entry and is the TDX module's code afterwards. */
export const kvm_tdx_cmd = defineLayout(
  struct('kvm_tdx_cmd', { id: named.u32(KVM_TDX), flags: named.u32(KVM_TDX_CMD_FLAG), data: u64, hw_error: u64 }, x86),
);

/** Too few entries for the CPUID leaves: E2BIG. */
export const kvm_tdx_capabilities = defineLayout(
  struct(
    'kvm_tdx_capabilities',
    {
      supported_attrs: u64,
      supported_xfam: u64,
      kernel_tdvmcallinfo_1_r11: u64,
      user_tdvmcallinfo_1_r11: u64,
      kernel_tdvmcallinfo_1_r12: u64,
      user_tdvmcallinfo_1_r12: u64,
      reserved: array(u64, 250),
      cpuid: kvm_cpuid2,
    },
    { ...x86, flexible: { name: 'cpuid.entries', element: kvm_cpuid_entry2, count: 'cpuid.nent' } },
  ),
);

/** The three mr fields are SHA-384 digests. */
export const kvm_tdx_init_vm = defineLayout(
  struct(
    'kvm_tdx_init_vm',
    {
      attributes: u64,
      xfam: u64,
      mrconfigid: array(u64, 6),
      mrowner: array(u64, 6),
      mrownerconfig: array(u64, 6),
      reserved: array(u64, 12),
      cpuid: kvm_cpuid2,
    },
    { ...x86, flexible: { name: 'cpuid.entries', element: kvm_cpuid_entry2, count: 'cpuid.nent' } },
  ),
);

/** Rewritten by what was done. `gpa` in bytes, without the shared bit. */
export const kvm_tdx_init_mem_region = defineLayout(
  struct('kvm_tdx_init_mem_region', { source_addr: address, gpa: address, nr_pages: address }, x86),
);
