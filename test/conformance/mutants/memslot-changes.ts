/** Faults for a 7.3 kernel, one at a time: memslots under a guest: changed, deleted, logged. */
import type { Mutant } from './mutant.ts';

const MAIN = 'virt/kvm/kvm_main.c';
const MMU = 'arch/x86/kvm/mmu/mmu.c';
const X86 = 'arch/x86/kvm/x86.c';

export const MEMSLOT_CHANGE_MUTANTS: readonly Mutant[] = [
  {
    name: 'change: a slot with a file can be restated',
    file: MAIN,
    original: 'if (mem->flags & KVM_MEM_GUEST_MEMFD)\n\t\t\treturn -EINVAL;',
    replacement: 'if (0)\n\t\t\treturn -EINVAL;',
    expected: 'memslot/binding/slot_with_a_file_cannot_change',
  },
  {
    name: 'change: another hva is let through',
    file: MAIN,
    original:
      'if ((mem->userspace_addr != old->userspace_addr) ||\n\t\t    (npages != old->npages) ||\n\t\t    ((mem->flags ^ old->flags) & (KVM_MEM_READONLY | KVM_MEM_GUEST_MEMFD)))',
    replacement:
      'if ((npages != old->npages) ||\n\t\t    ((mem->flags ^ old->flags) & (KVM_MEM_READONLY | KVM_MEM_GUEST_MEMFD)))',
    expected: 'memslot/change/other_hva_is_EINVAL',
  },
  {
    name: 'change: another size is let through',
    file: MAIN,
    original:
      'if ((mem->userspace_addr != old->userspace_addr) ||\n\t\t    (npages != old->npages) ||\n\t\t    ((mem->flags ^ old->flags) & (KVM_MEM_READONLY | KVM_MEM_GUEST_MEMFD)))',
    replacement:
      'if ((mem->userspace_addr != old->userspace_addr) ||\n\t\t    ((mem->flags ^ old->flags) & (KVM_MEM_READONLY | KVM_MEM_GUEST_MEMFD)))',
    expected: 'memslot/change/other_size_is_EINVAL',
  },
  {
    name: 'change: READONLY can be toggled',
    file: MAIN,
    original:
      'if ((mem->userspace_addr != old->userspace_addr) ||\n\t\t    (npages != old->npages) ||\n\t\t    ((mem->flags ^ old->flags) & (KVM_MEM_READONLY | KVM_MEM_GUEST_MEMFD)))',
    replacement:
      'if ((mem->userspace_addr != old->userspace_addr) ||\n\t\t    (npages != old->npages) ||\n\t\t    ((mem->flags ^ old->flags) & KVM_MEM_GUEST_MEMFD))',
    expected: 'memslot/change/READONLY_cannot_be_added',
  },
  {
    name: 'change: a slot with a file can be restated without',
    file: MAIN,
    original:
      'if ((mem->userspace_addr != old->userspace_addr) ||\n\t\t    (npages != old->npages) ||\n\t\t    ((mem->flags ^ old->flags) & (KVM_MEM_READONLY | KVM_MEM_GUEST_MEMFD)))',
    replacement:
      'if ((mem->userspace_addr != old->userspace_addr) ||\n\t\t    (npages != old->npages) ||\n\t\t    ((mem->flags ^ old->flags) & KVM_MEM_READONLY))',
    expected: 'memslot/binding/slot_with_a_file_cannot_change',
  },
  {
    name: 'change: flags are never changed',
    file: MAIN,
    original: 'else if (mem->flags != old->flags)',
    replacement: 'else if (0)',
    expected: 'memslot/dirty_log/turned_on_later_has_what_was_written_since',
  },
  {
    name: 'change: moves are not carried out',
    file: MAIN,
    original: 'if (base_gfn != old->base_gfn)\n\t\t\tchange = KVM_MR_MOVE;',
    replacement: 'if (base_gfn != old->base_gfn)\n\t\t\treturn 0;',
    expected: 'memslot/ranges/move_over_its_own_range_is_accepted',
  },
  {
    name: 'overlap: the last page is not looked at',
    file: MAIN,
    original:
      'if ((change == KVM_MR_CREATE || change == KVM_MR_MOVE) &&\n\t    kvm_check_memslot_overlap(slots, id, base_gfn, base_gfn + npages))',
    replacement:
      'if ((change == KVM_MR_CREATE || change == KVM_MR_MOVE) &&\n\t    npages > 1 && kvm_check_memslot_overlap(slots, id, base_gfn, base_gfn + npages - 1))',
    expected: 'memslot/ranges/overlapping_slot_is_EEXIST',
  },
  {
    name: 'overlap: a neighbour overlaps',
    file: MAIN,
    original:
      'if ((change == KVM_MR_CREATE || change == KVM_MR_MOVE) &&\n\t    kvm_check_memslot_overlap(slots, id, base_gfn, base_gfn + npages))',
    replacement:
      'if ((change == KVM_MR_CREATE || change == KVM_MR_MOVE) &&\n\t    kvm_check_memslot_overlap(slots, id, base_gfn, base_gfn + npages + 1))',
    expected: 'memslot/ranges/neighbouring_slots_are_accepted',
  },
  {
    name: 'overlap: moves are not looked at',
    file: MAIN,
    original:
      'if ((change == KVM_MR_CREATE || change == KVM_MR_MOVE) &&\n\t    kvm_check_memslot_overlap(slots, id, base_gfn, base_gfn + npages))',
    replacement:
      'if (change == KVM_MR_CREATE &&\n\t    kvm_check_memslot_overlap(slots, id, base_gfn, base_gfn + npages))',
    expected: 'memslot/ranges/move_onto_another_slot_is_EEXIST',
  },
  {
    name: 'overlap: a slot overlaps with itself',
    file: MAIN,
    original: 'if (iter.slot->id != id)',
    replacement: 'if (1)',
    expected: 'memslot/ranges/move_over_its_own_range_is_accepted',
  },
  {
    name: 'delete: guest mappings stay',
    file: MAIN,
    original: 'kvm_arch_flush_shadow_memslot(kvm, old);',
    replacement: '(void)old;',
    expected: 'memslot/guest/deleted_slot_is_no_memory_any_more',
  },
  {
    name: 'read-only: writes are let through',
    file: MAIN,
    original: 'return slot->flags & KVM_MEM_READONLY;',
    replacement: 'return false;',
    expected: 'memslot/readonly/write_is_an_MMIO_exit_and_changes_nothing',
  },
  {
    name: 'dirty log: reading does not clear',
    file: MAIN,
    original: 'mask = xchg(&dirty_bitmap[i], 0);',
    replacement: 'mask = dirty_bitmap[i];',
    expected: 'memslot/dirty_log/is_cleared_by_reading_and_goes_on',
  },
  {
    name: 'dirty log: pages are protected again in the first word only',
    file: MAIN,
    original: 'offset = i * BITS_PER_LONG;',
    replacement: 'offset = 0;',
    expected: 'memslot/dirty_log/is_cleared_by_reading_and_goes_on',
  },
  {
    name: 'dirty log: only the first word is given',
    file: MAIN,
    original: 'dirty_bitmap_buffer[i] = mask;',
    replacement: 'dirty_bitmap_buffer[0] |= mask;',
    expected: 'memslot/dirty_log/has_exactly_the_pages_that_the_guest_wrote',
  },
  {
    name: 'dirty log: a move starts a new one',
    file: MAIN,
    original: 'else if (old && old->dirty_bitmap)\n\t\t\tnew->dirty_bitmap',
    replacement: 'else if (0)\n\t\t\tnew->dirty_bitmap',
    expected: 'memslot/dirty_log/survives_a_move',
  },
  {
    name: 'dirty log: a first page that is no multiple of 64',
    file: MAIN,
    original: 'if (log->first_page & 63)',
    replacement: 'if (0)',
    expected: 'memslot/dirty_log/manual_clearing_outside_the_slot_is_EINVAL',
  },
  {
    name: 'dirty log: clearing takes all of a word',
    file: MAIN,
    original: 'mask &= atomic_long_fetch_andnot(mask, p);',
    replacement: 'mask &= atomic_long_fetch_andnot(~0ul, p);',
    expected: 'memslot/dirty_log/manual_clearing_takes_out_what_it_names',
  },
  {
    name: 'dirty log: a slot that is not logged is EINVAL',
    file: MAIN,
    original:
      'if (!memslot || !memslot->dirty_bitmap)\n\t\treturn -ENOENT;\n\n\tdirty_bitmap = memslot->dirty_bitmap;\n\n\tkvm_arch_sync_dirty_log(kvm, memslot);\n\n\tn = kvm_dirty_bitmap_bytes(memslot);\n\tflush = false;',
    replacement:
      'if (!memslot || !memslot->dirty_bitmap)\n\t\treturn -EINVAL;\n\n\tdirty_bitmap = memslot->dirty_bitmap;\n\n\tkvm_arch_sync_dirty_log(kvm, memslot);\n\n\tn = kvm_dirty_bitmap_bytes(memslot);\n\tflush = false;',
    expected: 'memslot/dirty_log/without_a_log_is_ENOENT',
  },
  {
    name: 'delete: only the first page of the slot is zapped',
    file: MMU,
    original:
      '.end = slot->base_gfn + slot->npages,\n\t\t.may_block = true,\n\t\t.attr_filter = KVM_FILTER_PRIVATE | KVM_FILTER_SHARED,',
    replacement:
      '.end = slot->base_gfn + 1,\n\t\t.may_block = true,\n\t\t.attr_filter = KVM_FILTER_PRIVATE | KVM_FILTER_SHARED,',
    expected: 'memslot/guest/deleted_slot_is_no_memory_any_more/sw_protected_vm',
  },
  {
    name: 'flags change: pages stay writable when logging begins',
    file: X86,
    original: 'kvm_mmu_slot_remove_write_access(kvm, new, PG_LEVEL_4K);',
    replacement: '(void)new;',
    expected: 'memslot/dirty_log/turned_on_later_has_what_was_written_since',
  },
];
