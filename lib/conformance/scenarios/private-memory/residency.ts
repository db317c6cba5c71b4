/** What private memory costs: pages come with the first touch on their side, one by one, and go with holes. */
import { phases, turn } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, HUGE, PAGE, PRIVATE_GUEST, twoSided } from '../../two-sided.ts';

export const privateMemoryResidency = topic(
  'private_memory/residency',
  {
    promise: 'virt/kvm/guest_memfd.c: kvm_gmem_get_folio, kvm_gmem_punch_hole; cachestat(2), Linux 6.8',
    needs: PRIVATE_GUEST,
  },
  (scenario) => {
    scenario('only_touched_pages_are_allocated', async (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: 2 * HUGE });
      vm.setPrivate(AREA, 2 * HUGE);
      t.same(file.residency().cache, 0, 'pages before the guest runs');
      const touched = [0, 7, 511, 512, 900];
      await phases(t.guest({ vm }), (g) => {
        g.touch(AREA, 2 * HUGE);
        for (const page of touched) g.load(AREA + page * PAGE);
      });
      t.same(file.residency().cache, touched.length, 'pages afterwards');
      for (const page of touched) t.same(file.residency(page * PAGE, PAGE).cache, 1, `page ${page}`);
    });

    scenario('shared_accesses_allocate_no_private_page', async (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: 8 * PAGE });
      await phases(t.guest({ vm }), (g) => g.fill(AREA, 8 * PAGE, 0x21));
      t.same(file.residency().cache, 0, 'pages of the guest_memfd');
    });

    scenario('private_accesses_allocate_no_shared_page', async (t) => {
      const vm = t.vm();
      const memory = t.memfd({ size: 8 * PAGE });
      twoSided(t, vm, { size: 8 * PAGE, shared: t.map(memory) });
      vm.setPrivate(AREA, 8 * PAGE);
      await phases(t.guest({ vm }), (g) => g.fill(AREA, 8 * PAGE, 0x21));
      t.same(memory.residency().cache, 0, 'pages of the shared side');
    });

    scenario('conversion_frees_nothing', async (t) => {
      const vm = t.vm();
      const memory = t.memfd({ size: 8 * PAGE });
      const { file } = twoSided(t, vm, { size: 8 * PAGE, shared: t.map(memory) });
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, 8 * PAGE, 0x11);
          turn(g);
          g.fill(AREA, 8 * PAGE, 0x21);
          turn(g);
        },
        () => vm.setPrivate(AREA, 8 * PAGE),
        () => vm.setShared(AREA, 8 * PAGE),
      );
      t.same([memory.residency().cache, file.residency().cache], [8, 8], 'pages of both sides');
    });

    scenario('conversion_of_untouched_memory_allocates_nothing', (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: 8 * HUGE });
      for (const isPrivate of [8, 0, 8]) vm.setMemoryAttributes(AREA, 8 * HUGE, isPrivate);
      t.same(file.residency().cache, 0, 'pages of the guest_memfd');
    });

    scenario('holes_give_back_exactly_their_pages', async (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: 8 * PAGE });
      vm.setPrivate(AREA, 8 * PAGE);
      await phases(t.guest({ vm }), (g) => g.fill(AREA, 8 * PAGE, 0x21));
      const held = () => Array.from({ length: 8 }, (_, i) => file.residency(i * PAGE, PAGE).cache).join('');
      t.same(held(), '11111111', 'pages after the guest ran');
      file.punchHole(2 * PAGE, 3 * PAGE);
      t.same(held(), '11000111', 'pages after one hole');
      file.punchHole(7 * PAGE, PAGE);
      file.punchHole(0, PAGE);
      t.same(held(), '01000110', 'pages after three');
      file.punchHole(0, 8 * PAGE);
      t.same(held(), '00000000', 'pages in the end');
    });

    scenario('memory_of_the_machine_comes_back', { needs: { real: true } }, async (t) => {
      // 32 MiB, again and again: a leak would be seen long before the last round.
      const { readFileSync } = await import('node:fs');
      const free = (): number =>
        Number(/MemAvailable:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) * 1024;
      const size = 16 * HUGE;
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size });
      vm.setPrivate(AREA, size);
      const guest = t.guest({ vm });
      const before = free();
      for (let round = 0; round < 8; round++) {
        file.allocate(0, size);
        await guest.run((g) => g.store(AREA + round * PAGE, 1));
        file.punchHole(0, size);
      }
      const lost = before - free();
      t.holds(lost < 4 * size, 'what was freed can be used again', `${lost} bytes are gone after 8 times ${size}`);
    });
  },
);
