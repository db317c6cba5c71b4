/** Faults for a 7.3 kernel, one at a time: guest_memfd under a VM: bound to slots, invalidated, closed. */
import type { Mutant } from './mutant.ts';

const MAIN = 'virt/kvm/kvm_main.c';
const GMEM = 'virt/kvm/guest_memfd.c';

export const GUEST_MEMFD_BINDING_MUTANTS: readonly Mutant[] = [
  {
    name: 'invalidate: the offset of the slot is added',
    file: GMEM,
    original: '.start = slot->base_gfn + max(pgoff, start) - pgoff,',
    replacement: '.start = slot->base_gfn + max(pgoff, start),',
    expected: 'guest_memfd/guest_punch_hole/each_single_page',
  },
  {
    name: 'invalidate: a start before the slot is not cut',
    file: GMEM,
    original: '.start = slot->base_gfn + max(pgoff, start) - pgoff,',
    replacement: '.start = slot->base_gfn + start - pgoff,',
    expected: 'guest_memfd/guest_punch_hole/under_a_slot_far_into_the_file',
  },
  {
    name: 'invalidate: from the second page on',
    file: GMEM,
    original: '.start = slot->base_gfn + max(pgoff, start) - pgoff,',
    replacement: '.start = slot->base_gfn + max(pgoff, start) - pgoff + 1,',
    expected: 'guest_memfd/guest_punch_hole/each_single_page',
  },
  {
    name: 'invalidate: the last page is left out',
    file: GMEM,
    original: '.end = slot->base_gfn + min(pgoff + slot->npages, end) - pgoff,',
    replacement: '.end = slot->base_gfn + min(pgoff + slot->npages, end) - pgoff - 1,',
    expected: 'guest_memfd/guest_punch_hole/each_single_page',
  },
  {
    name: 'invalidate: the end is counted from the start of the file',
    file: GMEM,
    original: '.end = slot->base_gfn + min(pgoff + slot->npages, end) - pgoff,',
    replacement: '.end = slot->base_gfn + min(slot->npages, end - pgoff) - min(pgoff, slot->npages),',
    expected: 'guest_memfd/guest_punch_hole/ranges_around_and_inside_the_slot',
  },
  {
    name: 'invalidate: slots that start at the hole are missed',
    file: GMEM,
    original: 'xa_for_each_range(&f->bindings, index, slot, start, end - 1) {',
    replacement: 'xa_for_each_range(&f->bindings, index, slot, start + 1, end - 1) {',
    expected: 'guest_memfd/guest_punch_hole/each_single_page',
  },
  {
    name: 'invalidate: slots at the last page are missed',
    file: GMEM,
    original: 'xa_for_each_range(&f->bindings, index, slot, start, end - 1) {',
    replacement: 'xa_for_each_range(&f->bindings, index, slot, start, end - 2) {',
    expected: 'guest_memfd/guest_punch_hole/over_two_slots_of_one_file',
  },
  {
    name: 'invalidate: guest mappings stay',
    file: GMEM,
    original: 'flush |= kvm_mmu_unmap_gfn_range(kvm, &gfn_range);',
    replacement: 'flush |= false;',
    expected: 'guest_memfd/guest_punch_hole/each_single_page',
  },
  {
    name: 'invalidate: only the first slot',
    file: GMEM,
    original: 'flush |= kvm_mmu_unmap_gfn_range(kvm, &gfn_range);',
    replacement: 'flush |= flush ? true : kvm_mmu_unmap_gfn_range(kvm, &gfn_range);',
    expected: 'guest_memfd/guest_punch_hole/over_two_slots_of_one_file',
  },
  {
    name: 'invalidate: never ends',
    file: GMEM,
    original: 'KVM_MMU_LOCK(kvm);\n\t\tkvm_mmu_invalidate_end(kvm);',
    replacement: 'KVM_MMU_LOCK(kvm);\n\t\t(void)kvm;',
    expected: 'guest_memfd/guest_punch_hole/hole_can_be_written_again',
  },
  {
    name: 'release: guest mappings stay',
    file: GMEM,
    original:
      '__kvm_gmem_invalidate_start(f, 0, -1ul,\n\t\t\t\t    kvm_gmem_get_invalidate_filter(inode));\n\t__kvm_gmem_invalidate_end(f, 0, -1ul);',
    replacement: '(void)0;',
    expected: 'guest_memfd/lifetime/closed_file_ends_in_a_memory_fault',
  },
  {
    name: 'bind: the file of another VM is let through',
    file: GMEM,
    original: 'if (f->kvm != kvm)',
    replacement: 'if (0)',
    expected: 'memslot/binding/file_of_another_vm_is_EINVAL',
  },
  {
    name: 'bind: only the offset must be inside',
    file: GMEM,
    original: 'if (!PAGE_ALIGNED(offset) || offset + size > i_size_read(inode))',
    replacement: 'if (!PAGE_ALIGNED(offset) || offset >= i_size_read(inode))',
    expected: 'memslot/binding/range_beyond_the_file_is_EINVAL',
  },
  {
    name: 'bind: the last page is refused',
    file: GMEM,
    original: 'if (!PAGE_ALIGNED(offset) || offset + size > i_size_read(inode))',
    replacement: 'if (!PAGE_ALIGNED(offset) || offset + size >= i_size_read(inode))',
    expected: 'memslot/binding/any_aligned_range_inside_the_file_is_accepted',
  },
  {
    name: 'bind: offset and size are compared as signed numbers',
    file: GMEM,
    original: 'if (!PAGE_ALIGNED(offset) || offset + size > i_size_read(inode))',
    replacement: 'if (!PAGE_ALIGNED(offset) || (loff_t)(offset + size) > i_size_read(inode))',
    expected: 'memslot/binding/offset_just_below_2_to_63',
  },
  {
    name: 'bind: every slot starts at page 0',
    file: GMEM,
    original: 'slot->gmem.pgoff = offset >> PAGE_SHIFT;',
    replacement: 'slot->gmem.pgoff = 0;',
    expected: 'memslot/binding_ranges/neighbouring_ranges_are_accepted',
  },
  {
    name: 'bind: the offset is cut to 32 bits',
    file: GMEM,
    original: 'slot->gmem.pgoff = offset >> PAGE_SHIFT;',
    replacement: 'slot->gmem.pgoff = (u32)offset >> PAGE_SHIFT;',
    expected: 'memslot/binding_ranges/far_into_a_huge_file',
  },
  {
    name: 'bind: shared accesses do not go to the file',
    file: GMEM,
    original: 'if (kvm_gmem_supports_mmap(inode))\n\t\tslot->flags |= KVM_MEMSLOT_GMEM_ONLY;',
    replacement: 'if (0)\n\t\tslot->flags |= KVM_MEMSLOT_GMEM_ONLY;',
    expected: 'guest_memfd/guest/memory_at_userspace_addr_is_not_used',
  },
  {
    name: 'bind: shared accesses go to every file',
    file: GMEM,
    original: 'if (kvm_gmem_supports_mmap(inode))\n\t\tslot->flags |= KVM_MEMSLOT_GMEM_ONLY;',
    replacement: 'if (1)\n\t\tslot->flags |= KVM_MEMSLOT_GMEM_ONLY;',
    expected: 'guest_memfd/guest/file_without_MMAP_stays_unused_where_memory_is_shared',
  },
  {
    name: 'bind: a refused file is kept',
    file: GMEM,
    original: 'err:\n\tfput(file);\n\treturn -EINVAL;',
    replacement: 'err:\n\treturn -EINVAL;',
    expected: 'guest_memfd/lifetime/refused_bindings_do_not_keep_the_file',
  },
  {
    name: 'bind: a clash is not noticed',
    file: GMEM,
    original: 'if (!xa_empty(&f->bindings) &&\n\t    xa_find(&f->bindings, &start, end - 1, XA_PRESENT)) {',
    replacement: 'if (0) {',
    expected: 'memslot/binding_ranges/range_that_is_bound_is_refused',
  },
  {
    name: 'bind: a clash at the last page is not noticed',
    file: GMEM,
    original: 'if (!xa_empty(&f->bindings) &&\n\t    xa_find(&f->bindings, &start, end - 1, XA_PRESENT)) {',
    replacement:
      'if (!xa_empty(&f->bindings) && end - start > 1 &&\n\t    xa_find(&f->bindings, &start, end - 2, XA_PRESENT)) {',
    expected: 'memslot/binding_ranges/range_that_is_bound_is_refused',
  },
  {
    name: 'bind: a neighbour clashes',
    file: GMEM,
    original: 'if (!xa_empty(&f->bindings) &&\n\t    xa_find(&f->bindings, &start, end - 1, XA_PRESENT)) {',
    replacement: 'if (!xa_empty(&f->bindings) &&\n\t    xa_find(&f->bindings, &start, end, XA_PRESENT)) {',
    expected: 'memslot/binding_ranges/neighbouring_ranges_are_accepted',
  },
  {
    name: 'bind: a clash is EINVAL',
    file: GMEM,
    original: 'return -EEXIST;',
    replacement: 'return -EINVAL;',
    expected: 'memslot/binding_ranges/range_that_is_bound_is_refused',
  },
  {
    name: 'bind: a page too many',
    file: GMEM,
    original: 'r = xa_err(xa_store_range(&f->bindings, start, end - 1, slot, GFP_KERNEL));',
    replacement: 'r = xa_err(xa_store_range(&f->bindings, start, end, slot, GFP_KERNEL));',
    expected: 'memslot/binding_ranges/neighbouring_ranges_are_accepted',
  },
  {
    name: 'bind: only the first page',
    file: GMEM,
    original: 'r = xa_err(xa_store_range(&f->bindings, start, end - 1, slot, GFP_KERNEL));',
    replacement: 'r = xa_err(xa_store_range(&f->bindings, start, start, slot, GFP_KERNEL));',
    expected: 'memslot/binding_ranges/range_that_is_bound_is_refused',
  },
  {
    name: 'unbind: the first page stays bound',
    file: GMEM,
    original:
      'filemap_invalidate_lock(file->f_mapping);\n\txa_store_range(&f->bindings, start, end - 1, NULL, GFP_KERNEL);',
    replacement:
      'filemap_invalidate_lock(file->f_mapping);\n\txa_store_range(&f->bindings, start + 1, end - 1, NULL, GFP_KERNEL);',
    expected: 'memslot/binding_ranges/deletion_frees_exactly_its_range',
  },
  {
    name: 'unbind: a page too many',
    file: GMEM,
    original:
      'filemap_invalidate_lock(file->f_mapping);\n\txa_store_range(&f->bindings, start, end - 1, NULL, GFP_KERNEL);',
    replacement:
      'filemap_invalidate_lock(file->f_mapping);\n\txa_store_range(&f->bindings, start, end, NULL, GFP_KERNEL);',
    expected: 'memslot/binding_ranges/deletion_frees_exactly_its_range',
  },
  {
    name: 'unbind: everything',
    file: GMEM,
    original:
      'filemap_invalidate_lock(file->f_mapping);\n\txa_store_range(&f->bindings, start, end - 1, NULL, GFP_KERNEL);',
    replacement:
      'filemap_invalidate_lock(file->f_mapping);\n\txa_store_range(&f->bindings, 0, end - 1, NULL, GFP_KERNEL);',
    expected: 'memslot/binding_ranges/deletion_frees_exactly_its_range',
  },
  {
    name: 'slot: the reference to the file is kept',
    file: MAIN,
    original: 'fput(new->gmem.file);',
    replacement: '(void)0;',
    expected: 'guest_memfd/lifetime/closed_file_ends_in_a_memory_fault',
  },
  {
    name: 'release: only slots of the first page lose the file',
    file: GMEM,
    original: 'xa_for_each(&f->bindings, index, slot)\n\t\tWRITE_ONCE(slot->gmem.file, NULL);',
    replacement: 'xa_for_each_range(&f->bindings, index, slot, 0, 0)\n\t\tWRITE_ONCE(slot->gmem.file, NULL);',
    expected: 'memslot/binding_ranges/slot_of_a_closed_file_has_no_part_in_the_next_one',
  },
  {
    name: 'bind: files that are no guest_memfd are EBADF',
    file: GMEM,
    original: 'if (!file)\n\t\treturn -EBADF;',
    replacement: 'if (!file || file->f_op != &kvm_gmem_fops)\n\t\treturn -EBADF;',
    expected: 'memslot/binding/other_files_are_EINVAL',
  },
  {
    name: 'bind: a descriptor that is not open is EINVAL',
    file: GMEM,
    original: 'if (!file)\n\t\treturn -EBADF;',
    replacement: 'if (!file)\n\t\treturn -EINVAL;',
    expected: 'memslot/binding/descriptor_that_is_not_open_is_EBADF',
  },
];
