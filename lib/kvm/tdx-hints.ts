/** What usually causes a refusal of a TDX command, and the next step. From the checks of arch/x86/kvm/vmx/tdx.c. */

interface Row {
  readonly of: RegExp;
  readonly code: string;
  readonly hint: string;
}

const ROWS: readonly Row[] = [
  { of: /CAPABILITIES$/, code: 'E2BIG', hint: 'there are more CPUID leaves than room: ask again with more' },
  { of: /INIT_VM$/, code: 'EBUSY', hint: 'a vCPU exists: INIT_VM comes before the first' },
  { of: /INIT_VM$/, code: 'ENOSPC', hint: 'no memory key is left for another trust domain: end one' },
  { of: /INIT_VM$/, code: 'EAGAIN', hint: 'the processor had no entropy at that moment: again' },
  {
    of: /INIT_VM$/,
    code: 'EINVAL',
    hint: 'done already, or attributes, xfam or a CPUID leaf that KVM_TDX_CAPABILITIES does not offer; leaf 0x80000008 must say an address width of 48 or 52',
  },
  {
    of: /INIT_VCPU$/,
    code: 'EINVAL',
    hint: 'INIT_VM comes first, FINALIZE_VM later, INIT_VCPU once; and KVM_SET_CPUID2 with x2APIC before it',
  },
  {
    of: /INIT_MEM_REGION$/,
    code: 'EINVAL',
    hint: 'INIT_VM and INIT_VCPU come first, FINALIZE_VM later; addresses page aligned; gpa in a memslot with a guest_memfd, and its memory attribute PRIVATE',
  },
  { of: /INIT_MEM_REGION$/, code: 'EFAULT', hint: 'the source cannot be read, or the guest_memfd is closed' },
  { of: /INIT_MEM_REGION$/, code: 'EIO', hint: 'the page is there already: each is added once' },
  { of: /FINALIZE_VM$/, code: 'EINVAL', hint: 'finalised already, or INIT_VM has not been' },
  { of: /FINALIZE_VM$/, code: 'EBUSY', hint: 'the module was busy: again' },
  { of: /GET_CPUID$/, code: 'EINVAL', hint: 'INIT_VM comes first, FINALIZE_VM later' },
  { of: /./, code: 'ENOTTY', hint: 'this VM is no trust domain: KVM_CREATE_VM with type 5 makes one' },
];

export function tdxHint(command: string, code: string): string | undefined {
  return ROWS.find((row) => row.of.test(command) && row.code === code)?.hint;
}
