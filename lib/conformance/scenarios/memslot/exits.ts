/** What KVM cannot emulate where there is no slot: fetching code, delivering an event. */

import { PAGE } from '../../file-kinds.ts';
import { describeExit } from '../../guest.ts';
import { topic } from '../../scenario.ts';
import { GPA } from '../../slots.ts';

const INTERNAL_ERROR = 'KVM_EXIT_INTERNAL_ERROR';
/** KVM_INTERNAL_ERROR_DELIVERY_EV. */
const DELIVERY_EVENT = 3;

export const memslotExits = topic(
  'memslot/exits',
  {
    promise:
      'tools/testing/selftests/kvm/set_memory_region_test.c: test_zero_memory_regions, test_mmio_during_vectoring; Linux 6.15',
    needs: { guest: true, mmu: true },
  },
  (scenario) => {
    // Older kernels without two-dimensional paging answer ENOSPC: no slot, no room for page tables.
    scenario('vcpu_without_any_slot_cannot_be_emulated', { needs: { release: [6, 12] } }, async (t) => {
      const vcpu = t.use(t.vm().createVcpu(0));
      const exit = await vcpu.run({ signal: t.signal });
      t.same(exit.name, INTERNAL_ERROR, `exit (${describeExit(exit)})`);
    });

    scenario('event_whose_gate_is_in_no_slot_says_where', { needs: { release: [6, 15] } }, async (t) => {
      const guest = t.guest();
      t.use(guest.vm.addMemslot({ slot: 1, gpa: GPA, size: PAGE, backing: t.anonymous(PAGE) }));
      const idt = 2 * GPA;
      const INVALID_OPCODE = 6;
      guest.load((g) => {
        // Page tables must cover the gate, which is read through them.
        g.touch(idt, PAGE);
        g.asm((a) => a.ud2());
      });
      guest.vcpu().x64.updateSregs({ idt: { base: BigInt(idt), limit: 0xfff } });
      const { last } = await guest.resume();
      if (last.name !== INTERNAL_ERROR) return t.same(describeExit(last), INTERNAL_ERROR, 'exit');
      t.same(last.suberror, DELIVERY_EVENT, `suberror (${describeExit(last)})`);
      t.holds(last.data.length > 4, 'the gpa is in the data', describeExit(last));
      t.same(last.data[3], BigInt(idt + 16 * INVALID_OPCODE), 'gpa of the gate');
    });
  },
);
