/** Slots under a running guest: moved, deleted, made anew, read-only. */

import type { Memslot } from '../../../kvm/memslot.ts';
import type { Mapping } from '../../../memory/mapping.ts';
import { KVM_CAP } from '../../../uapi/index.ts';
import type { Context } from '../../context.ts';
import { PAGE } from '../../file-kinds.ts';
import { describeExit, type Guest, halted } from '../../guest.ts';
import type { Needs } from '../../needs.ts';
import { topic } from '../../scenario.ts';
import { GPA, mmio } from '../../slots.ts';

/** KVM_X86_QUIRK_SLOT_ZAP_ALL, arch/x86/include/uapi/asm/kvm.h. */
const SLOT_ZAP_ALL = 1 << 7;
const QUIRK = 'Documentation/virt/kvm/api.rst: KVM_X86_QUIRK_SLOT_ZAP_ALL; Linux 6.12';
const SW_PROTECTED: Needs = { vmType: 'sw-protected' };
const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

interface Ram {
  readonly guest: Guest;
  readonly ram: Mapping;
  readonly slot: Memslot;
}

/** Slot 1 over `pages` of anonymous memory; the first word of page n holds n + 1. */
function guestWithRam(t: Context, makeGuest: () => Guest, pages: number): Ram {
  const guest = makeGuest();
  const ram = t.anonymous(pages * PAGE);
  for (let page = 0; page < pages; page++) ram.writeU64(page * PAGE, page + 1);
  return { guest, ram, slot: guest.vm.addMemslot({ slot: 1, gpa: GPA, size: pages * PAGE, backing: ram }) };
}

