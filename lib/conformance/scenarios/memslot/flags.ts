/** Flags of memslot requests, address spaces. */
import { PAGE } from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';
import {
  addressSpaces,
  coveredPages,
  deleted,
  forRequests,
  GPA,
  GUEST_MEMFD,
  HAS_REGION2,
  LOG_DIRTY,
  READONLY,
  setRegion,
  setRegion2,
} from '../../slots.ts';

const UNKNOWN = Array.from({ length: 29 }, (_, i) => (1 << (i + 3)) >>> 0);
const SW_PROTECTED = { vmType: 'sw-protected', vmCaps: { KVM_CAP_USER_MEMORY2: 1 } } as const;

export const memslotFlags = topic(
  'memslot/flags',
  { promise: 'virt/kvm/kvm_main.c: check_memory_region_flags; before Linux 6.1', needs: { vmType: 'default' } },
  (scenario) => {
    const each = forRequests(scenario);

    each('LOG_DIRTY_PAGES_and_READONLY_are_taken', (t, set) => {
      const vm = t.vm();
      [0, LOG_DIRTY, READONLY, LOG_DIRTY | READONLY].forEach((flags, i) => {
        t.accepted(set(vm, { slot: i, gpa: i * GPA, flags }), `flags ${flags}`);
      });
    });

    each('each_unknown_flag_is_EINVAL', (t, set) => {
      const vm = t.vm();
      for (const bit of UNKNOWN) {
        for (const flags of [bit, (bit | LOG_DIRTY) >>> 0, (bit | READONLY) >>> 0])
          t.refused(set(vm, { flags }), 'EINVAL', `flags 0x${flags.toString(16)}`);
      }
      t.same(deleted(vm), false, 'a slot afterwards');
      t.accepted(set(vm), 'no flag');
    });

    scenario(
      'older_request_does_not_know_GUEST_MEMFD',
      { promise: 'virt/kvm/kvm_main.c: kvm_vm_ioctl, Linux 6.8' },
      (t) => {
        const vm = t.vm();
        t.accepted(setRegion(vm, { slot: 2, gpa: 2 * GPA }), 'slot 2');
        for (const flags of [GUEST_MEMFD, GUEST_MEMFD | LOG_DIRTY, GUEST_MEMFD | READONLY]) {
          t.refused(setRegion(vm, { flags }), 'EINVAL', `creating with flags ${flags}`);
          t.refused(setRegion(vm, { slot: 2, flags, size: 0 }), 'EINVAL', `deleting with flags ${flags}`);
        }
        t.same([deleted(vm, 1), deleted(vm, 2)], [false, true], 'slots afterwards');
      },
    );

    const GMEM = { promise: 'virt/kvm/kvm_main.c: check_memory_region_flags, Linux 6.8' };
    const others = [LOG_DIRTY, READONLY, LOG_DIRTY | READONLY];

    for (const [suffix, needs] of [
      ['', { caps: { KVM_CAP_GUEST_MEMFD: 1 }, ...HAS_REGION2 }],
      ['/sw_protected_vm', SW_PROTECTED],
    ] as const) {
      scenario(`GUEST_MEMFD_goes_with_no_other_flag${suffix}`, { ...GMEM, needs }, (t) => {
        const vm = t.vm();
        const { fd } = t.guestMemfd(vm, 4 * PAGE);
        for (const other of others)
          t.refused(setRegion2(vm, { flags: GUEST_MEMFD | other, fd }), 'EINVAL', `with flags ${other} too`);
        t.same(deleted(vm), false, 'a slot afterwards');
        const alone = setRegion2(vm, { flags: GUEST_MEMFD, fd });
        const taken = vm.type !== 0n || t.isAtLeast([6, 18]);
        if (taken) t.accepted(alone, 'GUEST_MEMFD alone');
        else t.refused(alone, 'EINVAL', 'GUEST_MEMFD on a VM without private memory, before Linux 6.18');
      });

      scenario(`unknown_flag_with_GUEST_MEMFD_is_EINVAL${suffix}`, { ...GMEM, needs }, (t) => {
        const vm = t.vm();
        const { fd } = t.guestMemfd(vm, 4 * PAGE);
        for (const bit of UNKNOWN)
          t.refused(
            setRegion2(vm, { flags: (GUEST_MEMFD | bit) >>> 0, fd }),
            'EINVAL',
            `bit 0x${bit.toString(16)} too`,
          );
        t.same(deleted(vm), false, 'a slot afterwards');
      });
    }

    scenario('READONLY_is_taken_where_memory_is_private/sw_protected_vm', { needs: SW_PROTECTED }, (t) => {
      const vm = t.vm();
      t.accepted(setRegion2(vm, { flags: READONLY }), 'READONLY');
      t.accepted(setRegion2(vm, { slot: 2, gpa: 2 * GPA, flags: LOG_DIRTY | READONLY }), 'both');
    });
  },
);

export const memslotAddressSpaces = topic(
  'memslot/address_space',
  {
    promise: 'virt/kvm/kvm_main.c: kvm_set_memory_region; before Linux 6.1',
    needs: { vmType: 'default', arch: 'x64' },
  },
  (scenario) => {
    for (const [suffix, needs] of [
      ['', {}],
      ['/sw_protected_vm', SW_PROTECTED],
    ] as const) {
      scenario(`number_is_what_the_vm_says${suffix}`, { needs }, (t) => {
        const vm = t.vm();
        const spaces = addressSpaces(vm);
        for (const space of [spaces, spaces + 1, 2, 0x7fff, 0xffff]) {
          const slot = ((space << 16) | 1) >>> 0;
          t.refused(setRegion(vm, { slot }), 'EINVAL', `address space ${space} of ${spaces}`);
        }
        for (let space = 0; space < spaces; space++)
          t.accepted(setRegion(vm, { slot: (space << 16) | 1 }), `address space ${space} of ${spaces}`);
      });
    }

    scenario('one_where_memory_is_private/sw_protected_vm', { needs: SW_PROTECTED }, (t) => {
      const vm = t.vm();
      t.same(addressSpaces(vm), 1, 'address spaces');
      t.refused(setRegion(vm, { slot: (1 << 16) | 1 }), 'EINVAL', 'a slot in the second');
      t.refused(setRegion(vm, { slot: (1 << 16) | 1, size: 0 }), 'EINVAL', 'deleting one');
    });

    scenario(
      'second_one_is_apart',
      {
        needs: {
          also: ({ kvm }) => (kvm.checkExtension(118) >= 2 ? undefined : 'needs two address spaces (CONFIG_KVM_SMM)'),
        },
      },
      (t) => {
        const vm = t.vm();
        const second = (1 << 16) | 1;
        t.accepted(setRegion(vm, { slot: 1 }), 'slot 1');
        t.accepted(setRegion(vm, { slot: second, gpa: GPA + PAGE }), 'slot 1 of the other, over the same gpas');
        t.same(coveredPages(t, vm, GPA, 5), [true, true, true, true, false], 'the first');
        t.same(coveredPages(t, vm, GPA, 5, 1), [false, true, true, true, true], 'the second');
        t.same(deleted(vm, 1), true, 'deleting slot 1');
        t.same(coveredPages(t, vm, GPA, 5, 1), [false, true, true, true, true], 'the second afterwards');
        t.same([deleted(vm, 1), deleted(vm, second)], [false, true], 'slots left');
      },
    );
  },
);
