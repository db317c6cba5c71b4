/** Many vCPUs over the same private memory. */
import { Background, breathe, spurious, untilStopped } from '../../background.ts';
import { halted } from '../../guest.ts';
import { PRE_FAULT, preFault } from '../../pre-fault.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_GUEST, twoSided } from '../../two-sided.ts';

const VCPUS = [0, 1, 2, 3];

export const raceVcpus = topic(
  'race/vcpus',
  {
    promise: 'arch/x86/kvm/mmu/mmu.c: kvm_tdp_page_fault; virt/kvm/guest_memfd.c: kvm_gmem_get_pfn, Linux 6.8',
    needs: PRIVATE_GUEST,
  },
  (scenario) => {
    scenario('fresh_pages_touched_by_all_are_one_page_each', async (t) => {
      const vm = t.vm();
      const pages = 32;
      const { file } = twoSided(t, vm, { size: pages * PAGE });
      vm.setPrivate(AREA, pages * PAGE);
      const guest = t.guest({ vm });
      for (const id of VCPUS) {
        guest.load((g) => {
          g.touch(AREA, pages * PAGE);
          g.fetchAdd(0x800, 1);
          // All begin at the same moment.
          g.loopWhile(
            () => g.load(0x800).lt(VCPUS.length),
            () => {},
          );
          const dirty = g.variable(0);
          g.repeat(pages, (i) => {
            const word = i.mul(PAGE).add(AREA + 8 * id);
            dirty.set(dirty.or(g.load(word)));
            g.store(word, i.add(id * 1000));
          });
          g.report(0, dirty);
        }, id);
      }
      const ends = await Promise.all(VCPUS.map((id) => guest.resume(id)));
      t.same(
        ends.map((end) => halted(end).get(0)),
        VCPUS.map(() => 0n),
        'what was there before',
      );
      t.same(file.residency().cache, pages, 'pages of the file');
      const reports = await guest.run((g) => {
        const wrong = g.variable(0);
        g.repeat(pages, (i) => {
          for (const id of VCPUS)
            g.when(g.load(i.mul(PAGE).add(AREA + 8 * id)).ne(i.add(id * 1000)), () => wrong.set(wrong.add(1)));
        });
        g.touch(AREA, pages * PAGE);
        g.report(0, wrong);
      });
      t.same(reports.get(0), 0n, 'words that got lost');
    });

    scenario('atomic_additions_add_up', async (t) => {
      const vm = t.vm();
      twoSided(t, vm, { size: PAGE });
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      for (const id of VCPUS) guest.load((g) => g.repeat(500, () => void g.fetchAdd(AREA, id + 1)), id);
      for (const end of await Promise.all(VCPUS.map((id) => guest.resume(id)))) halted(end);
      const reports = await guest.run((g) => g.report(0, g.load(AREA)));
      t.same(reports.get(0), 500n * 10n, 'the sum');
    });

    scenario('one_writes_privately_what_another_reads', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: PAGE });
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      guest.load((g) => {
        g.repeat(50, (i) => {
          g.store(AREA, i.mul(2).add(1));
          g.whileEqual(AREA, i.mul(2).add(1));
        });
      }, 0);
      guest.load((g) => {
        g.repeat(50, (i) => {
          g.loopWhile(
            () => g.load(AREA).ne(i.mul(2).add(1)),
            () => {},
          );
          g.store(AREA, i.mul(2).add(2));
        });
      }, 1);
      for (const end of await Promise.all([guest.resume(0), guest.resume(1)])) halted(end);
      t.filledWith(shared.read(0, PAGE), 0, 'the shared side');
    });

    scenario('conversions_of_one_leave_the_others_alone', async (t) => {
      const vm = t.vm();
      twoSided(t, vm, { size: 8 * PAGE });
      vm.setPrivate(AREA, 8 * PAGE);
      const guest = t.guest({ vm });
      const workers = [1, 2, 3].map(
        (id) =>
          new Background(
            guest,
            (g) => {
              const page = AREA + 2 * id * PAGE;
              const i = g.variable(0);
              const bad = g.variable(0);
              untilStopped(g, id, () => {
                g.when(g.load(page).ne(i), () => bad.set(i.add(1)));
                i.set(i.add(1));
                g.store(page, i);
                return i;
              });
              g.report(0, bad);
            },
            id,
          ),
      );
      for (let round = 0; round < 40; round++) {
        for (const page of [0, 1, 3, 5, 7]) vm.setMemoryAttributes(AREA + page * PAGE, PAGE, round % 2 === 0 ? 0 : 8);
        if (round % 10 === 0) for (const worker of workers) await worker.progress();
      }
      for (const worker of workers) t.same(halted(await worker.stop()).get(0), 0n, 'round in which a word was lost');
    });

    scenario('pre_faulting_beside_a_vCPU_that_writes', { needs: PRE_FAULT }, async (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: 8 * PAGE });
      vm.setPrivate(AREA, 8 * PAGE);
      const guest = t.guest({ vm });
      const writer = new Background(guest, (g) => {
        const i = g.variable(0);
        const bad = g.variable(0);
        untilStopped(g, 0, () => {
          g.when(g.load(AREA + 3 * PAGE).ne(i), () => bad.set(i.add(1)));
          i.set(i.add(1));
          g.store(AREA + 3 * PAGE, i);
          g.store(AREA + 4 * PAGE, i);
          return i;
        });
        g.report(0, bad);
      });
      const other = guest.vcpu(1);
      for (let round = 0; round < 20; round++) {
        file.punchHole(4 * PAGE, 4 * PAGE);
        const { result, size } = preFault(other, AREA, 8 * PAGE);
        t.accepted(result, 'pre-faulting all of it');
        t.same(size, 0n, 'bytes left');
        t.same(file.residency().cache, 8, 'pages of the file');
        if (round % 5 === 0) await writer.progress();
      }
      t.same(halted(await writer.stop()).get(0), 0n, 'round in which a word was lost');
    });

    scenario('readers_on_all_vCPUs_see_one_side', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: PAGE });
      shared.writeU64(0, 1);
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      await guest.run((g) => g.store(AREA, 2));
      const readers = VCPUS.map(
        (id) => new Background(guest, (g) => untilStopped(g, id, () => g.load(AREA)), id, spurious()),
      );
      for (let round = 0; round < 10; round++) {
        const isPrivate = round % 2 === 1;
        vm.setMemoryAttributes(AREA, PAGE, isPrivate ? 8 : 0);
        for (const reader of readers) await reader.progress();
        t.same(
          readers.map((reader) => reader.last),
          VCPUS.map(() => (isPrivate ? 2n : 1n)),
          `what each reads after conversion ${round + 1}`,
        );
        await breathe();
      }
      for (const reader of readers) halted(await reader.stop());
    });
  },
);
