/** Two sides of one frame: who sees what, before and after the attribute changes. */
import { addressPattern, patternBytes } from '../../../guest/index.ts';
import type { GuestMemfd } from '../../../kvm/guest-memfd.ts';
import { phases, turn } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_GUEST, twoSided } from '../../two-sided.ts';

const SIZE = 4 * PAGE;

export const privateMemoryContents = topic(
  'private_memory/contents',
  {
    promise: 'Documentation/virt/kvm/api.rst 4.140, 4.142; arch/x86/kvm/mmu/mmu.c: __kvm_mmu_faultin_pfn, Linux 6.8',
    needs: PRIVATE_GUEST,
  },
  (scenario) => {
    scenario('memory_is_shared_at_first', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: SIZE });
      shared.write(0, patternBytes(AREA, SIZE, addressPattern(1)));
      await phases(t.guest({ vm }), (g) => {
        g.check(AREA, SIZE, addressPattern(1));
        g.fill(AREA, SIZE, addressPattern(2));
      });
      t.same(
        shared.read(0, SIZE),
        patternBytes(AREA, SIZE, addressPattern(2)),
        'the shared side after the guest wrote',
      );
    });

    scenario('fresh_private_pages_are_zero', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: SIZE });
      shared.fill(0x5a);
      vm.setPrivate(AREA, SIZE);
      await phases(t.guest({ vm }), (g) => g.check(AREA, SIZE, 0));
    });

    scenario('pages_allocated_beforehand_are_zero', async (t) => {
      const vm = t.vm();
      const { shared, file } = twoSided(t, vm, { size: SIZE });
      shared.fill(0x5a);
      file.allocate(0, SIZE);
      vm.setPrivate(AREA, SIZE);
      await phases(t.guest({ vm }), (g) => g.check(AREA, SIZE, 0));
    });

    for (const [name, prepare] of [
      ['freed_pages_come_back_zeroed', () => {}],
      ['freed_pages_that_are_allocated_again_are_zero', (file: GuestMemfd) => file.allocate(0, 16 * SIZE)],
    ] as const) {
      scenario(name, async (t) => {
        // Pages that one VM filled and gave back are what the next one gets.
        for (let round = 0; round < 3; round++) {
          const vm = t.vm();
          const { file } = twoSided(t, vm, { size: 16 * SIZE });
          prepare(file);
          vm.setPrivate(AREA, 16 * SIZE);
          await phases(t.guest({ vm }), (g) => {
            g.check(AREA, 16 * SIZE, 0);
            g.fill(AREA, 16 * SIZE, 0xd7);
          });
          file.punchHole(0, 16 * SIZE);
          vm.close();
        }
      });
    }

    scenario('guest_reads_back_what_it_wrote_privately', async (t) => {
      const vm = t.vm();
      twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, addressPattern(3));
          turn(g);
          g.check(AREA, SIZE, addressPattern(3));
        },
        () => {},
      );
    });

    scenario('private_writes_do_not_reach_the_shared_side', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: SIZE });
      shared.fill(0x11);
      vm.setPrivate(AREA, SIZE);
      await phases(t.guest({ vm }), (g) => g.fill(AREA, SIZE, 0x22));
      t.filledWith(shared.read(0, SIZE), 0x11, 'the shared side');
    });

    scenario('host_writes_do_not_reach_the_private_side', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: SIZE });
      vm.setPrivate(AREA, SIZE);
      await phases(
        t.guest({ vm }),
        (g) => {
          g.fill(AREA, SIZE, 0x22);
          turn(g);
          g.check(AREA, SIZE, 0x22);
        },
        () => shared.fill(0x33),
      );
    });

    scenario('sides_differ_at_the_boundary_of_an_attribute', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: SIZE });
      shared.fill(0x11);
      vm.setPrivate(AREA + PAGE, 2 * PAGE);
      await phases(t.guest({ vm }), (g) => {
        g.check(AREA, PAGE, 0x11);
        g.check(AREA + PAGE, 2 * PAGE, 0);
        g.check(AREA + 3 * PAGE, PAGE, 0x11);
        g.fill(AREA, SIZE, 0x44);
      });
      t.filledWith(shared.read(0, PAGE), 0x44, 'the shared page before');
      t.filledWith(shared.read(PAGE, 2 * PAGE), 0x11, 'the shared side of the private pages');
      t.filledWith(shared.read(3 * PAGE, PAGE), 0x44, 'the shared page behind');
    });

    scenario('one_access_over_both_sides', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: 2 * PAGE });
      vm.setPrivate(AREA + PAGE, PAGE);
      const seam = AREA + PAGE - 4;
      const reports = await phases(t.guest({ vm }), (g) => {
        g.store(seam, 0x1122_3344_5566_7788n);
        g.report(0, g.load(seam));
        g.report(1, g.load(AREA + PAGE, { size: 4 }));
      });
      t.same(reports.get(0), 0x1122_3344_5566_7788n, 'what the guest reads back over the seam');
      t.same(reports.get(1), 0x1122_3344n, 'the private half');
      t.same(shared.readU64(PAGE - 8), 0x5566_7788_0000_0000n, 'the shared half');
      t.filledWith(shared.read(PAGE, PAGE), 0, 'the shared side of the private page');
    });

    scenario('copies_between_the_sides', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: SIZE });
      shared.write(0, patternBytes(AREA, PAGE, addressPattern(5)));
      vm.setPrivate(AREA + PAGE, PAGE);
      await phases(t.guest({ vm }), (g) => {
        g.copy(AREA + PAGE, AREA, PAGE);
        g.copy(AREA + 2 * PAGE, AREA + PAGE, PAGE);
      });
      t.same(
        shared.read(2 * PAGE, PAGE),
        patternBytes(AREA, PAGE, addressPattern(5)),
        'what went through a private page',
      );
      t.filledWith(shared.read(PAGE, PAGE), 0, 'the shared side of that page');
    });

    scenario('atomic_operations_on_private_memory', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: PAGE });
      vm.setPrivate(AREA, PAGE);
      const reports = await phases(t.guest({ vm }), (g) => {
        g.store(AREA + 8, 40);
        g.report(0, g.fetchAdd(AREA + 8, 2));
        g.report(1, g.compareExchange(AREA + 8, 42, 7));
        g.report(2, g.compareExchange(AREA + 8, 42, 9));
        g.report(3, g.load(AREA + 8));
      });
      t.same([...reports.values()], [40n, 42n, 7n, 7n], 'old values, and what memory holds');
      t.filledWith(shared.read(0, PAGE), 0, 'the shared side');
    });

    scenario('instructions_run_from_private_memory', async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: 2 * PAGE });
      vm.setPrivate(AREA, PAGE);
      const data = AREA + PAGE;
      const reports = await phases(t.guest({ vm }), (g) => {
        g.touch(data, PAGE);
        // mov dword [rdi], 0x2a; jmp rsi: the host never held these bytes at this place.
        const code = 0xe6ff_0000_002a_07c7n;
        g.store(AREA, code);
        g.asm((a) => {
          const back = a.label();
          a.mov('rdi', data).mov('rax', AREA).lea('rsi', { label: back }).jmp('rax').bind(back);
        });
        g.report(0, g.load(data, { size: 4 }));
      });
      t.same(reports.get(0), 0x2an, 'what the instruction in private memory wrote');
      t.filledWith(shared.read(0, PAGE), 0, 'the shared side of the code');
    });
  },
);
