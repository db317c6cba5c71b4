/** Attributes belong to guest-physical addresses: what that means for slots that come, go, move and overlap a range in part. */
import { memoryFault, phases, turn } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_GUEST, twoSided } from '../../two-sided.ts';

export const attributesSlots = topic(
  'attributes/slots',
  {
    promise:
      'virt/kvm/kvm_main.c: kvm_vm_set_mem_attributes, kvm_handle_gfn_range; include/linux/kvm_host.h: mem_attr_array is of the VM, Linux 6.8',
    needs: PRIVATE_GUEST,
  },
  (scenario) => {
    scenario('set_before_there_is_a_slot', async (t) => {
      const vm = t.vm();
      vm.setPrivate(AREA + PAGE, 2 * PAGE);
      const { shared } = twoSided(t, vm, { size: 4 * PAGE });
      shared.fill(0x11);
      await phases(t.guest({ vm }), (g) => {
        g.check(AREA, PAGE, 0x11);
        g.check(AREA + PAGE, 2 * PAGE, 0);
        g.check(AREA + 3 * PAGE, PAGE, 0x11);
      });
    });

    scenario('survive_deletion_of_the_slot', async (t) => {
      const vm = t.vm();
      const { file, shared, slot } = twoSided(t, vm, { size: 3 * PAGE });
      shared.fill(0x11);
      vm.setPrivate(AREA + PAGE, PAGE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA + PAGE, PAGE, 0x22);
          turn(g);
          g.check(AREA, PAGE, 0x11);
          g.check(AREA + PAGE, PAGE, 0x22);
          g.check(AREA + 2 * PAGE, PAGE, 0x11);
        },
        () => {
          slot.delete();
          twoSided(t, vm, { slot: 3, size: 3 * PAGE, file, shared });
        },
      );
    });

    scenario('do_not_follow_a_slot_to_another_place', async (t) => {
      const vm = t.vm();
      const { file, shared, slot } = twoSided(t, vm, { size: 2 * PAGE });
      shared.fill(0x11);
      vm.setPrivate(AREA, PAGE);
      slot.delete();
      const elsewhere = AREA + 64 * PAGE;
      vm.setPrivate(elsewhere + PAGE, PAGE);
      twoSided(t, vm, { gpa: elsewhere, size: 2 * PAGE, file, shared });
      await phases(t.guest({ vm }), (g) => {
        g.check(elsewhere, PAGE, 0x11);
        g.check(elsewhere + PAGE, PAGE, 0);
      });
    });

    scenario('range_over_slots_and_holes', async (t) => {
      const vm = t.vm();
      const at = [0, 3, 4, 9].map((page) => AREA + page * PAGE);
      const parts = at.map((gpa, i) => twoSided(t, vm, { slot: i, gpa, size: PAGE }));
      for (const { shared } of parts) shared.fill(0x11);
      await phases(
        t.guest({ vm }),
        (g) => {
          for (const gpa of at) g.check(gpa, PAGE, 0x11);
          turn(g);
          for (const gpa of at) g.check(gpa, PAGE, 0);
          for (const [i, gpa] of at.entries()) g.fill(gpa, PAGE, 0x20 + i);
          turn(g);
          for (const gpa of at) g.check(gpa, PAGE, 0x11);
          turn(g);
          for (const [i, gpa] of at.entries()) g.check(gpa, PAGE, 0x20 + i);
        },
        () => vm.setPrivate(AREA, 10 * PAGE),
        () => vm.setShared(AREA - PAGE, 12 * PAGE),
        () => vm.setPrivate(AREA, 10 * PAGE),
      );
      for (const { shared } of parts) t.filledWith(shared.read(0, PAGE), 0x11, 'the shared side');
    });

    scenario('range_that_begins_in_one_slot_and_ends_in_another', async (t) => {
      const vm = t.vm();
      const second = AREA + 4 * PAGE;
      const parts = [AREA, second].map((gpa, i) => twoSided(t, vm, { slot: i, gpa, size: 4 * PAGE }));
      for (const { shared } of parts) shared.fill(0x11);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.check(AREA, 8 * PAGE, 0x11);
          turn(g);
          g.check(AREA, 3 * PAGE, 0x11);
          g.check(AREA + 3 * PAGE, 2 * PAGE, 0);
          g.check(AREA + 5 * PAGE, 3 * PAGE, 0x11);
        },
        () => vm.setPrivate(AREA + 3 * PAGE, 2 * PAGE),
      );
    });

    scenario('mapped_memory_of_a_slot_without_a_file_is_taken_away', async (t) => {
      // Nothing private can be mapped there, but the shared page that is mapped must go all the same.
      const vm = t.vm();
      const shared = t.anonymous(2 * PAGE);
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 2 * PAGE, backing: shared }));
      const guest = t.guest({ vm });
      guest.load((g) => {
        g.fill(AREA, 2 * PAGE, 0x11);
        turn(g);
        g.store(AREA + PAGE, 0x22);
        g.store(AREA, 0x33);
      });
      t.same((await guest.resume()).last.name, 'KVM_EXIT_IO', 'the first part');
      vm.setPrivate(AREA, PAGE);
      memoryFault(await guest.resume(), { gpa: AREA, private: true });
      t.same(shared.readU64(PAGE), 0x22n, 'the page that stayed shared');
      t.filledWith(shared.read(0, PAGE), 0x11, 'the page that became private');
    });

    scenario('slot_moved_onto_private_addresses', async (t) => {
      const vm = t.vm();
      const backing = t.anonymous(PAGE);
      const slot = t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: PAGE, backing }));
      const elsewhere = AREA + 8 * PAGE;
      vm.setPrivate(elsewhere, PAGE);
      const guest = t.guest({ vm });
      guest.load((g) => {
        g.store(AREA, 1);
        turn(g);
        g.store(elsewhere, 2);
      });
      t.same((await guest.resume()).last.name, 'KVM_EXIT_IO', 'the first part');
      slot.move(elsewhere);
      memoryFault(await guest.resume(), { gpa: elsewhere, private: true });
      t.same(backing.readU64(0), 1n, 'the memory');
    });

    scenario('mapped_frames_of_several_vCPUs_are_taken_from_all', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: PAGE });
      shared.fill(0x11);
      const guest = t.guest({ vm });
      for (const id of [0, 1, 2]) {
        guest.load((g) => {
          g.check(AREA, PAGE, 0x11);
          turn(g);
          g.check(AREA, PAGE, 0);
        }, id);
        t.same((await guest.resume(id)).last.name, 'KVM_EXIT_IO', `the first part of vCPU ${id}`);
      }
      vm.setPrivate(AREA, PAGE);
      for (const id of [0, 1, 2]) {
        const { events, last } = await guest.resume(id);
        t.same(last.name, 'KVM_EXIT_HLT', `the end of vCPU ${id}`);
        t.same(
          events.map((event) => event.kind === 'check' && event.passed),
          [true],
          `the second check of vCPU ${id}`,
        );
      }
    });
  },
);
