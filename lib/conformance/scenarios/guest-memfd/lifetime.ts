/** What outlives what: descriptors, mappings, the VM, slots. */

import { KVM_MEM, KVM_SET_USER_MEMORY_REGION, kvm_userspace_memory_region } from '../../../uapi/index.ts';
import { F } from '../../../uapi/mman.ts';
import { Broken } from '../../check.ts';
import { forHeldPages, forKinds, heldIndexes, makeFile, PAGE, SHARED } from '../../file-kinds.ts';
import { fileGuest, findStamps, forGuests, GUEST_SHARED, stamp } from '../../gmem-guest.ts';
import { describeExit, type Guest } from '../../guest.ts';
import { topic } from '../../scenario.ts';

/** Deletes slot 1 behind the back of its owner. */
const deleteSlot = ({ vm }: Guest): void => {
  vm.ioctl(KVM_SET_USER_MEMORY_REGION, kvm_userspace_memory_region.encode({ slot: 1 }));
};

export const guestMemfdLifetime = topic(
  'guest_memfd/lifetime',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_release, Linux 6.8' },
  (scenario) => {
    const each = forKinds(scenario);
    const held = forHeldPages(scenario);

    held('file_works_on_when_its_vm_is_closed', (t, kind) => {
      const vm = t.kvm.createVm(kind.needs.vmType === 'sw-protected' ? 1 : 0);
      // An owner of its own: closing the VM must not close it.
      const fd = t.sys.fcntl(makeFile(t, kind, 8, vm).fd, F.value.F_DUPFD_CLOEXEC, 0);
      vm.close();
      try {
        t.sys.fallocate(fd, 1, 0, 8 * PAGE);
        t.same(t.sys.cachestat(fd, 0, 0).cache, 8, 'pages after allocating all');
        t.sys.fallocate(fd, 3, 2 * PAGE, 3 * PAGE);
        t.same(t.sys.cachestat(fd, 0, 0).cache, 5, 'pages after a hole');
        t.sys.fallocate(fd, 3, 0, 8 * PAGE);
        t.same(t.sys.cachestat(fd, 0, 0).cache, 0, 'pages after punching all');
        t.same(t.sys.fstat(fd).size, BigInt(8 * PAGE), 'size');
        t.refused(t.sys.raw.fallocate(fd, 1, 0, 9 * PAGE), 'EINVAL', 'allocating beyond the size');
      } finally {
        t.sys.close(fd);
      }
    });

    forKinds(scenario, [SHARED])('mapping_works_on_when_file_and_vm_are_closed', (t, kind) => {
      const vm = t.kvm.createVm(0);
      const file = makeFile(t, kind, 4, vm);
      const map = t.map(file);
      map.fill(0x2e, { length: 2 * PAGE });
      file.close();
      t.filledWith(map.read(0, 2 * PAGE), 0x2e, 'after the file is closed');
      vm.close();
      map.fill(0x2f, { offset: PAGE, length: 2 * PAGE });
      t.filledWith(map.read(0, PAGE), 0x2e, 'page 0 after the VM is closed');
      t.filledWith(map.read(PAGE, 2 * PAGE), 0x2f, 'pages 1 and 2');
      t.filledWith(map.read(3 * PAGE, PAGE), 0, 'page 3');
    });

    held('duplicate_is_the_same_file', (t, kind) => {
      const vm = t.vm();
      const file = makeFile(t, kind, 4, vm);
      const copy = t.sys.fcntl(file.fd, F.value.F_DUPFD_CLOEXEC, 0);
      try {
        t.same(t.sys.fstat(copy).ino, file.stat().ino, 'inode');
        t.sys.fallocate(copy, 1, PAGE, PAGE);
        t.same(heldIndexes(file), [1], 'pages seen through the first');
        file.close();
        t.same(t.sys.cachestat(copy, 0, 0).cache, 1, 'pages after the first is closed');
      } finally {
        t.sys.close(copy);
      }
    });

    each('closing_before_and_after_its_slot', (t, kind) => {
      for (const fileFirst of [true, false]) {
        const vm = t.kvm.createVm(kind.needs.vmType === 'sw-protected' ? 1 : 0);
        const file = makeFile(t, kind, 4, vm);
        const region = { slot: 1, guest_phys_addr: 0x100_0000, memory_size: 4 * PAGE };
        const flags = KVM_MEM.value.KVM_MEM_GUEST_MEMFD;
        const bound = vm.raw.setUserMemoryRegion2({ ...region, flags, guest_memfd: file.fd });
        // Before 6.18 a VM without private memory refuses the flag; closing is the same without a slot.
        if (kind.needs.vmType === 'sw-protected' || t.isAtLeast([6, 18])) t.accepted(bound, 'binding');
        else t.refused(bound, 'EINVAL', 'binding in a VM without private memory');
        if (fileFirst) file.close();
        vm.close();
      }
    });

    const guests = forGuests(scenario);

    guests('contents_survive_deletion_of_the_slot', async (t, kind) => {
      const { guest, file, slot, gpa, pages } = fileGuest(t, kind, { pages: 8, first: 2 });
      await stamp(guest, { gpa, pages });
      slot.delete();
      const again = fileGuest(t, kind, { guest, file, slot: 2, pages: 8, first: 2, gpa: gpa + 64 * PAGE });
      await findStamps(t, guest, { gpa: again.gpa, pages });
    });

    guests('slot_at_another_place_of_the_file_shows_that_place', async (t, kind) => {
      const { guest, file, slot, gpa } = fileGuest(t, kind, { pages: 8 });
      await stamp(guest, { gpa, pages: 8 });
      slot.delete();
      const again = fileGuest(t, kind, { guest, file, pages: 8, first: 5, slotPages: 3, gpa });
      const reports = await guest.run((g) => {
        for (let page = 0; page < 3; page++) g.report(page, g.load(again.gpa + page * PAGE));
      });
      t.same(
        [0, 1, 2].map((page) => reports.get(page)),
        [0x10005n, 0x10006n, 0x10007n],
        'stamps of pages 5 to 7',
      );
    });

    guests('mapping_or_duplicate_keeps_the_guest_s_memory', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind, { pages: 4 });
      const copy = t.sys.fcntl(file.fd, F.value.F_DUPFD_CLOEXEC, 0);
      await stamp(guest, { gpa, pages });
      file.close();
      try {
        await findStamps(t, guest, { gpa, pages });
      } finally {
        t.sys.close(copy);
      }
    });

    forGuests(scenario, [GUEST_SHARED])('mapping_alone_keeps_the_guest_s_memory', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind, { pages: 4 });
      const map = t.map(file);
      await stamp(guest, { gpa, pages });
      file.close();
      await findStamps(t, guest, { gpa, pages });
      map.fill(0x19, { offset: PAGE, length: PAGE });
      await guest.run((g) => g.check(gpa + PAGE, PAGE, 0x19));
    });

    guests('closed_file_ends_in_a_memory_fault', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind, { pages: 4 });
      await stamp(guest, { gpa, pages });
      file.close();
      const { last } = await guest.start((g) => g.report(0, g.load(gpa + 2 * PAGE + 24)));
      const expected = { name: 'KVM_EXIT_MEMORY_FAULT', gpa: gpa + 2 * PAGE, size: PAGE, private: kind.private };
      if (last.name !== 'KVM_EXIT_MEMORY_FAULT') throw new Broken('the exit', expected.name, describeExit(last));
      const { name, size } = last;
      t.same({ name, gpa: last.gpa, size, private: last.private }, expected, 'exit');
      t.same([last.code, last.flags], ['EFAULT', kind.private ? 8n : 0n], 'errno and flags');
    });

    guests('closed_file_is_gone_from_each_of_its_slots', async (t, kind) => {
      const { guest, file, gpa } = fileGuest(t, kind, { pages: 8, slotPages: 4 });
      const other = fileGuest(t, kind, { guest, file, slot: 2, first: 5, slotPages: 3, gpa: gpa + 64 * PAGE });
      await stamp(guest, { gpa, pages: 4 }, { gpa: other.gpa, pages: 3 });
      file.close();
      for (const at of [gpa, other.gpa]) {
        const { last } = await guest.start((g) => g.report(0, g.load(at + PAGE)));
        t.same(last.name, 'KVM_EXIT_MEMORY_FAULT', `exit at gpa 0x${at.toString(16)}`);
      }
      for (const slot of [1, 2])
        guest.vm.ioctl(KVM_SET_USER_MEMORY_REGION, kvm_userspace_memory_region.encode({ slot }));
      const fresh = fileGuest(t, kind, { guest, slot: 3, pages: 8 });
      await guest.run((g) => g.check(fresh.gpa, 8 * PAGE, 0));
    });

    guests('refused_bindings_do_not_keep_the_file', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind, { pages: 4 });
      const { vm } = guest;
      const region = { slot: 2, flags: 4, guest_phys_addr: 2 * gpa, memory_size: 2 * PAGE, guest_memfd: file.fd };
      for (const refused of [
        { ...region, guest_memfd_offset: 3 * PAGE },
        { ...region, guest_memfd_offset: 0 },
        { ...region, guest_phys_addr: 1n << 60n },
        { ...region, slot: 1 },
        { ...region, guest_phys_addr: gpa },
      ])
        t.refused(vm.raw.setUserMemoryRegion2(refused), ['EINVAL', 'EEXIST'], 'a binding that cannot be');
      t.refused(t.vm().raw.setUserMemoryRegion2({ ...region, guest_memfd_offset: 0 }), 'EINVAL', 'in another VM');
      await stamp(guest, { gpa, pages });
      file.close();
      const { last } = await guest.start((g) => g.report(0, g.load(gpa)));
      t.same(last.name, 'KVM_EXIT_MEMORY_FAULT', 'exit once the file is closed');
    });

    guests('slot_made_anew_after_its_file_was_closed', async (t, kind) => {
      const { guest, file, gpa, pages } = fileGuest(t, kind, { pages: 4 });
      await stamp(guest, { gpa, pages });
      file.close();
      deleteSlot(guest);
      const again = makeFile(t, kind, 4, guest.vm);
      guest.vm.setUserMemoryRegion2({
        ...{ slot: 3, flags: 4, guest_phys_addr: gpa, memory_size: 4 * PAGE },
        guest_memfd: again.fd,
      });
      await guest.run((g) => g.check(gpa, pages * PAGE, 0));
    });
  },
);
