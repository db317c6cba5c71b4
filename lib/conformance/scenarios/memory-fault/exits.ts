/** KVM_EXIT_MEMORY_FAULT: its fields for each kind of access, and that nothing was executed. */
import type { X64Builder } from '../../../guest/x64/builder.ts';
import { halted } from '../../guest.ts';
import { memoryFault } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_GUEST, twoSided } from '../../two-sided.ts';

/** Accesses to 8 bytes, the last of which is a place in a page, not its start. */
const ACCESSES: Readonly<Record<string, (g: X64Builder, gpa: number) => void>> = {
  read: (g, gpa) => void g.load(gpa),
  write: (g, gpa) => g.store(gpa, 1),
  atomic: (g, gpa) => void g.fetchAdd(gpa, 1),
  instruction_fetch: (g, gpa) => {
    g.touch(gpa, 8);
    g.asm((a) => a.mov('rax', gpa).jmp('rax'));
  },
};

export const memoryFaultExits = topic(
  'memory_fault/exits',
  {
    promise:
      'Documentation/virt/kvm/api.rst 5, KVM_EXIT_MEMORY_FAULT; arch/x86/kvm/mmu/mmu.c: kvm_mmu_faultin_pfn_gmem, kvm_handle_noslot_fault, Linux 6.8',
    needs: PRIVATE_GUEST,
  },
  (scenario) => {
    for (const [kind, access] of Object.entries(ACCESSES)) {
      scenario(`${kind}_of_private_memory_without_a_file`, async (t) => {
        const vm = t.vm();
        t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 4 * PAGE, backing: t.anonymous(4 * PAGE) }));
        vm.setPrivate(AREA, 4 * PAGE);
        const gpa = AREA + 2 * PAGE;
        const run = await t.guest({ vm }).start((g) => access(g, gpa + 0x7f8));
        memoryFault(run, { gpa, private: true });
      });

      scenario(`${kind}_of_private_memory_without_a_slot`, async (t) => {
        const vm = t.vm();
        const gpa = AREA + 5 * PAGE;
        vm.setPrivate(gpa, PAGE);
        const run = await t.guest({ vm }).start((g) => access(g, gpa + 0x18));
        memoryFault(run, { gpa, private: true });
      });

      scenario(`${kind}_of_private_memory_whose_file_is_closed`, async (t) => {
        const vm = t.vm();
        const { file } = twoSided(t, vm, { size: 4 * PAGE });
        vm.setPrivate(AREA, 4 * PAGE);
        file.close();
        const gpa = AREA + 3 * PAGE;
        const run = await t.guest({ vm }).start((g) => access(g, gpa + 0xff8));
        memoryFault(run, { gpa, private: true });
      });
    }

    scenario('nothing_was_executed_and_the_exit_repeats', async (t) => {
      const vm = t.vm();
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      const first = await guest.start((g) => g.report(0, g.load(AREA + 8)));
      const { rip } = guest.vcpu().x64.getRegs();
      memoryFault(first, { gpa: AREA, private: true });
      for (let round = 0; round < 5; round++) {
        memoryFault(await guest.resume(), { gpa: AREA, private: true });
        t.same(guest.vcpu().x64.getRegs().rip, rip, `RIP after exit ${round + 2}`);
      }
    });

    scenario('made_shared_the_access_goes_on', async (t) => {
      const vm = t.vm();
      const shared = t.anonymous(2 * PAGE);
      shared.fill(0x11);
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 2 * PAGE, backing: shared }));
      vm.setPrivate(AREA, 2 * PAGE);
      const guest = t.guest({ vm });
      const run = await guest.start((g) => {
        g.store(AREA + 16, 5);
        g.check(AREA + 24, 64, 0x11);
        g.store(AREA + PAGE, 6);
      });
      memoryFault(run, { gpa: AREA, private: true });
      t.filledWith(shared.read(0, 2 * PAGE), 0x11, 'the shared side before');
      vm.setShared(AREA, PAGE);
      memoryFault(await guest.resume(), { gpa: AREA + PAGE, private: true });
      t.same(shared.readU64(16), 5n, 'the first store');
      t.filledWith(shared.read(PAGE, PAGE), 0x11, 'the page behind');
      vm.setShared(AREA + PAGE, PAGE);
      halted(await guest.resume());
      t.same(shared.readU64(PAGE), 6n, 'the second store');
    });

    scenario('given_a_file_the_access_goes_on', async (t) => {
      const vm = t.vm();
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      memoryFault(await guest.start((g) => g.report(0, g.load(AREA))), { gpa: AREA, private: true });
      const { shared } = twoSided(t, vm, { size: PAGE });
      shared.fill(0x11);
      const run = await guest.resume();
      halted(run);
      t.same(run.reports.get(0), 0n, 'what the guest read');
    });

    scenario('given_a_slot_without_a_file_it_repeats', async (t) => {
      const vm = t.vm();
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      memoryFault(await guest.start((g) => g.report(0, g.load(AREA))), { gpa: AREA, private: true });
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: PAGE, backing: t.anonymous(PAGE) }));
      memoryFault(await guest.resume(), { gpa: AREA, private: true });
    });

    scenario('access_over_two_pages_names_the_one_that_fails', async (t) => {
      const vm = t.vm();
      const shared = t.anonymous(3 * PAGE);
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 3 * PAGE, backing: shared }));
      vm.setPrivate(AREA + PAGE, PAGE);
      const into = await t.guest({ vm }).start((g) => g.store(AREA + PAGE - 4, -1));
      memoryFault(into, { gpa: AREA + PAGE, private: true });
      t.filledWith(shared.read(0, 3 * PAGE), 0, 'the shared side: no half of the store was made');
    });

    scenario('access_out_of_a_private_page_names_that_page', async (t) => {
      const vm = t.vm();
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 3 * PAGE, backing: t.anonymous(3 * PAGE) }));
      vm.setPrivate(AREA + PAGE, PAGE);
      const out = await t.guest({ vm }).start((g) => g.store(AREA + 2 * PAGE - 4, -1));
      memoryFault(out, { gpa: AREA + PAGE, private: true });
    });

    scenario('other_vCPUs_go_on', async (t) => {
      const vm = t.vm();
      twoSided(t, vm, { size: 2 * PAGE });
      vm.setPrivate(AREA, 64 * PAGE);
      const guest = t.guest({ vm });
      memoryFault(await guest.start((g) => g.store(AREA + 8 * PAGE, 1)), { gpa: AREA + 8 * PAGE, private: true });
      await guest.run((g) => {
        g.fill(AREA, 2 * PAGE, 0x21);
        g.check(AREA, 2 * PAGE, 0x21);
      }, 1);
    });
  },
);
