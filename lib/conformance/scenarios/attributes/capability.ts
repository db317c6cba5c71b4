/** Who has memory attributes: KVM_CAP_MEMORY_ATTRIBUTES by VM type. */
import { KVM_CAP, KVM_MEMORY_ATTRIBUTE } from '../../../uapi/index.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_VM } from '../../two-sided.ts';

const PRIVATE = KVM_MEMORY_ATTRIBUTE.value.KVM_MEMORY_ATTRIBUTE_PRIVATE;
const CAP = KVM_CAP.value.KVM_CAP_MEMORY_ATTRIBUTES;
/** Compiled in. */
const BUILT_IN = { caps: { KVM_CAP_MEMORY_ATTRIBUTES: PRIVATE } };

export const attributesCapability = topic(
  'attributes/capability',
  { promise: 'virt/kvm/kvm_main.c: kvm_supported_mem_attributes, Linux 6.8' },
  (scenario) => {
    scenario('VM_with_private_memory_has_PRIVATE', { needs: { vmType: 'sw-protected' } }, (t) => {
      t.same(t.vm().memoryAttributes(), PRIVATE, 'KVM_CAP_MEMORY_ATTRIBUTES of the VM');
      t.same(t.kvm.checkExtension(CAP), PRIVATE, 'KVM_CAP_MEMORY_ATTRIBUTES of /dev/kvm');
    });

    scenario('default_VM_has_none', { needs: BUILT_IN }, (t) => {
      t.same(t.vm('default').memoryAttributes(), 0, 'KVM_CAP_MEMORY_ATTRIBUTES of a default VM');
    });

    scenario('default_VM_refuses_every_attribute', { needs: BUILT_IN }, (t) => {
      const vm = t.vm('default');
      for (const bit of [0n, 1n, 2n, 3n, 4n, 31n, 63n])
        t.refused(vm.raw.setMemoryAttributes(AREA, PAGE, 1n << bit), 'EINVAL', `attribute bit ${bit}`);
    });

    scenario('default_VM_accepts_no_attributes', { needs: BUILT_IN }, (t) => {
      const vm = t.vm('default');
      t.accepted(vm.raw.setMemoryAttributes(AREA, 4 * PAGE, 0), 'a range as it is');
      t.refused(vm.raw.setMemoryAttributes(AREA, 0, 0), 'EINVAL', 'an empty range all the same');
      t.refused(vm.raw.setMemoryAttributes(AREA + 1, PAGE, 0), 'EINVAL', 'an unaligned address all the same');
      t.refused(vm.raw.setMemoryAttributes(AREA, PAGE, 0, 1), 'EINVAL', 'a flag all the same');
    });

    scenario(
      'kernel_without_attributes_does_not_know_the_request',
      {
        promise: 'virt/kvm/kvm_main.c: kvm_vm_ioctl, compiled in with CONFIG_KVM_GENERIC_MEMORY_ATTRIBUTES only',
        needs: {
          also: ({ kvm }) => (kvm.checkExtension(CAP) === 0 ? undefined : 'this kernel has memory attributes'),
        },
      },
      (t) => {
        const vm = t.vm();
        t.refused(vm.raw.setMemoryAttributes(AREA, PAGE, 0), 'ENOTTY', 'no attributes');
        t.refused(vm.raw.setMemoryAttributes(AREA, PAGE, PRIVATE), 'ENOTTY', 'PRIVATE');
        t.same(vm.memoryAttributes(), 0, 'KVM_CAP_MEMORY_ATTRIBUTES of the VM');
      },
    );

    scenario(
      'VM_with_private_memory_has_one_address_space',
      { promise: 'arch/x86/include/asm/kvm_host.h: kvm_arch_nr_memslot_as_ids, Linux 6.8', needs: PRIVATE_VM },
      (t) => {
        const spaces = t.vm().checkExtension(KVM_CAP.value.KVM_CAP_MULTI_ADDRESS_SPACE);
        // 0 where KVM is built without SMM, and so without further address spaces.
        t.holds(spaces <= 1, 'at most one address space', `KVM_CAP_MULTI_ADDRESS_SPACE of the VM is ${spaces}`);
        const vm = t.vm();
        const backing = t.anonymous(PAGE);
        t.refused(
          vm.raw.addMemslot({ slot: 1 << 16, gpa: AREA, size: PAGE, backing }),
          'EINVAL',
          'a slot in the second address space',
        );
        t.use(t.accepted(vm.raw.addMemslot({ slot: 0, gpa: AREA, size: PAGE, backing }), 'a slot in the first'));
      },
    );
  },
);
