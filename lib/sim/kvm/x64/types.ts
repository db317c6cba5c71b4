/** VM types of x86-64 (include/uapi: KVM_X86_*_VM), as KVM_CREATE_VM takes them. */
export const VM_DEFAULT = 0;
export const VM_SW_PROTECTED = 1;
export const VM_SEV = 2;
export const VM_SEV_ES = 3;
export const VM_SNP = 4;
export const VM_TDX = 5;
/** The VM type that opts in to private memslots in a kernel of 2022: that of the TDX series of the time. */
export const VM_MEMFILE = 1;
