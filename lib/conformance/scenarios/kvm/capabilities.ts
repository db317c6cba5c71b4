/** Capabilities of memory: the same at both scopes, or different for a reason; VM types. */
import { KVM_CAP } from '../../../uapi/index.ts';
import { type CapName, type Needs, VM_TYPES, type VmType } from '../../needs.ts';
import { topic } from '../../scenario.ts';

const BOTH: readonly VmType[] = ['default', 'sw-protected'];
const needsType = (vmType: VmType): Needs => ({ vmType });
const suffix = (type: VmType): string => (type === 'default' ? '' : '/sw_protected_vm');

export const kvmCapabilities = topic(
  'kvm/capability',
  { promise: 'virt/kvm/kvm_main.c: kvm_vm_ioctl_check_extension_generic', needs: { arch: 'x64' } },
  (scenario) => {
    for (const type of BOTH) {
      scenario(`basics_are_1_at_both_scopes${suffix(type)}`, { needs: needsType(type) }, (t) => {
        const vm = t.vm();
        const names: readonly CapName[] = ['KVM_CAP_USER_MEMORY', 'KVM_CAP_SYNC_MMU', 'KVM_CAP_CHECK_EXTENSION_VM'];
        for (const name of names) {
          const number = KVM_CAP.value[name];
          t.same([t.kvm.checkExtension(number), vm.checkExtension(number)], [1, 1], name);
        }
      });

      scenario(`REGION2_and_memory_faults_since_6_8${suffix(type)}`, { needs: needsType(type) }, (t) => {
        const vm = t.vm();
        const expected = t.differs({ since: [6, 8], now: 1, before: 0, because: 'they came with guest_memfd' });
        for (const name of ['KVM_CAP_USER_MEMORY2', 'KVM_CAP_MEMORY_FAULT_INFO'] as const) {
          const number = KVM_CAP.value[name];
          t.same([t.kvm.checkExtension(number), vm.checkExtension(number)], [expected, expected], name);
        }
      });

      scenario(`NR_MEMSLOTS_is_the_same_at_both_scopes${suffix(type)}`, { needs: needsType(type) }, (t) => {
        const number = KVM_CAP.value.KVM_CAP_NR_MEMSLOTS;
        t.same([t.kvm.checkExtension(number), t.vm().checkExtension(number)], [32764, 32764], 'KVM_CAP_NR_MEMSLOTS');
      });

      scenario(`READONLY_MEM_where_state_is_not_protected${suffix(type)}`, { needs: needsType(type) }, (t) => {
        const number = KVM_CAP.value.KVM_CAP_READONLY_MEM;
        t.same([t.kvm.checkExtension(number), t.vm().checkExtension(number)], [1, 1], 'KVM_CAP_READONLY_MEM');
      });

      scenario(`VM_TYPES_and_PRE_FAULT_are_the_same_at_both_scopes${suffix(type)}`, { needs: needsType(type) }, (t) => {
        const vm = t.vm();
        for (const name of ['KVM_CAP_VM_TYPES', 'KVM_CAP_PRE_FAULT_MEMORY', 'KVM_CAP_EXIT_HYPERCALL'] as const) {
          const number = KVM_CAP.value[name];
          t.same(vm.checkExtension(number), t.kvm.checkExtension(number), name);
        }
      });

      scenario(
        `GUEST_MEMFD_says_what_a_slot_takes${suffix(type)}`,
        { needs: { ...needsType(type), release: [6, 8] } },
        (t) => {
          const system = t.kvm.checkExtension(KVM_CAP.value.KVM_CAP_GUEST_MEMFD);
          const everyVm = t.differs({
            since: [6, 18],
            now: true,
            before: false,
            because: 'VMs without private memory may use guest_memfd as ordinary memory',
          });
          const expected = everyVm || type !== 'default' ? system : 0;
          t.same(t.vm().checkExtension(KVM_CAP.value.KVM_CAP_GUEST_MEMFD), expected, 'KVM_CAP_GUEST_MEMFD of the VM');
        },
      );
    }

    scenario(
      'GUEST_MEMFD_FLAGS_are_all_where_memory_is_shared',
      { needs: { release: [6, 18], caps: { KVM_CAP_GUEST_MEMFD: 1 } } },
      (t) => {
        const number = KVM_CAP.value.KVM_CAP_GUEST_MEMFD_FLAGS;
        t.same([t.kvm.checkExtension(number), t.vm().checkExtension(number)], [3, 3], 'flags of a default VM');
      },
    );
    scenario(
      'GUEST_MEMFD_FLAGS_lose_INIT_SHARED_where_memory_is_private/sw_protected_vm',
      { needs: { ...needsType('sw-protected'), release: [6, 18] } },
      (t) => {
        const number = KVM_CAP.value.KVM_CAP_GUEST_MEMFD_FLAGS;
        t.same([t.kvm.checkExtension(number), t.vm().checkExtension(number)], [3, 1], 'flags of an SW-protected VM');
      },
    );

    scenario(
      'MULTI_ADDRESS_SPACE_is_1_where_memory_is_private/sw_protected_vm',
      { needs: needsType('sw-protected') },
      (t) => {
        const number = KVM_CAP.value.KVM_CAP_MULTI_ADDRESS_SPACE;
        const system = t.kvm.checkExtension(number);
        t.holds(system === 0 || system === 2, 'two address spaces or no such capability', `${system}`);
        t.same(t.vm().checkExtension(number), system === 0 ? 0 : 1, 'of an SW-protected VM');
        t.same(t.vm('default').checkExtension(number), system, 'of a default VM');
      },
    );
  },
);

