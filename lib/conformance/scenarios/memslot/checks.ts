/** What KVM_SET_USER_MEMORY_REGION and its successor refuse before they look at any slot. */
import {
  KVM_CAP,
  KVM_SET_USER_MEMORY_REGION,
  KVM_SET_USER_MEMORY_REGION2,
  kvm_userspace_memory_region,
  kvm_userspace_memory_region2,
  PROT,
} from '../../../uapi/index.ts';
import { PAGE } from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';
import { coveredPages, deleted, forRequests, GPA, HAS_REGION2, setRegion, setRegion2 } from '../../slots.ts';

const OFF_BY = [1, 511, 2048, PAGE - 1, PAGE + 1] as const;
/** No user has addresses from here on, whatever the depth of the page tables. */
const KERNEL_HALF = 1n << 63n;

export const memslotChecks = topic(
  'memslot/checks',
  { promise: 'virt/kvm/kvm_main.c: kvm_set_memory_region; before Linux 6.1', needs: { vmType: 'default' } },
  (scenario) => {
    const each = forRequests(scenario);

    each('well_formed_request_is_accepted', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm), 'four pages');
      t.same(coveredPages(t, vm, GPA - PAGE, 6), [false, true, true, true, true, false], 'pages that are covered');
    });

    each('unaligned_size_is_EINVAL', (t, set) => {
      const vm = t.vm();
      for (const size of OFF_BY) t.refused(set(vm, { size }), 'EINVAL', `${size} bytes`);
      t.same(deleted(vm), false, 'a slot afterwards');
      t.accepted(set(vm, { size: PAGE }), 'a page');
    });

    each('unaligned_gpa_is_EINVAL', (t, set) => {
      const vm = t.vm();
      for (const off of OFF_BY) t.refused(set(vm, { gpa: GPA + off }), 'EINVAL', `gpa off by ${off}`);
      t.same(deleted(vm), false, 'a slot afterwards');
      t.accepted(set(vm, { gpa: GPA + PAGE }), 'a gpa a page further');
    });

    each('unaligned_hva_is_EINVAL', (t, set) => {
      const vm = t.vm();
      const { hva } = t.anonymous(8 * PAGE);
      for (const off of OFF_BY) t.refused(set(vm, { hva: hva + off }), 'EINVAL', `hva off by ${off}`);
      t.same(deleted(vm), false, 'a slot afterwards');
      t.accepted(set(vm, { hva: hva + PAGE }), 'an hva a page further');
    });

    each('hva_of_the_kernel_is_EINVAL', (t, set) => {
      const vm = t.vm();
      const last = (1n << 64n) - BigInt(PAGE);
      for (const hva of [KERNEL_HALF, KERNEL_HALF + (1n << 48n), last, last - BigInt(4 * PAGE)])
        t.refused(set(vm, { hva }), 'EINVAL', `hva 0x${hva.toString(16)}`);
      t.same(deleted(vm), false, 'a slot afterwards');
    });

    each(
      'hva_range_may_end_where_user_space_ends',
      (t, set) => {
        const vm = t.vm();
        // With four levels of page tables, or with five; the last page is nobody's.
        const ends = [47n, 56n].map((bits) => (1n << bits) - BigInt(PAGE));
        const end = ends.find((hva) => !set(vm, { slot: 9, gpa: 2 * GPA, hva, size: PAGE }).ok);
        if (end === undefined) throw new Error('no end of user space was found');
        t.refused(set(vm, { hva: end - BigInt(3 * PAGE) }), 'EINVAL', 'a range that ends a page beyond');
        t.accepted(set(vm, { hva: end - BigInt(4 * PAGE) }), 'a range that ends there');
      },
      { needs: { release: [6, 12] }, promise: 'arch/x86/include/asm/uaccess_64.h: access_ok, Linux 6.12' },
    );

    each('hva_need_not_be_mapped_and_may_be_used_twice', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm, { slot: 1, hva: 0 }), 'NULL');
      t.accepted(set(vm, { slot: 2, gpa: 2 * GPA, hva: 0 }), 'NULL again');
      t.accepted(set(vm, { slot: 3, gpa: 3 * GPA, hva: 0x7000_0000_0000 }), 'an address that nobody mapped');
    });

    each('slot_id_ends_at_NR_MEMSLOTS', (t, set) => {
      const vm = t.vm();
      const limit = vm.checkExtension(KVM_CAP.value.KVM_CAP_NR_MEMSLOTS);
      for (const slot of [limit, limit + 1, limit + 2, limit + 3, 0x7fff, 0x8000, 0xffff])
        t.refused(set(vm, { slot }), 'EINVAL', `slot ${slot} of ${limit}`);
      t.accepted(set(vm, { slot: limit - 1 }), 'the last id');
      t.refused(set(vm, { slot: limit, size: 0 }), 'EINVAL', `deleting slot ${limit}`);
      t.same(deleted(vm, limit - 1), true, 'the last id has a slot');
    });

    scenario('slots_with_ids_all_over_the_range', (t) => {
      const vm = t.vm();
      const limit = vm.checkExtension(KVM_CAP.value.KVM_CAP_NR_MEMSLOTS);
      const ids = Array.from({ length: 400 }, (_, i) => Math.floor((i * (limit - 1)) / 399));
      ids.forEach((slot, i) => {
        t.accepted(setRegion(vm, { slot, gpa: GPA + i * PAGE, size: PAGE }), `slot ${slot}`);
      });
      t.refused(setRegion(vm, { slot: limit, gpa: 0, size: PAGE }), 'EINVAL', `slot ${limit}`);
      t.same(coveredPages(t, vm, GPA + 398 * PAGE, 3), [true, true, false], 'the last pages');
      for (const slot of [...ids].reverse()) t.same(deleted(vm, slot), true, `slot ${slot} is there`);
      t.same(coveredPages(t, vm, GPA, 2), [false, false], 'pages that are covered afterwards');
    });

    each('more_than_2_to_31_pages_are_EINVAL', (t, set) => {
      const vm = t.vm();
      for (const size of [1n << 43n, (1n << 43n) + BigInt(PAGE), 1n << 46n])
        t.refused(set(vm, { size, gpa: 0 }), 'EINVAL', `0x${size.toString(16)} bytes`);
      t.same(deleted(vm), false, 'a slot afterwards');
    });

    each('gpa_range_that_wraps_is_EINVAL', (t, set) => {
      const vm = t.vm();
      const last = (1n << 64n) - BigInt(PAGE);
      for (const [gpa, size] of [
        [last, PAGE],
        [last, 2 * PAGE],
        [last - BigInt(PAGE), 3 * PAGE],
      ] as const)
        t.refused(set(vm, { gpa, size }), 'EINVAL', `${size} bytes at 0x${gpa.toString(16)}`);
      t.same(coveredPages(t, vm, 0, 4), [false, false, false, false], 'pages at gpa 0 that are covered');
    });

    each(
      'gpa_range_ends_at_the_last_frame_that_the_host_can_map',
      (t, set) => {
        const vm = t.vm();
        const fits = (bits: number): boolean => {
          const gpa = (1n << BigInt(bits)) - BigInt(PAGE);
          return set(vm, { slot: 9, gpa, size: PAGE }).ok && deleted(vm, 9);
        };
        const bits = Array.from({ length: 25 }, (_, i) => 57 - i).find(fits);
        if (bits === undefined) throw new Error('a page below 2^33 must fit');
        const end = 1n << BigInt(bits);
        const before = end - BigInt(PAGE);
        t.refused(set(vm, { gpa: end, size: PAGE }), 'EINVAL', `the page at 2^${bits}`);
        t.refused(set(vm, { gpa: before, size: 2 * PAGE }), 'EINVAL', `two pages over 2^${bits}`);
        t.refused(set(vm, { gpa: before - BigInt(PAGE), size: 3 * PAGE }), 'EINVAL', `three pages over 2^${bits}`);
        t.accepted(set(vm, { gpa: before - BigInt(3 * PAGE) }), `four pages that end at 2^${bits}`);
      },
      { promise: 'arch/x86/kvm/x86.c: kvm_arch_prepare_memory_region; before Linux 6.1', needs: { arch: 'x64' } },
    );

    each('deleting_what_is_not_there_is_EINVAL', (t, set) => {
      const vm = t.vm();
      t.refused(set(vm, { size: 0 }), 'EINVAL', 'deleting slot 1 of none');
      t.accepted(set(vm, { slot: 2 }), 'slot 2');
      t.refused(set(vm, { slot: 1, size: 0 }), 'EINVAL', 'deleting slot 1 of 2');
      t.accepted(set(vm, { slot: 2, size: 0 }), 'deleting slot 2');
      t.refused(set(vm, { slot: 2, size: 0 }), 'EINVAL', 'deleting slot 2 again');
    });

    each('deletion_is_checked_like_any_request', (t, set) => {
      const vm = t.vm();
      t.accepted(set(vm), 'slot 1');
      t.refused(set(vm, { size: 0, gpa: GPA + 1 }), 'EINVAL', 'an unaligned gpa');
      t.refused(set(vm, { size: 0, hva: 1 }), 'EINVAL', 'an unaligned hva');
      t.refused(set(vm, { size: 0, hva: KERNEL_HALF }), 'EINVAL', 'an hva of the kernel');
      t.refused(set(vm, { size: 0, flags: 8 }), 'EINVAL', 'an unknown flag');
      t.same(coveredPages(t, vm, GPA, 4), [true, true, true, true], 'pages that are covered');
      t.accepted(set(vm, { size: 0, gpa: 7 * GPA, hva: 5 * PAGE, flags: 2 }), 'deleting with other values');
      t.same(coveredPages(t, vm, GPA, 4), [false, false, false, false], 'pages that are covered afterwards');
    });

    scenario('unreadable_request_is_EFAULT', (t) => {
      const vm = t.vm();
      const place = t.anonymous(2 * PAGE);
      place.protect(PROT.value.PROT_NONE, { offset: PAGE });
      const { request } = KVM_SET_USER_MEMORY_REGION;
      const arg = kvm_userspace_memory_region.encode({ slot: 1, guest_phys_addr: GPA, memory_size: PAGE });
      const at = PAGE - arg.length;
      place.write(at, arg);
      for (const hva of [0, place.hva + PAGE, place.hva + at + 1])
        t.refused(vm.raw.ioctl(request, hva), 'EFAULT', `the request at 0x${hva.toString(16)}`);
      t.same(deleted(vm), false, 'a slot afterwards');
      t.accepted(vm.raw.ioctl(request, place.hva + at), '32 bytes that end with their page');
    });

    scenario('unreadable_request_is_EFAULT/REGION2', { needs: HAS_REGION2 }, (t) => {
      const vm = t.vm();
      const place = t.anonymous(2 * PAGE);
      place.protect(PROT.value.PROT_NONE, { offset: PAGE });
      const { request } = KVM_SET_USER_MEMORY_REGION2;
      const arg = kvm_userspace_memory_region2.encode({ slot: 1, guest_phys_addr: GPA, memory_size: PAGE });
      const at = PAGE - arg.length;
      place.write(at, arg);
      place.write(PAGE - 32, arg.subarray(0, 32));
      for (const hva of [0, place.hva + PAGE, place.hva + PAGE - 32])
        t.refused(vm.raw.ioctl(request, hva), 'EFAULT', `the request at 0x${hva.toString(16)}`);
      t.same(deleted(vm), false, 'a slot afterwards');
      place.write(at, arg);
      t.accepted(vm.raw.ioctl(request, place.hva + at), '160 bytes that end with their page');
    });

    scenario('pads_of_REGION2_are_ignored', { needs: HAS_REGION2 }, (t) => {
      const vm = t.vm();
      const arg = kvm_userspace_memory_region2.encode({ slot: 1, guest_phys_addr: GPA, memory_size: 4 * PAGE });
      arg.fill(0xff, kvm_userspace_memory_region2.offsets.pad1);
      t.accepted(vm.raw.ioctl(KVM_SET_USER_MEMORY_REGION2, arg), 'pads set');
      t.same(deleted(vm), true, 'a slot afterwards');
    });

    scenario('file_of_REGION2_is_ignored_without_its_flag', { needs: HAS_REGION2 }, (t) => {
      const vm = t.vm();
      t.accepted(setRegion2(vm, { offset: 1, fd: -1 }), 'an unaligned offset and no file');
      t.accepted(setRegion2(vm, { slot: 2, gpa: 2 * GPA, offset: (1n << 64n) - BigInt(PAGE), fd: vm.fd }), 'a wrap');
      t.accepted(setRegion(vm, { size: 0 }), 'the older request deletes it');
      t.accepted(setRegion2(vm, { slot: 2, size: 0 }), 'the newer one too');
    });
  },
);
