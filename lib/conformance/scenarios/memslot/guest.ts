/** Slots under a running guest: moved, deleted, made anew, read-only. */

import type { Memslot } from '../../../kvm/memslot.ts';
import type { Mapping } from '../../../memory/mapping.ts';
import { Broken } from '../../check.ts';
import type { Context } from '../../context.ts';
import { PAGE } from '../../file-kinds.ts';
import { checked, describeExit, type Guest, type GuestRun, halted } from '../../guest.ts';
import type { Needs } from '../../needs.ts';
import { topic } from '../../scenario.ts';
import { GPA, READONLY } from '../../slots.ts';

const SW_PROTECTED: Needs = { vmType: 'sw-protected' };
const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

interface Ram {
  readonly guest: Guest;
  readonly ram: Mapping;
  readonly slot: Memslot;
}

/** Slot 1 over `pages` of anonymous memory; the first word of page n holds n + 1. */
function guestWithRam(t: Context, pages: number, gpa = GPA): Ram {
  const guest = t.guest();
  const ram = t.anonymous(pages * PAGE);
  for (let page = 0; page < pages; page++) ram.writeU64(page * PAGE, page + 1);
  return { guest, ram, slot: guest.vm.addMemslot({ slot: 1, gpa, size: pages * PAGE, backing: ram }) };
}

/** The run ended in an access to memory that no slot has. */
function mmio(t: Context, run: GuestRun, expected: { gpa: number; length: number; isWrite: boolean }): void {
  checked(run);
  const { last } = run;
  if (last.name !== 'KVM_EXIT_MMIO') throw new Broken('the exit', 'KVM_EXIT_MMIO', describeExit(last));
  const { gpa, length, isWrite } = last;
  t.same({ gpa, length, isWrite }, expected, 'exit');
}