export const kvmVmTypes = topic(
  'kvm/vm_type',
  { promise: 'arch/x86/kvm/x86.c: kvm_is_vm_type_supported; Linux 6.8', needs: { arch: 'x64' } },
  (scenario) => {
    scenario('each_type_is_taken_as_the_capability_says', (t) => {
      // Absent before 6.8: only the default type.
      const mask = BigInt(t.kvm.checkExtension(KVM_CAP.value.KVM_CAP_VM_TYPES)) || 1n;
      t.same(mask & 1n, 1n, 'the default type is offered');
      for (let type = 0n; type < 64n; type++) {
        const made = t.kvm.raw.createVm(type);
        if ((mask >> type) & 1n) t.accepted(made, `type ${type}`).close();
        else t.refused(made, 'EINVAL', `type ${type}`);
      }
    });

    scenario('type_is_the_whole_word', (t) => {
      for (const type of [1n << 31n, 1n << 32n, (1n << 32n) + 1n, (1n << 63n) + 1n, (1n << 64n) - 1n])
        t.refused(t.kvm.raw.createVm(type), 'EINVAL', `type 0x${type.toString(16)}`);
    });

    scenario(
      'only_types_with_private_memory_have_attributes/sw_protected_vm',
      { needs: needsType('sw-protected') },
      (t) => {
        const number = KVM_CAP.value.KVM_CAP_MEMORY_ATTRIBUTES;
        const answers = [t.kvm, t.vm(), t.vm('default')].map((of) => of.checkExtension(number));
        t.same(answers, [8, 8, 0], 'attributes of /dev/kvm, an SW-protected VM, a default VM');
      },
    );

    scenario('vms_of_both_types_side_by_side/sw_protected_vm', { needs: needsType('sw-protected') }, (t) => {
      const vms = Array.from({ length: 6 }, (_, i) => t.vm(i % 2 === 0 ? 'default' : 'sw-protected'));
      t.same(
        vms.map(({ type }) => Number(type)),
        vms.map((_, i) => VM_TYPES[i % 2 === 0 ? 'default' : 'sw-protected']),
        'types',
      );
      const attributes = vms.map((vm) => vm.checkExtension(KVM_CAP.value.KVM_CAP_MEMORY_ATTRIBUTES));
      t.same(attributes, [0, 8, 0, 8, 0, 8], 'attributes');
    });
  },
);
