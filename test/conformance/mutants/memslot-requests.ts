/** Faults for a 7.3 kernel, one at a time: memslots: what a request may ask for, VMs and capabilities. */
import type { Mutant } from './mutant.ts';

const MAIN = 'virt/kvm/kvm_main.c';
const X86 = 'arch/x86/kvm/x86.c';

export const MEMSLOT_REQUEST_MUTANTS: readonly Mutant[] = [
  {
    name: 'flags: an unknown bit is let through',
    file: MAIN,
    original: 'if (mem->flags & ~valid_flags)',
    replacement: 'if (mem->flags & ~(valid_flags | 8))',
    expected: 'memslot/flags/each_unknown_flag_is_EINVAL/REGION2',
  },
  {
    name: 'flags: internal bits are let through',
    file: MAIN,
    original: 'if (mem->flags & ~valid_flags)',
    replacement: 'if (mem->flags & 0xffff & ~valid_flags)',
    expected: 'memslot/flags/each_unknown_flag_is_EINVAL/REGION2',
  },
  {
    name: 'flags: GUEST_MEMFD goes with LOG_DIRTY_PAGES',
    file: MAIN,
    original: 'if (mem->flags & KVM_MEM_GUEST_MEMFD)\n\t\tvalid_flags &= ~KVM_MEM_LOG_DIRTY_PAGES;',
    replacement: 'if (0)\n\t\tvalid_flags &= ~KVM_MEM_LOG_DIRTY_PAGES;',
    expected: 'memslot/flags/GUEST_MEMFD_goes_with_no_other_flag',
  },
  {
    name: 'flags: GUEST_MEMFD goes with READONLY',
    file: MAIN,
    original: 'if (kvm_arch_has_readonly_mem(kvm) &&\n\t    !(mem->flags & KVM_MEM_GUEST_MEMFD))',
    replacement: 'if (kvm_arch_has_readonly_mem(kvm))',
    expected: 'memslot/flags/GUEST_MEMFD_goes_with_no_other_flag',
  },
  {
    name: 'flags: READONLY is not known',
    file: MAIN,
    original: 'if (kvm_arch_has_readonly_mem(kvm) &&\n\t    !(mem->flags & KVM_MEM_GUEST_MEMFD))',
    replacement: 'if (0)',
    expected: 'memslot/flags/LOG_DIRTY_PAGES_and_READONLY_are_taken',
  },
  {
    name: 'flags: the older request lets GUEST_MEMFD through',
    file: MAIN,
    original: 'if (ioctl == KVM_SET_USER_MEMORY_REGION &&\n\t\t    (mem.flags & ~KVM_SET_USER_MEMORY_REGION_V1_FLAGS))',
    replacement: 'if (0)',
    expected: 'memslot/flags/older_request_does_not_know_GUEST_MEMFD',
  },
  {
    name: 'checks: an unaligned size is let through',
    file: MAIN,
    original:
      'if ((mem->memory_size & (PAGE_SIZE - 1)) ||\n\t    (mem->memory_size != (unsigned long)mem->memory_size))',
    replacement: 'if (0)',
    expected: 'memslot/checks/unaligned_size_is_EINVAL',
  },
  {
    name: 'checks: an unaligned gpa is let through',
    file: MAIN,
    original: 'if (mem->guest_phys_addr & (PAGE_SIZE - 1))',
    replacement: 'if (0)',
    expected: 'memslot/checks/unaligned_gpa_is_EINVAL',
  },
  {
    name: 'checks: an unaligned hva is let through',
    file: MAIN,
    original:
      'if ((mem->userspace_addr & (PAGE_SIZE - 1)) ||\n\t    (mem->userspace_addr != untagged_addr(mem->userspace_addr)) ||\n\t     !access_ok((void __user *)(unsigned long)mem->userspace_addr,\n\t\t\tmem->memory_size))',
    replacement: 'if (!access_ok((void __user *)(unsigned long)mem->userspace_addr, mem->memory_size))',
    expected: 'memslot/checks/unaligned_hva_is_EINVAL',
  },
  {
    name: 'checks: an hva of the kernel is let through',
    file: MAIN,
    original:
      'if ((mem->userspace_addr & (PAGE_SIZE - 1)) ||\n\t    (mem->userspace_addr != untagged_addr(mem->userspace_addr)) ||\n\t     !access_ok((void __user *)(unsigned long)mem->userspace_addr,\n\t\t\tmem->memory_size))',
    replacement: 'if (mem->userspace_addr & (PAGE_SIZE - 1))',
    expected: 'memslot/checks/hva_of_the_kernel_is_EINVAL',
  },
  {
    name: 'checks: only the start of the hva range is looked at',
    file: MAIN,
    original:
      'if ((mem->userspace_addr & (PAGE_SIZE - 1)) ||\n\t    (mem->userspace_addr != untagged_addr(mem->userspace_addr)) ||\n\t     !access_ok((void __user *)(unsigned long)mem->userspace_addr,\n\t\t\tmem->memory_size))',
    replacement:
      'if ((mem->userspace_addr & (PAGE_SIZE - 1)) ||\n\t    !access_ok((void __user *)(unsigned long)mem->userspace_addr, 1))',
    expected: 'memslot/checks/hva_range_may_end_where_user_space_ends',
  },
  {
    name: 'checks: an unaligned offset is let through',
    file: MAIN,
    original:
      '(mem->guest_memfd_offset & (PAGE_SIZE - 1) ||\n\t     mem->guest_memfd_offset + mem->memory_size < mem->guest_memfd_offset)',
    replacement: '(mem->guest_memfd_offset + mem->memory_size < mem->guest_memfd_offset)',
    expected: 'memslot/binding/unaligned_offset_is_EINVAL',
  },
  {
    name: 'checks: an offset that wraps is let through',
    file: MAIN,
    original:
      '(mem->guest_memfd_offset & (PAGE_SIZE - 1) ||\n\t     mem->guest_memfd_offset + mem->memory_size < mem->guest_memfd_offset)',
    replacement: '(mem->guest_memfd_offset & (PAGE_SIZE - 1))',
    expected: 'memslot/binding/offset_that_wraps_is_EINVAL',
  },
  {
    name: 'checks: an address space too many',
    file: MAIN,
    original: 'if (as_id >= kvm_arch_nr_memslot_as_ids(kvm) || id >= KVM_MEM_SLOTS_NUM)',
    replacement: 'if (as_id >= KVM_MAX_NR_ADDRESS_SPACES || id >= KVM_MEM_SLOTS_NUM)',
    expected: 'memslot/address_space/one_where_memory_is_private/sw_protected_vm',
  },
  {
    name: 'checks: a slot id too many',
    file: MAIN,
    original: 'if ((u16)mem->slot >= KVM_USER_MEM_SLOTS)',
    replacement: 'if ((u16)mem->slot > KVM_USER_MEM_SLOTS)',
    expected: 'memslot/checks/slot_id_ends_at_NR_MEMSLOTS',
  },
  {
    name: 'checks: a slot id too few',
    file: MAIN,
    original: 'if ((u16)mem->slot >= KVM_USER_MEM_SLOTS)',
    replacement: 'if ((u16)mem->slot >= KVM_USER_MEM_SLOTS - 1)',
    expected: 'memslot/checks/slot_id_ends_at_NR_MEMSLOTS',
  },
  {
    name: 'checks: deleting nothing is ENOENT',
    file: MAIN,
    original: 'if (!old || !old->npages)\n\t\t\treturn -EINVAL;',
    replacement: 'if (!old || !old->npages)\n\t\t\treturn -ENOENT;',
    expected: 'memslot/checks/deleting_what_is_not_there_is_EINVAL',
  },
  {
    name: 'checks: deleting nothing is accepted',
    file: MAIN,
    original: 'if (!old || !old->npages)\n\t\t\treturn -EINVAL;',
    replacement: 'if (!old || !old->npages)\n\t\t\treturn 0;',
    expected: 'memslot/checks/deleting_what_is_not_there_is_EINVAL',
  },
  {
    name: 'checks: only the first frame must be below the limit',
    file: X86,
    original: 'if ((new->base_gfn + new->npages - 1) > kvm_mmu_max_gfn())',
    replacement: 'if (new->base_gfn > kvm_mmu_max_gfn())',
    expected: 'memslot/checks/gpa_range_ends_at_the_last_frame_that_the_host_can_map',
  },
  {
    name: 'checks: the last frame is refused',
    file: X86,
    original: 'if ((new->base_gfn + new->npages - 1) > kvm_mmu_max_gfn())',
    replacement: 'if ((new->base_gfn + new->npages) > kvm_mmu_max_gfn())',
    expected: 'memslot/checks/gpa_range_ends_at_the_last_frame_that_the_host_can_map',
  },
  {
    name: 'vm: another process may use it',
    file: MAIN,
    original: 'if (kvm->mm != current->mm || kvm->vm_dead)\n\t\treturn -EIO;\n\tswitch',
    replacement: 'if (kvm->vm_dead)\n\t\treturn -EIO;\n\tswitch',
    expected: 'kvm/process/vm_and_vcpu_of_another_process_are_EIO',
  },
  {
    name: 'vm type: bits above 31 are cut off',
    file: X86,
    original: 'return type < 32 && (kvm_caps.supported_vm_types & BIT(type));',
    replacement: 'return kvm_caps.supported_vm_types & BIT(type & 31);',
    expected: 'kvm/vm_type/type_is_the_whole_word',
  },
  {
    name: 'capability: address spaces are those of the system',
    file: MAIN,
    original: 'return kvm_arch_nr_memslot_as_ids(kvm);',
    replacement: 'return KVM_MAX_NR_ADDRESS_SPACES;',
    expected: 'kvm/capability/MULTI_ADDRESS_SPACE_is_1_where_memory_is_private/sw_protected_vm',
  },
  {
    name: 'capability: flags of guest_memfd are those of the system',
    file: MAIN,
    original: 'return kvm_gmem_get_supported_flags(kvm);',
    replacement: 'return kvm_gmem_get_supported_flags(NULL);',
    expected: 'guest_memfd/create/each_flag_is_taken_as_its_capability_says/sw_protected_vm',
  },
  {
    name: 'dev: an argument of GET_API_VERSION is ignored',
    file: MAIN,
    original: 'if (arg)\n\t\t\tgoto out;\n\t\tr = KVM_API_VERSION;',
    replacement: 'if (0)\n\t\t\tgoto out;\n\t\tr = KVM_API_VERSION;',
    expected: 'kvm/ioctl/argument_where_there_is_none_is_EINVAL',
  },
  {
    name: 'vcpu: another process may use it',
    file: MAIN,
    original: 'if (vcpu->kvm->mm != current->mm || vcpu->kvm->vm_dead)\n\t\treturn -EIO;\n\n\tif (unlikely',
    replacement: 'if (vcpu->kvm->vm_dead)\n\t\treturn -EIO;\n\n\tif (unlikely',
    expected: 'kvm/process/vm_and_vcpu_of_another_process_are_EIO',
  },
];
