/** Which page of a guest_memfd a frame shows: guest_memfd_offset, several slots over one file, slots that are made anew. */
import { addressPattern } from '../../../guest/index.ts';
import { F } from '../../../uapi/index.ts';
import { memoryFault, mmio, phases, turn } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_GUEST, twoSided } from '../../two-sided.ts';

const SIZE = 4 * PAGE;
const FAR = AREA + 512 * PAGE;

export const privateMemorySlots = topic(
  'private_memory/slots',
  {
    promise: 'virt/kvm/guest_memfd.c: kvm_gmem_get_index, kvm_gmem_bind, kvm_gmem_unbind, Linux 6.8',
    needs: PRIVATE_GUEST,
  },
  (scenario) => {
    scenario('pages_lie_at_the_offset_of_the_slot', async (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: SIZE, offset: 5 * PAGE });
      vm.setPrivate(AREA, SIZE);
      await phases(t.guest({ vm }), (g) => {
        g.store(AREA + PAGE, 1);
        g.store(AREA + 3 * PAGE, 1);
      });
      const held = Array.from({ length: 9 }, (_, i) => file.residency(i * PAGE, PAGE).cache);
      t.same(held, [0, 0, 0, 0, 0, 0, 1, 0, 1], 'pages that the file holds');
    });

    scenario('slots_of_one_file_show_their_own_pages', async (t) => {
      const vm = t.vm();
      const file = t.guestMemfd(vm, 3 * SIZE);
      // Neither the order of the slots nor that of the addresses is the file's.
      const gpas = [AREA + 2 * SIZE, AREA, FAR];
      gpas.forEach((gpa, i) => {
        twoSided(t, vm, { slot: i, gpa, size: SIZE, file, offset: i * SIZE });
        vm.setPrivate(gpa, SIZE);
      });
      await phases(t.guest({ vm }), (g) => {
        for (const gpa of gpas) g.fill(gpa, SIZE, addressPattern(gpa));
        for (const gpa of gpas) g.check(gpa, SIZE, addressPattern(gpa));
      });
      t.same(file.residency().cache, 12, 'pages of the file');
    });

    scenario('recreated_slot_shows_the_same_pages', async (t) => {
      const vm = t.vm();
      const { file, slot } = twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, addressPattern(1));
          turn(g);
          g.check(AREA, SIZE, addressPattern(1));
        },
        () => {
          slot.delete();
          twoSided(t, vm, { slot: 7, size: SIZE, file });
        },
      );
    });

    scenario('recreated_with_another_offset_shows_other_pages', async (t) => {
      const vm = t.vm();
      const file = t.guestMemfd(vm, 8 * PAGE);
      const { slot } = twoSided(t, vm, { size: SIZE, file, offset: 2 * PAGE });
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          for (const i of [0, 1, 2, 3]) g.fill(AREA + i * PAGE, PAGE, 0x30 + i);
          turn(g);
          // One page further: what was frame 1 is frame 0 now, and behind comes a page that nobody touched.
          for (const i of [0, 1, 2]) g.check(AREA + i * PAGE, PAGE, 0x31 + i);
          g.check(AREA + 3 * PAGE, PAGE, 0);
        },
        () => {
          slot.delete();
          twoSided(t, vm, { size: SIZE, file, offset: 3 * PAGE });
        },
      );
    });

    scenario('pages_follow_the_file_to_another_address', async (t) => {
      const vm = t.vm();
      const { file, slot } = twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, SIZE);
      vm.setPrivate(FAR, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, addressPattern(2));
          turn(g);
          // Each word names the address at which it was written.
          g.check(FAR, SIZE, addressPattern(2n ^ BigInt(AREA) ^ BigInt(FAR)));
        },
        () => {
          slot.delete();
          twoSided(t, vm, { gpa: FAR, size: SIZE, file });
        },
      );
    });

    scenario('another_file_in_its_place_is_zero', async (t) => {
      const vm = t.vm();
      const { slot, shared } = twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, 0x21);
          turn(g);
          g.check(AREA, SIZE, 0);
        },
        () => {
          slot.delete();
          twoSided(t, vm, { size: SIZE, shared });
        },
      );
    });

    scenario('deleted_slot_faults_where_private_and_is_MMIO_where_shared', async (t) => {
      const vm = t.vm();
      const { slot } = twoSided(t, vm, { size: 2 * PAGE });
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      guest.load((g) => {
        g.fill(AREA, 2 * PAGE, 0x21);
        turn(g);
        g.report(0, g.load(AREA + PAGE + 8));
        g.load(AREA + 8);
      });
      t.same((await guest.resume()).last.name, 'KVM_EXIT_IO', 'the first part');
      slot.delete();
      mmio((await guest.resume()).last, AREA + PAGE + 8);
      guest.vcpu().answer(3);
      const run = await guest.resume();
      t.same(run.reports.get(0), 3n, 'the answer');
      memoryFault(run, { gpa: AREA, private: true });
    });

    scenario('deletion_keeps_the_pages_of_the_file', async (t) => {
      const vm = t.vm();
      const { file, slot } = twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, SIZE);
      await phases(t.guest({ vm }), (g) => g.fill(AREA, SIZE, 0x21));
      slot.delete();
      t.same(file.residency().cache, 4, 'pages after the slot is gone');
      file.punchHole(PAGE, 2 * PAGE);
      t.same(file.residency().cache, 2, 'pages after a hole without a slot');
    });

    scenario('closed_file_takes_its_pages_from_the_guest', async (t) => {
      const vm = t.vm();
      const { file, shared } = twoSided(t, vm, { size: 2 * PAGE });
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      guest.load((g) => {
        g.fill(AREA, 2 * PAGE, 0x21);
        turn(g);
        g.fill(AREA + PAGE, PAGE, 0x22);
        g.load(AREA + 0x30);
      });
      t.same((await guest.resume()).last.name, 'KVM_EXIT_IO', 'the first part');
      file.close();
      memoryFault(await guest.resume(), { gpa: AREA, private: true });
      t.filledWith(shared.read(PAGE, PAGE), 0x22, 'the shared page, which needs no file');
    });

    scenario('file_with_another_descriptor_lives_on', async (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: PAGE });
      vm.setPrivate(AREA, PAGE);
      const twin = t.sys.fcntl(file.fd, F.value.F_DUPFD_CLOEXEC);
      const guest = t.guest({ vm });
      await phases(
        guest,
        (g) => {
          g.fill(AREA, PAGE, 0x21);
          turn(g);
          g.check(AREA, PAGE, 0x21);
        },
        () => file.close(),
      );
      t.same(t.sys.cachestat(twin, 0, 0).cache, 1, 'pages of the file');
      t.sys.close(twin);
      memoryFault(await guest.start((g) => void g.load(AREA)), { gpa: AREA, private: true });
    });

    scenario('slot_of_a_closed_file_can_be_replaced', async (t) => {
      const vm = t.vm();
      const { file, slot, shared } = twoSided(t, vm, { size: PAGE });
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      await guest.run((g) => g.fill(AREA, PAGE, 0x21));
      file.close();
      slot.delete();
      twoSided(t, vm, { size: PAGE, shared });
      await guest.run((g) => {
        g.check(AREA, PAGE, 0);
        g.fill(AREA, PAGE, 0x22);
        g.check(AREA, PAGE, 0x22);
      });
    });
  },
);
