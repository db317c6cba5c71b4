/** Faults for a 7.3 kernel, one at a time: private memory: faults and their exits, the pages behind them. */
import type { Mutant } from './mutant.ts';

const MMU = 'arch/x86/kvm/mmu/mmu.c';
const MMU_INTERNAL = 'arch/x86/kvm/mmu/mmu_internal.h';
const HOST = 'include/linux/kvm_host.h';
const X86 = 'arch/x86/kvm/x86.c';
const GMEM = 'virt/kvm/guest_memfd.c';

export const MEMORY_FAULT_MUTANTS: readonly Mutant[] = [
  {
    // The first access still faults, by a net further up; it leaves a mark in the page tables, and the second one is MMIO.
    name: 'fault: private memory without a slot is MMIO',
    file: MMU,
    original: 'gva_t gva = fault->is_tdp ? 0 : fault->addr;\n\n\tif (fault->is_private) {',
    replacement: 'gva_t gva = fault->is_tdp ? 0 : fault->addr;\n\n\tif (false) {',
    expected: 'memory_fault/exits/nothing_was_executed_and_the_exit_repeats',
  },
  {
    name: 'fault: no exit for private memory without a file',
    file: MMU,
    original: 'if (!kvm_slot_has_gmem(fault->slot)) {\n\t\tkvm_mmu_prepare_memory_fault_exit(vcpu, fault);',
    replacement: 'if (!kvm_slot_has_gmem(fault->slot)) {',
    expected: 'memory_fault/exits/read_of_private_memory_without_a_file',
  },
  {
    name: 'fault: no exit when the file gives no page',
    file: MMU,
    original: 'if (r) {\n\t\tkvm_mmu_prepare_memory_fault_exit(vcpu, fault);\n\t\treturn r;',
    replacement: 'if (r) {\n\t\treturn r;',
    expected: 'memory_fault/exits/read_of_private_memory_whose_file_is_closed',
  },
  {
    name: 'fault: private memory comes from the host address',
    file: MMU,
    original: 'if (fault->is_private || kvm_memslot_is_gmem_only(fault->slot))',
    replacement: 'if (kvm_memslot_is_gmem_only(fault->slot))',
    expected: 'private_memory/contents/private_writes_do_not_reach_the_shared_side',
  },
  {
    name: 'fault: the exit has the address of the byte',
    file: MMU_INTERNAL,
    original: 'kvm_prepare_memory_fault_exit(vcpu, fault->gfn << PAGE_SHIFT,',
    replacement: 'kvm_prepare_memory_fault_exit(vcpu, fault->addr,',
    expected: 'memory_fault/exits/write_of_private_memory_without_a_file',
  },
  {
    name: 'fault: the exit has a frame number',
    file: MMU_INTERNAL,
    original: 'kvm_prepare_memory_fault_exit(vcpu, fault->gfn << PAGE_SHIFT,',
    replacement: 'kvm_prepare_memory_fault_exit(vcpu, fault->gfn,',
    expected: 'memory_fault/exits/read_of_private_memory_without_a_file',
  },
  {
    name: 'fault: the exit has no size',
    file: MMU_INTERNAL,
    original: 'PAGE_SIZE, fault->write, fault->exec,',
    replacement: '0, fault->write, fault->exec,',
    expected: 'memory_fault/exits/read_of_private_memory_without_a_file',
  },
  {
    name: 'fault: writes are called private, nothing else',
    file: MMU_INTERNAL,
    original: 'PAGE_SIZE, fault->write, fault->exec,\n\t\t\t\t      fault->is_private);',
    replacement: 'PAGE_SIZE, fault->write, fault->exec,\n\t\t\t\t      fault->write);',
    expected: 'memory_fault/exits/instruction_fetch_of_private_memory_without_a_file',
  },
  {
    name: 'fault: flags of the exit before are left',
    file: HOST,
    original: 'vcpu->run->memory_fault.flags = 0;',
    replacement: ';',
    expected: 'private_memory/slots/closed_file_takes_its_pages_from_the_guest',
  },
  {
    name: 'fault: the exit reason of the exit before is left',
    file: X86,
    original: 'vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;',
    replacement: ';',
    expected: 'memory_fault/host_side/memory_without_access_is_EFAULT_and_no_exit',
  },
  {
    name: 'file: the offset of the slot is forgotten',
    file: GMEM,
    original: 'return gfn - slot->base_gfn + slot->gmem.pgoff;',
    replacement: 'return gfn - slot->base_gfn;',
    expected: 'private_memory/slots/pages_lie_at_the_offset_of_the_slot',
  },
  {
    name: 'file: a hole ends one page early for the guest',
    file: GMEM,
    original: '.end = slot->base_gfn + min(pgoff + slot->npages, end) - pgoff,',
    replacement: '.end = slot->base_gfn + min(pgoff + slot->npages, end) - pgoff - 1,',
    expected: 'private_memory/punch_hole/punched_private_page_is_zero',
  },
  {
    name: 'file: a hole is looked for at the wrong frames',
    file: GMEM,
    original: '.start = slot->base_gfn + max(pgoff, start) - pgoff,',
    replacement: '.start = slot->base_gfn + max(pgoff, start),',
    expected: 'private_memory/punch_hole/hole_finds_its_pages_by_the_offset_of_the_slot',
  },
  {
    name: 'file: a closed file stays mapped',
    file: GMEM,
    original:
      '__kvm_gmem_invalidate_start(f, 0, -1ul,\n\t\t\t\t    kvm_gmem_get_invalidate_filter(inode));\n\t__kvm_gmem_invalidate_end(f, 0, -1ul);',
    replacement: ';',
    expected: 'private_memory/slots/closed_file_takes_its_pages_from_the_guest',
  },
  {
    name: 'file: pages that the guest gets are not cleared',
    file: GMEM,
    original:
      'if (!folio_test_uptodate(folio)) {\n\t\tclear_highpage(folio_page(folio, 0));\n\t\tfolio_mark_uptodate(folio);\n\t}\n\n#ifdef',
    replacement: 'if (!folio_test_uptodate(folio))\n\t\tfolio_mark_uptodate(folio);\n\n#ifdef',
    expected: 'private_memory/contents/freed_pages_come_back_zeroed',
  },
];
