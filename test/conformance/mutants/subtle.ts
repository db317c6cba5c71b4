/** Faults for a 7.3 kernel, one at a time: those that break what a caller seldom looks at. */
import type { Mutant } from './mutant.ts';

const MAIN = 'virt/kvm/kvm_main.c';
const MMU = 'arch/x86/kvm/mmu/mmu.c';
const HOST = 'include/linux/kvm_host.h';
const GMEM = 'virt/kvm/guest_memfd.c';

export const SUBTLE_MUTANTS: readonly Mutant[] = [
  {
    name: 'contents: a host fault clears the page again',
    file: GMEM,
    original:
      'clear_highpage(folio_page(folio, 0));\n\t\tfolio_mark_uptodate(folio);\n\t}\n\n\tvmf->page = folio_file_page',
    replacement: 'clear_highpage(folio_page(folio, 0));\n\t}\n\n\tvmf->page = folio_file_page',
    expected: 'guest_memfd/guest/host_and_guest_see_each_others_writes',
  },
  {
    name: 'contents: a guest fault clears the page again',
    file: GMEM,
    original: 'clear_highpage(folio_page(folio, 0));\n\t\tfolio_mark_uptodate(folio);\n\t}\n\n#ifdef',
    replacement: 'clear_highpage(folio_page(folio, 0));\n\t}\n\n#ifdef',
    expected: 'private_memory/round_trip/stale_private_data_shows_again',
  },
  {
    name: 'contents: only the first half of a page is cleared for the guest',
    file: GMEM,
    original: 'clear_highpage(folio_page(folio, 0));\n\t\tfolio_mark_uptodate(folio);\n\t}\n\n#ifdef',
    replacement: 'memset(folio_address(folio), 0, PAGE_SIZE / 2);\n\t\tfolio_mark_uptodate(folio);\n\t}\n\n#ifdef',
    expected: 'private_memory/contents/freed_pages_come_back_zeroed',
  },
  {
    name: 'contents: allocated pages count as cleared',
    file: GMEM,
    original: 'index = folio_next_index(folio);\n\n\t\tfolio_unlock(folio);',
    replacement: 'index = folio_next_index(folio);\n\n\t\tfolio_mark_uptodate(folio);\n\t\tfolio_unlock(folio);',
    expected: 'private_memory/contents/freed_pages_that_are_allocated_again_are_zero',
  },
  {
    name: 'allocate: a pending signal is not looked at',
    file: GMEM,
    original:
      'if (signal_pending(current)) {\n\t\t\tr = -EINTR;\n\t\t\tbreak;\n\t\t}\n\n\t\tfolio = kvm_gmem_get_folio',
    replacement: 'folio = kvm_gmem_get_folio',
    expected: 'guest_memfd/allocate/signal_ends_it_with_EINTR',
  },
  {
    name: 'fallocate: the times of the file stay',
    file: GMEM,
    original: 'if (!ret)\n\t\tfile_modified(file);',
    replacement: '(void)file;',
    expected: 'guest_memfd/fallocate/accepted_calls_move_mtime_and_refused_ones_do_not',
  },
  {
    name: 'fallocate: refused calls move the times',
    file: GMEM,
    original: 'if (!ret)\n\t\tfile_modified(file);',
    replacement: 'file_modified(file);',
    expected: 'guest_memfd/fallocate/accepted_calls_move_mtime_and_refused_ones_do_not',
  },
  {
    name: 'policy: pages come from any node',
    file: GMEM,
    original: 'mapping_gfp_mask(inode->i_mapping), policy);',
    replacement: 'mapping_gfp_mask(inode->i_mapping), NULL);',
    expected: 'guest_memfd/numa/pages_come_from_the_node_that_is_bound/file_with_INIT_SHARED',
  },
  {
    name: 'policy: every page has that of the first',
    file: GMEM,
    original: 'pgoff_t pgoff = linear_page_index(vma, addr);',
    replacement: 'pgoff_t pgoff = 0;',
    expected: 'guest_memfd/numa/policies_of_ranges/file_with_INIT_SHARED',
  },
  {
    name: 'release: the VM is kept',
    file: GMEM,
    original: 'kfree(f);\n\n\tkvm_put_kvm(kvm);',
    replacement: 'kfree(f);\n\n\t(void)kvm;',
    expected: 'kvm/lifetime/vm_is_gone_with_its_last_descriptor',
  },
  {
    name: 'poison: the guest keeps its mapping',
    file: GMEM,
    original: 'end = start + folio_nr_pages(folio);',
    replacement: 'end = start;',
    expected: 'memory_fault/poison/page_is_taken_from_a_guest_that_uses_it',
  },
  {
    name: 'poison: the page is given out',
    file: GMEM,
    original: 'if (folio_test_hwpoison(folio)) {',
    replacement: 'if (false) {',
    expected: 'memory_fault/poison/poisoned_page_is_EHWPOISON_and_its_neighbours_are_well',
  },
  {
    name: 'poison: the error is EFAULT',
    file: GMEM,
    original: 'return ERR_PTR(-EHWPOISON);',
    replacement: 'return ERR_PTR(-EFAULT);',
    expected: 'memory_fault/poison/poisoned_page_is_EHWPOISON_and_its_neighbours_are_well',
  },
  {
    name: 'attributes: only the first slot of a range is zapped',
    file: MAIN,
    original: 'ret |= range->handler(kvm, &gfn_range);\n\t\t}\n\t}\n\n\tif (range->flush_on_ret && ret)',
    replacement:
      'ret |= ret ? true : range->handler(kvm, &gfn_range);\n\t\t}\n\t}\n\n\tif (range->flush_on_ret && ret)',
    expected: 'attributes/slots/range_that_begins_in_one_slot_and_ends_in_another',
  },
  {
    name: 'attributes: the last frame of a slot stays mapped',
    file: MAIN,
    original: 'gfn_range.end = min(range->end, slot->base_gfn + slot->npages);',
    replacement: 'gfn_range.end = min(range->end, slot->base_gfn + slot->npages - 1);',
    expected: 'attributes/slots/range_that_begins_in_one_slot_and_ends_in_another',
  },
  {
    name: 'attributes: the TLB is not flushed',
    file: MAIN,
    original:
      '.handler = kvm_pre_set_memory_attributes,\n\t\t.on_lock = kvm_mmu_invalidate_start,\n\t\t.flush_on_ret = true,',
    replacement:
      '.handler = kvm_pre_set_memory_attributes,\n\t\t.on_lock = kvm_mmu_invalidate_start,\n\t\t.flush_on_ret = false,',
    expected: 'race/convert/reader_sees_the_new_side_once_the_call_returned',
  },
  {
    name: 'attributes: the first frame beyond the slot ends the change',
    file: MAIN,
    original: 'for (i = start; i < end; i++) {\n\t\tr = xa_err',
    replacement:
      'for (i = start; i < end && (i == start || gfn_to_memslot(kvm, i - 1) || !gfn_to_memslot(kvm, start)); i++) {\n\t\tr = xa_err',
    expected: 'attributes/slots/range_over_slots_and_holes',
  },
  {
    name: 'checks: a slot of 2^31 pages is let through',
    file: MAIN,
    original: '(mem->memory_size >> PAGE_SHIFT) > KVM_MEM_MAX_NR_PAGES)',
    replacement: 'false)',
    expected: 'memslot/checks/more_than_2_to_31_pages_are_EINVAL',
  },
  {
    name: 'checks: stating a slot as it is is EEXIST',
    file: MAIN,
    original: 'else /* Nothing to change. */\n\t\t\treturn 0;',
    replacement: 'else /* Nothing to change. */\n\t\t\treturn -EEXIST;',
    expected: 'memslot/change/restating_a_slot_is_accepted',
  },
  {
    name: 'change: moves downwards are not carried out',
    file: MAIN,
    original: 'if (base_gfn != old->base_gfn)\n\t\t\tchange = KVM_MR_MOVE;',
    replacement: 'if (base_gfn > old->base_gfn)\n\t\t\tchange = KVM_MR_MOVE;',
    expected: 'memslot/guest/moved_slot_takes_its_memory_along',
  },
  {
    name: 'fault: the errno is EINVAL',
    file: MMU,
    original:
      'if (!kvm_slot_has_gmem(fault->slot)) {\n\t\tkvm_mmu_prepare_memory_fault_exit(vcpu, fault);\n\t\treturn -EFAULT;',
    replacement:
      'if (!kvm_slot_has_gmem(fault->slot)) {\n\t\tkvm_mmu_prepare_memory_fault_exit(vcpu, fault);\n\t\treturn -EINVAL;',
    expected: 'memory_fault/exits/read_of_private_memory_without_a_file',
  },
  {
    name: 'fault: the exit is never private',
    file: HOST,
    original: 'vcpu->run->memory_fault.flags |= KVM_MEMORY_EXIT_FLAG_PRIVATE;',
    replacement: ';',
    expected: 'memory_fault/exits/read_of_private_memory_without_a_file',
  },
  {
    name: 'fault: the gpa has 32 bits',
    file: HOST,
    original: 'vcpu->run->memory_fault.gpa = gpa;',
    replacement: 'vcpu->run->memory_fault.gpa = (u32)gpa;',
    expected: 'memory_fault/exits/read_of_private_memory_without_a_file',
  },
  {
    name: 'fault: the neighbour decides about the side',
    file: MMU,
    original: 'kvm_mem_is_private(vcpu->kvm, gpa_to_gfn(cr2_or_gpa)))',
    replacement: 'kvm_mem_is_private(vcpu->kvm, gpa_to_gfn(cr2_or_gpa) + 1))',
    expected: 'private_memory/contents/sides_differ_at_the_boundary_of_an_attribute',
  },
  {
    name: 'fault: mappings made during an invalidation stay',
    file: MAIN,
    original: 'kvm->mmu_invalidate_seq++;\n\tsmp_wmb();',
    replacement: 'smp_wmb();',
    expected: 'race/convert/writer_is_gone_from_the_shared_side_once_the_call_returned',
  },
  {
    name: 'pre-fault: the gpa may be unaligned',
    file: MAIN,
    original: 'if (!PAGE_ALIGNED(range->gpa) ||\n',
    replacement: 'if (\n',
    expected: 'pre_fault/checks/unaligned_gpa_is_EINVAL',
  },
  {
    name: 'pre-fault: a range may wrap',
    file: MAIN,
    original: 'range->gpa + range->size <= range->gpa)',
    replacement: '!range->size)',
    expected: 'pre_fault/checks/range_that_wraps_is_EINVAL',
  },
  {
    name: 'pre-fault: every page is taken for shared',
    file: MMU,
    original: 'error_code |= PFERR_PRIVATE_ACCESS;\n\telse\n\t\tdirect_bits',
    replacement: ';\n\telse\n\t\tdirect_bits',
    expected: 'pre_fault/progress/private_range_is_done_to_its_end',
  },
  {
    name: 'capability: guest_memfd is not told',
    file: MAIN,
    original: 'case KVM_CAP_GUEST_MEMFD:\n\t\treturn 1;',
    replacement: 'case KVM_CAP_GUEST_MEMFD:\n\t\treturn 0;',
    expected: 'kvm/capability/GUEST_MEMFD_says_what_a_slot_takes',
  },
  {
    name: 'capability: attributes are told of VMs alone',
    file: MAIN,
    original: 'if (!kvm || kvm_arch_has_private_mem(kvm))\n\t\treturn KVM_MEMORY_ATTRIBUTE_PRIVATE;',
    replacement: 'if (kvm && kvm_arch_has_private_mem(kvm))\n\t\treturn KVM_MEMORY_ATTRIBUTE_PRIVATE;',
    expected: 'attributes/capability/VM_with_private_memory_has_PRIVATE',
  },
];