export const memslotGuest = topic(
  'memslot/guest',
  {
    promise:
      'virt/kvm/kvm_main.c: kvm_set_memslot; tools/testing/selftests/kvm/set_memory_region_test.c; before Linux 6.1',
    needs: { guest: true },
  },
  (scenario) => {
    /** Each for a VM that zaps everything when a slot goes, and for one that zaps the slot. */
    const each = (behaviour: string, body: (t: Context) => Promise<void>): void => {
      scenario(behaviour, body);
      scenario(`${behaviour}/sw_protected_vm`, { needs: SW_PROTECTED }, body);
    };

    each('memory_without_a_slot_is_an_MMIO_exit', async (t) => {
      const { guest } = guestWithRam(t, 1);
      const run = await guest.start((g) => {
        g.report(0, g.load(GPA + 8));
        g.report(1, g.load(GPA + 2 * PAGE + 16, { size: 4 }));
      });
      mmio(t, run, { gpa: GPA + 2 * PAGE + 16, length: 4, isWrite: false });
      guest.vcpu().answer(0x1234n);
      t.same(halted(await guest.resume()).get(1), 0x1234n, 'what the guest reads there');
    });

    each('deleted_slot_is_no_memory_any_more', async (t) => {
      const { guest, slot, ram } = guestWithRam(t, 4);
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

    each('deletion_leaves_the_other_slots', async (t) => {
      const { guest, slot } = guestWithRam(t, 2);
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

    each('slot_made_anew_shows_its_new_memory', async (t) => {
      const { guest, slot } = guestWithRam(t, 2);
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

    each('moved_slot_takes_its_memory_along', async (t) => {
      const { guest, slot, ram } = guestWithRam(t, 4);
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

    each('slot_moved_by_a_page_shifts_its_memory', async (t) => {
      const { guest, slot } = guestWithRam(t, 4);
      for (const by of [-1, 0, 1, 2]) {
        slot.move(GPA + by * PAGE);
        const reports = await guest.run((g) => g.report(0, g.load(GPA + 2 * PAGE)));
        t.same(reports.get(0), BigInt(3 - by), `page of memory at page 2 after a move to ${by}`);
      }
    });

    each('refused_move_leaves_memory_usable', async (t) => {
      const { guest, slot, ram } = guestWithRam(t, 2);
      await guest.run((g) => g.store(GPA + 8, 1));
      t.refused(slot.raw.move(2 ** 52), 'EINVAL', 'a move beyond what the host can map');
      t.refused(slot.raw.move(0x10_0000), 'EEXIST', 'a move onto another slot');
      const reports = await guest.run((g) => {
        g.report(0, g.load(GPA + 8));
        g.store(GPA + PAGE + 8, 2);
      });
      t.same([reports.get(0), ram.readU64(PAGE + 8)], [1n, 2n], 'memory afterwards');
    });

    each('slot_moved_under_a_guest_that_spins', async (t) => {
      const { guest, slot } = guestWithRam(t, 2);
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

    each('slot_deleted_under_a_guest_that_spins', async (t) => {
      const { guest, slot } = guestWithRam(t, 2);
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

    each('deletion_of_the_code_s_own_slot_stops_the_guest', async (t) => {
      const { guest } = guestWithRam(t, 1);
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

    each('many_moves_while_the_guest_writes_elsewhere', async (t) => {
      const { guest, slot } = guestWithRam(t, 2);
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

export const memslotReadonly = topic(
  'memslot/readonly',
  { promise: 'Documentation/virt/kvm/api.rst: KVM_MEM_READONLY; before Linux 6.1', needs: { guest: true } },
  (scenario) => {
    const each = (behaviour: string, body: (t: Context) => Promise<void>): void => {
      scenario(behaviour, body);
      scenario(`${behaviour}/sw_protected_vm`, { needs: SW_PROTECTED }, body);
    };

    each('guest_reads_it', async (t) => {
      const guest = t.guest();
      const rom = t.anonymous(2 * PAGE);
      rom.fill(0x3c);
      guest.vm.addMemslot({ slot: 1, gpa: GPA, size: 2 * PAGE, backing: rom, flags: READONLY });
      await guest.run((g) => g.check(GPA, 2 * PAGE, 0x3c));
    });

    each('write_is_an_MMIO_exit_and_changes_nothing', async (t) => {
      const guest = t.guest();
      const rom = t.anonymous(2 * PAGE);
      rom.fill(0x3c);
      guest.vm.addMemslot({ slot: 1, gpa: GPA, size: 2 * PAGE, backing: rom, flags: READONLY });
      const run = await guest.start((g) => {
        g.report(0, g.load(GPA + PAGE, { size: 1 }));
        g.store(GPA + PAGE + 4, 0x11223344n, { size: 4 });
        g.report(1, g.load(GPA + PAGE + 4, { size: 4 }));
      });
      mmio(t, run, { gpa: GPA + PAGE + 4, length: 4, isWrite: true });
      if (run.last.name === 'KVM_EXIT_MMIO')
        t.same([...run.last.data.subarray(0, 4)], [0x44, 0x33, 0x22, 0x11], 'what the guest wanted to write');
      t.same(halted(await guest.resume()).get(1), 0x3c3c3c3cn, 'what the guest reads afterwards');
      t.filledWith(rom.read(0, 2 * PAGE), 0x3c, "the host's memory");
    });

    each('host_changes_what_the_guest_reads', async (t) => {
      const guest = t.guest();
      const rom = t.anonymous(PAGE);
      guest.vm.addMemslot({ slot: 1, gpa: GPA, size: PAGE, backing: rom, flags: READONLY });
      for (const value of [5n, 6n]) {
        rom.writeU64(8, value);
        t.same((await guest.run((g) => g.report(0, g.load(GPA + 8)))).get(0), value, 'what the guest reads');
      }
    });

    each('neighbour_stays_writable', async (t) => {
      const guest = t.guest();
      const [rom, ram] = [t.anonymous(PAGE), t.anonymous(PAGE)];
      guest.vm.addMemslot({ slot: 1, gpa: GPA, size: PAGE, backing: rom, flags: READONLY });
      guest.vm.addMemslot({ slot: 2, gpa: GPA + PAGE, size: PAGE, backing: ram });
      await guest.run((g) => g.store(GPA + PAGE, 0x77));
      t.same(ram.readU64(0), 0x77n, 'what the guest wrote behind the read-only slot');
    });
  },
);