export const memslotGuest = topic(
  'memslot/guest',
  {
    promise:
      'virt/kvm/kvm_main.c: kvm_set_memslot; tools/testing/selftests/kvm/set_memory_region_test.c; before Linux 6.1',
    needs: { guest: true },
  },
  (scenario) => {
    /** Each for a VM that zaps everything when a slot goes, and for two that zap the slot. */
    const each = (behaviour: string, body: (t: Context, makeGuest: () => Guest) => Promise<void>): void => {
      scenario(behaviour, (t) => body(t, () => t.guest()));
      scenario(`${behaviour}/sw_protected_vm`, { needs: SW_PROTECTED }, (t) => body(t, () => t.guest()));
      const needs: Needs = { caps: { KVM_CAP_DISABLE_QUIRKS2: SLOT_ZAP_ALL }, mmu: true };
      scenario(`${behaviour}/quirk_SLOT_ZAP_ALL_disabled`, { needs, promise: QUIRK }, (t) =>
        body(t, () => {
          const vm = t.vm();
          vm.enableCap(KVM_CAP.value.KVM_CAP_DISABLE_QUIRKS2, [SLOT_ZAP_ALL]);
          return t.guest({ vm });
        }),
      );
    };

    each('memory_without_a_slot_is_an_MMIO_exit', async (t, makeGuest) => {
      const { guest } = guestWithRam(t, makeGuest, 1);
      const run = await guest.start((g) => {
        g.report(0, g.load(GPA + 8));
        g.report(1, g.load(GPA + 2 * PAGE + 16, { size: 4 }));
      });
      mmio(t, run, { gpa: GPA + 2 * PAGE + 16, length: 4, isWrite: false });
      guest.vcpu().answer(0x1234n);
      t.same(halted(await guest.resume()).get(1), 0x1234n, 'what the guest reads there');
    });

    each('deleted_slot_is_no_memory_any_more', async (t, makeGuest) => {
      const { guest, slot, ram } = guestWithRam(t, makeGuest, 4);
      await guest.run((g) => {
        for (let page = 0; page < 4; page++) g.store(GPA + page * PAGE + 8, 0x77);
      });
      slot.delete();
      for (const page of [0, 3]) {
        const run = await guest.start((g) => g.store(GPA + page * PAGE + 8, 0x99));
        mmio(t, run, { gpa: GPA + page * PAGE + 8, length: 8, isWrite: true });
        t.same(ram.readU64(page * PAGE + 8), 0x77n, `page ${page} of the host's memory`);
      }
    });

    each('deletion_leaves_the_other_slots', async (t, makeGuest) => {
      const { guest, slot } = guestWithRam(t, makeGuest, 2);
      const other = t.anonymous(2 * PAGE);
      guest.vm.addMemslot({ slot: 2, gpa: GPA + 2 * PAGE, size: 2 * PAGE, backing: other });
      await guest.run((g) => g.store(GPA + 2 * PAGE, 0x42));
      slot.delete();
      const reports = await guest.run((g) => {
        g.report(0, g.load(GPA + 2 * PAGE));
        g.store(GPA + 3 * PAGE, 0x43);
      });
      t.same([reports.get(0), other.readU64(PAGE)], [0x42n, 0x43n], 'the neighbour');
    });

    each('slot_made_anew_shows_its_new_memory', async (t, makeGuest) => {
      const { guest, slot } = guestWithRam(t, makeGuest, 2);
      await guest.run((g) => g.store(GPA, 0x55));
      slot.delete();
      const fresh = t.anonymous(2 * PAGE);
      guest.vm.addMemslot({ slot: 1, gpa: GPA, size: 2 * PAGE, backing: fresh });
      const reports = await guest.run((g) => {
        g.report(0, g.load(GPA));
        g.store(GPA + PAGE, 0x56);
      });
      t.same([reports.get(0), fresh.readU64(PAGE)], [0n, 0x56n], 'the new memory');
    });

    each('moved_slot_takes_its_memory_along', async (t, makeGuest) => {
      const { guest, slot, ram } = guestWithRam(t, makeGuest, 4);
      await guest.run((g) => {
        for (let page = 0; page < 4; page++) g.store(GPA + page * PAGE + 8, 0x10 + page);
      });
      slot.move(GPA + 64 * PAGE);
      const there = await guest.run((g) => {
        for (let page = 0; page < 4; page++) g.report(page, g.load(GPA + (64 + page) * PAGE + 8));
        g.store(GPA + 64 * PAGE + 16, 0x99);
      });
      t.same(
        [0, 1, 2, 3].map((page) => there.get(page)),
        [0x10n, 0x11n, 0x12n, 0x13n],
        'memory at the new place',
      );
      t.same(ram.readU64(16), 0x99n, "the host's memory");
      mmio(t, await guest.start((g) => g.report(0, g.load(GPA))), { gpa: GPA, length: 8, isWrite: false });
    });

    each('slot_moved_by_a_page_shifts_its_memory', async (t, makeGuest) => {
      const { guest, slot } = guestWithRam(t, makeGuest, 4);
      for (const by of [-1, 0, 1, 2]) {
        slot.move(GPA + by * PAGE);
        const reports = await guest.run((g) => g.report(0, g.load(GPA + 2 * PAGE)));
        t.same(reports.get(0), BigInt(3 - by), `page of memory at page 2 after a move to ${by}`);
      }
    });

    each('refused_move_leaves_memory_usable', async (t, makeGuest) => {
      const { guest, slot, ram } = guestWithRam(t, makeGuest, 2);
      await guest.run((g) => g.store(GPA + 8, 1));
      t.refused(slot.raw.move(2 ** 52), 'EINVAL', 'a move beyond what the host can map');
      t.refused(slot.raw.move(0x10_0000), 'EEXIST', 'a move onto another slot');
      const reports = await guest.run((g) => {
        g.report(0, g.load(GPA + 8));
        g.store(GPA + PAGE + 8, 2);
      });
      t.same([reports.get(0), ram.readU64(PAGE + 8)], [1n, 2n], 'memory afterwards');
    });

    each('slot_moved_under_a_guest_that_spins', async (t, makeGuest) => {
      const { guest, slot } = guestWithRam(t, makeGuest, 2);
      guest.load((g) => {
        g.report(1, 1);
        g.whileEqual(GPA, 1);
        g.report(0, g.load(GPA));
      });
      const first = guest.resume();
      await pause(20);
      slot.move(GPA - PAGE);
      let run = await first;
      // While the slot is away the guest may meet its absence once.
      if (run.last.name === 'KVM_EXIT_MMIO') {
        mmio(t, run, { gpa: GPA, length: 8, isWrite: false });
        guest.vcpu().answer(1);
        run = await guest.resume();
      }
      t.same(halted(run).get(0), 2n, 'the page of memory that is there after the move');
    });

    each('slot_deleted_under_a_guest_that_spins', async (t, makeGuest) => {
      const { guest, slot } = guestWithRam(t, makeGuest, 2);
      guest.load((g) => {
        g.whileEqual(GPA, 1);
        g.report(0, g.load(GPA));
      });
      const first = guest.resume();
      await pause(20);
      slot.delete();
      mmio(t, await first, { gpa: GPA, length: 8, isWrite: false });
      const fresh = t.anonymous(2 * PAGE);
      guest.vm.addMemslot({ slot: 1, gpa: GPA, size: 2 * PAGE, backing: fresh });
      guest.vcpu().answer(2);
      t.same(halted(await guest.resume()).get(0), 0n, 'the fresh memory that is there afterwards');
    });

    each('deletion_of_the_code_s_own_slot_stops_the_guest', async (t, makeGuest) => {
      const { guest } = guestWithRam(t, makeGuest, 1);
      guest.load((g) => g.whileEqual(GPA, 1));
      // With an IDT, which goes with the slot too, KVM would try to deliver the page fault for ever.
      guest.vcpu().x64.updateSregs({ idt: { base: 0n, limit: 0 } });
      const run = guest.resume();
      await pause(20);
      guest.lowSlot.delete();
      const { last } = await run;
      t.holds(
        last.name === 'KVM_EXIT_SHUTDOWN' || last.name === 'KVM_EXIT_INTERNAL_ERROR',
        'a guest without code and page tables shuts down or cannot be emulated',
        describeExit(last),
      );
    });

    each('many_moves_while_the_guest_writes_elsewhere', async (t, makeGuest) => {
      const { guest, slot } = guestWithRam(t, makeGuest, 2);
      const other = t.anonymous(PAGE);
      guest.vm.addMemslot({ slot: 2, gpa: 2 * GPA, size: PAGE, backing: other });
      guest.load((g) => {
        g.repeat(2000, (i) => g.store(2 * GPA, i.add(1)));
        g.report(0, g.load(2 * GPA));
      });
      const run = guest.resume();
      for (let step = 1; step <= 20; step++) slot.move(GPA + step * PAGE);
      t.same(halted(await run).get(0), 2000n, 'what the guest wrote last');
      t.same(other.readU64(0), 2000n, "the host's memory");
    });
  },
);
