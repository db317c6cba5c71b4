/** Faults for a 7.3 kernel, one at a time: pre-faulting and the conversion hypercall. */
import type { Mutant } from './mutant.ts';

const MAIN = 'virt/kvm/kvm_main.c';
const MMU = 'arch/x86/kvm/mmu/mmu.c';
const X86 = 'arch/x86/kvm/x86.c';

export const PRE_FAULT_HYPERCALL_MUTANTS: readonly Mutant[] = [
  {
    name: 'pre-fault: flags are ignored',
    file: MAIN,
    original: 'if (range->flags)',
    replacement: 'if (false)',
    expected: 'pre_fault/checks/every_flag_is_EINVAL',
  },
  {
    name: 'pre-fault: the result of the last page wins',
    file: MAIN,
    original: 'return full_size == range->size ? r : 0;',
    replacement: 'return r < 0 ? r : 0;',
    expected: 'pre_fault/progress/shared_range_that_leaves_its_slot_stops_there',
  },
  {
    name: 'pre-fault: gpa does not advance',
    file: MAIN,
    original: 'range->gpa += r;',
    replacement: 'range->gpa += 0;',
    expected: 'pre_fault/progress/shared_range_is_done_to_its_end',
  },
  {
    name: 'pre-fault: progress is not written back',
    file: MAIN,
    original: '/* Pass back leftover range. */\n\t\tif (copy_to_user(argp, &range, sizeof(range)))',
    replacement: 'if (false)',
    expected: 'pre_fault/progress/shared_range_is_done_to_its_end',
  },
  {
    name: 'pre-fault: a page without a slot is EFAULT',
    file: MMU,
    original: 'case RET_PF_EMULATE:\n\t\treturn -ENOENT;',
    replacement: 'case RET_PF_EMULATE:\n\t\treturn -EFAULT;',
    expected: 'pre_fault/progress/no_slot_is_ENOENT',
  },
  {
    name: 'pre-fault: one page counts as all',
    file: MMU,
    original: 'return min(range->size, end - range->gpa);',
    replacement: 'return range->size;',
    expected: 'pre_fault/progress/each_page_on_the_side_of_its_attribute',
  },
  {
    name: 'pre-fault: a huge page is counted from the page asked for',
    file: MMU,
    original: 'end = (range->gpa & KVM_HPAGE_MASK(level)) + KVM_HPAGE_SIZE(level);',
    replacement: 'end = range->gpa + KVM_HPAGE_SIZE(level);',
    expected: 'pre_fault/progress/huge_page_ends_where_it_ends',
  },
  {
    name: 'hypercall: enabled without asking',
    file: X86,
    original: 'if (!user_exit_on_hypercall(vcpu->kvm, KVM_HC_MAP_GPA_RANGE))',
    replacement: 'if (false)',
    expected: 'conversion/hypercall/not_enabled_the_guest_gets_ENOSYS',
  },
  {
    name: 'hypercall: the gpa may be unaligned',
    file: X86,
    original: 'if (!PAGE_ALIGNED(gpa) || !npages ||\n\t\t    gpa_to_gfn(gpa) + npages <= gpa_to_gfn(gpa)) {',
    replacement: 'if (!npages ||\n\t\t    gpa_to_gfn(gpa) + npages <= gpa_to_gfn(gpa)) {',
    expected: 'conversion/hypercall/gpa_within_a_page_is_EINVAL_without_an_exit',
  },
  {
    name: 'hypercall: no check of wrapping',
    file: X86,
    original: 'if (!PAGE_ALIGNED(gpa) || !npages ||\n\t\t    gpa_to_gfn(gpa) + npages <= gpa_to_gfn(gpa)) {',
    replacement: 'if (!PAGE_ALIGNED(gpa) || !npages) {',
    expected: 'conversion/hypercall/number_of_pages_that_wraps_is_EINVAL_without_an_exit',
  },
  {
    name: 'hypercall: the answer is not preset',
    file: X86,
    original: 'vcpu->run->hypercall.ret = 0;',
    replacement: ';',
    expected: 'conversion/hypercall/answer_is_preset_to_0',
  },
  {
    name: 'hypercall: pages become bytes',
    file: X86,
    original: 'vcpu->run->hypercall.args[1]  = npages;',
    replacement: 'vcpu->run->hypercall.args[1]  = npages << PAGE_SHIFT;',
    expected: 'conversion/hypercall/exit_has_number_arguments_and_mode',
  },
  {
    name: 'hypercall: attributes are cut',
    file: X86,
    original: 'vcpu->run->hypercall.args[2]  = attrs;',
    replacement: 'vcpu->run->hypercall.args[2]  = attrs & 0x1f;',
    expected: 'conversion/hypercall/all_bits_of_the_attributes_are_passed_on',
  },
  {
    name: 'hypercall: no flag for long mode',
    file: X86,
    original: 'vcpu->run->hypercall.flags |= KVM_EXIT_HYPERCALL_LONG_MODE;',
    replacement: ';',
    expected: 'conversion/hypercall/exit_has_number_arguments_and_mode',
  },
  {
    name: 'hypercall: answers are cut to 32 bits',
    file: X86,
    original: 'if (!is_64_bit_hypercall(vcpu))\n\t\tret = (u32)ret;',
    replacement: 'ret = (u32)ret;',
    expected: 'conversion/hypercall/any_64_bits_are_an_answer',
  },
  {
    name: 'hypercall: answers are never cut',
    file: X86,
    original: 'if (!is_64_bit_hypercall(vcpu))\n\t\tret = (u32)ret;',
    replacement: ';',
    expected: 'conversion/modes/protected_mode_answers_are_32_bits',
  },
  {
    name: 'hypercall: user code may ask',
    file: X86,
    original: 'if (cpl) {\n\t\tret = -KVM_EPERM;',
    replacement: 'if (false) {\n\t\tret = -KVM_EPERM;',
    expected: 'conversion/modes/user_code_gets_EPERM_without_an_exit',
  },
  {
    name: 'hypercall: any mask can be enabled',
    file: X86,
    original: 'if (cap->args[0] & ~KVM_EXIT_HYPERCALL_VALID_MASK) {',
    replacement: 'if (false) {',
    expected: 'conversion/capability/enabling_other_hypercalls_is_EINVAL',
  },
];
