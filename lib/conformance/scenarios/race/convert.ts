/** Attributes and files that change while a vCPU uses the memory: when the call returns, the old side is out of reach. */
import { Background, breathe, spurious, untilStopped } from '../../background.ts';
import { halted } from '../../guest.ts';
import { memoryFault } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_GUEST, twoSided } from '../../two-sided.ts';

const SHARED = 0x1111n;
const PRIVATE = 0x2222n;
const ROUNDS = 40;

export const raceConvert = topic(
  'race/convert',
  {
    promise:
      'virt/kvm/kvm_main.c: kvm_vm_set_mem_attributes, invalidation around the change; arch/x86/kvm/mmu/mmu.c: is_page_fault_stale, Linux 6.8',
    needs: PRIVATE_GUEST,
  },
  (scenario) => {
    scenario('reader_sees_the_new_side_once_the_call_returned', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: PAGE });
      shared.writeU64(0, SHARED);
      const guest = t.guest({ vm });
      vm.setPrivate(AREA, PAGE);
      await guest.run((g) => g.store(AREA, PRIVATE));
      const reader = new Background(
        guest,
        (g) => {
          const bad = g.variable(0);
          untilStopped(g, 0, () => {
            const value = g.load(AREA);
            g.when(value.ne(SHARED), () => g.when(value.ne(PRIVATE), () => bad.set(value)));
            return value;
          });
          g.report(0, bad);
        },
        0,
        spurious(),
      );
      for (let round = 0; round < ROUNDS; round++) {
        const isPrivate = round % 2 === 1;
        vm.setMemoryAttributes(AREA, PAGE, isPrivate ? 8 : 0);
        await reader.progress();
        t.same(reader.last, isPrivate ? PRIVATE : SHARED, `what is read after conversion ${round + 1}`);
      }
      t.same(halted(await reader.stop()).get(0), 0n, 'a value of neither side');
    });

    scenario('writer_is_gone_from_the_shared_side_once_the_call_returned', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: PAGE });
      const writer = new Background(
        t.guest({ vm }),
        (g) => {
          const i = g.variable(1);
          untilStopped(g, 0, () => {
            i.set(i.add(1));
            g.store(AREA, i);
            return i;
          });
        },
        0,
        spurious(),
      );
      for (let round = 0; round < ROUNDS; round++) {
        await writer.progress();
        vm.setPrivate(AREA, PAGE);
        const left = shared.readU64(0);
        await writer.progress(2);
        t.same(shared.readU64(0), left, `the shared word after conversion ${round + 1} to private`);
        vm.setShared(AREA, PAGE);
        await writer.progress(2);
        t.holds(shared.readU64(0) > left, `the guest writes again after conversion ${round + 1} to shared`);
      }
      halted(await writer.stop());
    });

    scenario('private_side_is_not_written_once_it_is_shared', async (t) => {
      const vm = t.vm();
      twoSided(t, vm, { size: 2 * PAGE });
      const guest = t.guest({ vm });
      const writer = new Background(
        guest,
        (g) => {
          const i = g.variable(1);
          untilStopped(g, 0, () => {
            i.set(i.add(1));
            g.store(AREA, i);
            return i;
          });
        },
        0,
        spurious(),
      );
      vm.setPrivate(AREA, PAGE);
      await writer.progress(2);
      vm.setShared(AREA, PAGE);
      // One store may have been made that the guest had not told yet.
      const bound = writer.last + 1n;
      await writer.progress(4);
      halted(await writer.stop());
      vm.setPrivate(AREA, PAGE);
      const found = (await guest.run((g) => g.report(0, g.load(AREA)), 1)).get(0) ?? 0n;
      t.holds(
        found > 0n && found <= bound,
        'the private word is from before the conversion',
        `${found}, not 1 to ${bound}`,
      );
    });

    scenario('frames_beside_the_range_never_change', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: 4 * PAGE });
      vm.setPrivate(AREA + 2 * PAGE, PAGE);
      shared.fill(0x11);
      const guest = t.guest({ vm });
      await guest.run((g) => g.fill(AREA + 2 * PAGE, PAGE, 0x22));
      const reader = new Background(guest, (g) => {
        const bad = g.variable(0);
        untilStopped(g, 0, () => {
          const [before, behind] = [g.load(AREA), g.load(AREA + 2 * PAGE)];
          g.when(before.ne(0x1111_1111_1111_1111n), () => bad.set(before));
          g.when(behind.ne(0x2222_2222_2222_2222n), () => bad.set(behind));
          return behind;
        });
        g.report(0, bad);
      });
      for (let round = 0; round < ROUNDS; round++) {
        vm.setMemoryAttributes(AREA + PAGE, PAGE, round % 2 === 0 ? 8 : 0);
        vm.setMemoryAttributes(AREA + 3 * PAGE, PAGE, round % 2 === 0 ? 8 : 0);
        if (round % 8 === 0) await reader.progress();
      }
      t.same(halted(await reader.stop()).get(0), 0n, 'another value in the frames beside');
    });

    scenario('punched_page_is_zero_or_rewritten', async (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: 2 * PAGE });
      vm.setPrivate(AREA, 2 * PAGE);
      const guest = t.guest({ vm });
      await guest.run((g) => g.fill(AREA + PAGE, PAGE, 0x22));
      const writer = new Background(guest, (g) => {
        const bad = g.variable(0);
        const i = g.variable(0);
        untilStopped(g, 0, () => {
          i.set(i.add(1));
          g.store(AREA, i);
          const value = g.load(AREA);
          g.when(value.ne(i), () => g.when(value.ne(0), () => bad.set(value)));
          return i;
        });
        g.report(0, bad);
        g.check(AREA + PAGE, PAGE, 0x22);
      });
      for (let round = 0; round < ROUNDS; round++) {
        file.punchHole(0, PAGE);
        if (round % 4 === 0) await writer.progress();
      }
      await writer.progress();
      t.same(halted(await writer.stop()).get(0), 0n, 'a value that is neither zero nor what was just written');
      t.same(file.residency().cache, 2, 'pages of the file in the end');
    });

    scenario('write_after_the_punch_goes_to_a_page_of_the_file', async (t) => {
      // A mapping that outlived the punch would take writes that nobody can read again.
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: PAGE });
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      const writer = new Background(guest, (g) => {
        const i = g.variable(0);
        untilStopped(g, 0, () => {
          i.set(i.add(1));
          g.store(AREA, i);
          return i;
        });
        g.report(0, g.load(AREA).sub(i));
      });
      for (let round = 0; round < ROUNDS; round++) {
        await writer.progress();
        file.punchHole(0, PAGE);
        await writer.progress();
        t.same(file.residency().cache, 1, `pages of the file after punch ${round + 1}`);
      }
      t.same(halted(await writer.stop()).get(0), 0n, 'difference between the last write and what is read');
    });

    scenario('file_closed_under_a_vCPU', async (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: 2 * PAGE });
      vm.setPrivate(AREA + PAGE, PAGE);
      const reader = new Background(t.guest({ vm }), (g) => untilStopped(g, 0, () => g.load(AREA + PAGE + 0x100)));
      await reader.progress();
      file.close();
      memoryFault(await reader.end(), { gpa: AREA + PAGE, private: true });
    });

    scenario('slot_deleted_under_a_vCPU', async (t) => {
      const vm = t.vm();
      const { slot } = twoSided(t, vm, { size: PAGE });
      vm.setPrivate(AREA, PAGE);
      const reader = new Background(t.guest({ vm }), (g) => untilStopped(g, 0, () => g.load(AREA)));
      await reader.progress();
      slot.delete();
      memoryFault(await reader.end(), { gpa: AREA, private: true });
    });

    scenario('slot_recreated_under_a_vCPU', async (t) => {
      const vm = t.vm();
      const { file, shared, slot } = twoSided(t, vm, { size: PAGE });
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      await guest.run((g) => g.store(AREA, PRIVATE));
      const reader = new Background(
        guest,
        (g) => {
          const bad = g.variable(0);
          untilStopped(g, 0, () => {
            const value = g.load(AREA);
            g.when(value.ne(PRIVATE), () => bad.set(value));
            return value;
          });
          g.report(0, bad);
        },
        0,
        spurious(),
      );
      let current = slot;
      for (let round = 0; round < 10; round++) {
        await reader.progress();
        current.delete();
        await breathe();
        current = twoSided(t, vm, { size: PAGE, file, shared }).slot;
      }
      await reader.progress();
      t.same(halted(await reader.stop()).get(0), 0n, 'another value than that of the file');
    });
  },
);
