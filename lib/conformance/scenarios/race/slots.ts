/** Slots without private memory that change under a running guest. */

import type { Vm } from '../../../kvm/vm.ts';
import { KVM_CAP, KVM_X86_QUIRK } from '../../../uapi/index.ts';
import { Background, untilStopped } from '../../background.ts';
import type { Context } from '../../context.ts';
import { type Guest, halted } from '../../guest.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE } from '../../two-sided.ts';

/** Without this quirk a slot that goes takes its own mappings with it, not all. */
const SLOT_ZAP_ALL = KVM_X86_QUIRK.value.KVM_X86_QUIRK_SLOT_ZAP_ALL;
const CAP = KVM_CAP.value.KVM_CAP_DISABLE_QUIRKS2;
/** What the host answers where no slot is. */
const MMIO = 2n;

/** Reads one word for ever, and reports a value that is none of these. */
function spin(guest: Guest, good: readonly bigint[]): Background {
  return new Background(
    guest,
    (g) => {
      const bad = g.variable(0);
      untilStopped(g, 0, () => {
        const value = g.load(AREA);
        const matches = g.variable(0);
        for (const one of good) g.when(value.eq(one), () => matches.set(1));
        g.when(matches.eq(0), () => bad.set(value.add(1)));
        return value;
      });
      g.report(0, bad);
    },
    0,
    (exit) => {
      if (exit.name !== 'KVM_EXIT_MMIO' || exit.gpa !== AREA || exit.length !== 8 || exit.isWrite) return false;
      guest.vcpu().answer(MMIO);
      return true;
    },
  );
}

const add = (vm: Vm, t: Context, word: bigint) => {
  const backing = t.anonymous(2 * PAGE);
  backing.writeU64(0, word);
  backing.writeU64(PAGE, 9);
  return t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 2 * PAGE, backing }));
};

export const raceSlots = topic(
  'race/slots',
  {
    promise:
      'virt/kvm/kvm_main.c: kvm_set_memslot, kvm_invalidate_memslot; arch/x86/kvm/mmu/mmu.c: kvm_arch_flush_shadow_memslot',
    needs: { guest: true, mmu: true },
  },
  (scenario) => {
    for (const quirk of [true, false]) {
      const suffix = quirk ? '' : '_zapping_its_own_mappings_only';
      const needs = quirk ? {} : { caps: { KVM_CAP_DISABLE_QUIRKS2: SLOT_ZAP_ALL } };
      const prepare = (t: Context): Vm => {
        const vm = t.vm();
        if (!quirk) vm.enableCap(CAP, [SLOT_ZAP_ALL]);
        return vm;
      };

      scenario(`moved_away_and_back${suffix}`, { needs }, async (t) => {
        const vm = prepare(t);
        const slot = add(vm, t, 1n);
        const reader = spin(t.guest({ vm }), [1n, MMIO]);
        for (let round = 0; round < 8; round++) {
          await reader.progress();
          slot.move(AREA + 16 * PAGE);
          await reader.progress();
          t.same(reader.last, MMIO, `what is read after the slot left, move ${round + 1}`);
          slot.move(AREA);
          await reader.progress();
          t.same(reader.last, 1n, `what is read after it came back, move ${round + 1}`);
        }
        t.same(halted(await reader.stop()).get(0), 0n, 'another value, plus 1');
      });

      scenario(`moved_by_one_page_shows_its_other_page${suffix}`, { needs }, async (t) => {
        const vm = prepare(t);
        const slot = add(vm, t, 1n);
        const reader = spin(t.guest({ vm }), [1n, MMIO, 9n]);
        await reader.progress();
        slot.move(AREA - PAGE);
        await reader.progress();
        t.same(reader.last, 9n, 'what is read: the second page lies here now');
        slot.move(AREA);
        await reader.progress();
        t.same(reader.last, 1n, 'what is read: the first page again');
        t.same(halted(await reader.stop()).get(0), 0n, 'another value, plus 1');
      });

      scenario(`deleted_and_recreated_with_other_memory${suffix}`, { needs }, async (t) => {
        const vm = prepare(t);
        let slot = add(vm, t, 1n);
        const reader = spin(t.guest({ vm }), [1n, MMIO, 5n]);
        for (const word of [5n, 1n, 5n]) {
          await reader.progress();
          slot.delete();
          await reader.progress();
          t.same(reader.last, MMIO, 'what is read without a slot');
          slot = add(vm, t, word);
          await reader.progress();
          t.same(reader.last, word, 'what is read from other memory');
        }
        t.same(halted(await reader.stop()).get(0), 0n, 'another value, plus 1');
      });
    }
  },
);
