/** KVM_MEM_LOG_DIRTY_PAGES and KVM_GET_DIRTY_LOG: which pages the guest wrote. */
import type { Memslot } from '../../../kvm/memslot.ts';
import type { Mapping } from '../../../memory/mapping.ts';
import {
  KVM_CAP,
  KVM_CLEAR_DIRTY_LOG,
  KVM_GET_DIRTY_LOG,
  kvm_clear_dirty_log,
  kvm_dirty_log,
} from '../../../uapi/index.ts';
import type { Context } from '../../context.ts';
import { PAGE } from '../../file-kinds.ts';
import type { Guest } from '../../guest.ts';
import { topic } from '../../scenario.ts';
import { GPA, LOG_DIRTY, READONLY, setRegion } from '../../slots.ts';

interface Logged {
  readonly guest: Guest;
  readonly ram: Mapping;
  readonly slot: Memslot;
}

function logged(t: Context, pages: number, flags = LOG_DIRTY): Logged {
  const guest = t.guest();
  const ram = t.anonymous(pages * PAGE);
  return { guest, ram, slot: guest.vm.addMemslot({ slot: 1, gpa: GPA, size: pages * PAGE, backing: ram, flags }) };
}

const pagesOf = (log: Uint8Array): number[] =>
  [...log].flatMap((byte, i) => [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte >> bit) & 1).map((bit) => 8 * i + bit));

const write = (guest: Guest, ...pages: readonly number[]) =>
  guest.run((g) => {
    for (const page of pages) g.store(GPA + page * PAGE + 8, 0x1000 + page);
  });

export const memslotDirtyLog = topic(
  'memslot/dirty_log',
  { promise: 'virt/kvm/kvm_main.c: kvm_get_dirty_log_protect; before Linux 6.1', needs: { guest: true } },
  (scenario) => {
    scenario('without_a_log_is_ENOENT', (t) => {
      const vm = t.vm();
      const ask = (slot: number) => {
        const bitmap = new Uint8Array(8);
        const pointers = [[kvm_dirty_log.offsets.dirty_bitmap, bitmap]] as const;
        return vm.raw.ioctl(KVM_GET_DIRTY_LOG, kvm_dirty_log.encode({ slot }), pointers);
      };
      t.refused(ask(1), 'ENOENT', 'a slot that is not there');
      t.accepted(setRegion(vm), 'slot 1');
      t.refused(ask(1), 'ENOENT', 'a slot that is not logged');
      t.accepted(setRegion(vm, { flags: LOG_DIRTY }), 'logging it');
      t.accepted(ask(1), 'a slot that is logged');
      t.accepted(setRegion(vm), 'logging it no more');
      t.refused(ask(1), 'ENOENT', 'a slot that is logged no more');
      const limit = vm.checkExtension(KVM_CAP.value.KVM_CAP_NR_MEMSLOTS);
      for (const slot of [limit, 0xffff, 2 << 16]) t.refused(ask(slot), 'EINVAL', `slot ${slot}`);
    });

    scenario('bitmap_that_cannot_be_written_is_EFAULT', (t) => {
      const vm = t.vm();
      t.accepted(setRegion(vm, { flags: LOG_DIRTY }), 'slot 1');
      const request = kvm_dirty_log.encode({ slot: 1, dirty_bitmap: 0 });
      t.refused(vm.raw.ioctl(KVM_GET_DIRTY_LOG, request), 'EFAULT', 'a bitmap at NULL');
    });

    scenario('starts_empty', (t) => {
      const { ram, slot } = logged(t, 8);
      ram.fill(1);
      t.same(pagesOf(slot.dirtyLog()), [], 'pages at first');
    });

    // A page that the guest only read may be in it: KVM may map it for writing at once.
    scenario('leaves_out_pages_that_the_guest_did_not_touch', async (t) => {
      const { guest, slot } = logged(t, 8);
      await guest.run((g) => g.check(GPA + 2 * PAGE, PAGE, 0));
      const log = pagesOf(slot.dirtyLog()).filter((page) => page !== 2);
      t.same(log, [], 'pages in the log beside the one that was read');
    });

    scenario('has_exactly_the_pages_that_the_guest_wrote', async (t) => {
      const { guest, slot } = logged(t, 130);
      await write(guest, 0, 5, 63, 64, 100, 129);
      t.same(pagesOf(slot.dirtyLog()), [0, 5, 63, 64, 100, 129], 'pages in the log');
    });

    scenario('is_cleared_by_reading_and_goes_on', async (t) => {
      const { guest, slot } = logged(t, 70);
      await write(guest, 3, 66);
      t.same(pagesOf(slot.dirtyLog()), [3, 66], 'pages in the log');
      t.same(pagesOf(slot.dirtyLog()), [], 'pages when it is read again');
      await write(guest, 3, 4, 66);
      t.same(pagesOf(slot.dirtyLog()), [3, 4, 66], 'pages after the guest wrote again');
    });

    scenario('write_over_a_page_boundary_marks_both', async (t) => {
      const { guest, slot } = logged(t, 8);
      await guest.run((g) => g.store(GPA + 3 * PAGE - 4, -1n));
      t.same(pagesOf(slot.dirtyLog()), [2, 3], 'pages in the log');
    });

    scenario('writes_of_the_host_are_not_in_it', async (t) => {
      const { guest, ram, slot } = logged(t, 8);
      ram.fill(1);
      await write(guest, 2);
      ram.fill(2);
      t.same(pagesOf(slot.dirtyLog()), [2], 'pages in the log');
    });

    scenario('turned_on_later_has_what_was_written_since', async (t) => {
      const { guest, slot } = logged(t, 8, 0);
      await write(guest, 0, 1, 2);
      slot.setFlags(LOG_DIRTY);
      t.same(pagesOf(slot.dirtyLog()), [], 'pages at first');
      await write(guest, 1, 5);
      t.same(pagesOf(slot.dirtyLog()), [1, 5], 'pages written since');
      slot.setFlags(0);
      await write(guest, 6);
      slot.setFlags(LOG_DIRTY);
      t.same(pagesOf(slot.dirtyLog()), [], 'pages after turning it off and on');
    });

    scenario('of_one_slot_leaves_the_other', async (t) => {
      const { guest, slot } = logged(t, 8);
      const ram = t.anonymous(8 * PAGE);
      const other = guest.vm.addMemslot({
        ...{ slot: 2, gpa: GPA + 8 * PAGE, size: 8 * PAGE, backing: ram, flags: LOG_DIRTY },
      });
      await write(guest, 1, 9);
      t.same(pagesOf(slot.dirtyLog()), [1], 'pages of the first');
      await write(guest, 2);
      t.same(pagesOf(other.dirtyLog()), [1], 'pages of the second');
      t.same(pagesOf(slot.dirtyLog()), [2], 'pages of the first again');
    });

    scenario('survives_a_move', async (t) => {
      const { guest, slot } = logged(t, 8);
      await write(guest, 1, 6);
      slot.move(GPA + 64 * PAGE);
      t.same(pagesOf(slot.dirtyLog()), [1, 6], 'pages in the log after the move');
      await guest.run((g) => g.store(GPA + (64 + 4) * PAGE, 1));
      t.same(pagesOf(slot.dirtyLog()), [4], 'pages written at the new place');
    });

    scenario('goes_with_its_slot', async (t) => {
      const { guest, ram, slot } = logged(t, 8);
      await write(guest, 1, 6);
      slot.delete();
      const again = guest.vm.addMemslot({ slot: 1, gpa: GPA, size: 8 * PAGE, backing: ram, flags: LOG_DIRTY });
      t.same(pagesOf(again.dirtyLog()), [], 'pages of the new slot');
    });

    scenario('refused_write_to_a_read_only_slot_is_not_in_it', async (t) => {
      const { guest, slot } = logged(t, 8, LOG_DIRTY | READONLY);
      const { last } = await guest.start((g) => g.store(GPA + PAGE, 1));
      t.same(last.name, 'KVM_EXIT_MMIO', 'exit');
      t.same(pagesOf(slot.dirtyLog()), [], 'pages in the log');
    });

    const MANUAL = {
      needs: { caps: { KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: 3 } },
      promise: 'virt/kvm/kvm_main.c: kvm_clear_dirty_log_protect; before Linux 6.1',
    };
    const clear = ({ guest: { vm } }: Logged, first: number, count: number, pages: readonly number[]) => {
      const bitmap = new Uint8Array(Math.ceil(count / 64) * 8);
      for (const page of pages) bitmap[(page - first) >> 3] = (bitmap[(page - first) >> 3] ?? 0) | (1 << (page & 7));
      const request = kvm_clear_dirty_log.encode({ slot: 1, num_pages: count, first_page: first });
      return vm.raw.ioctl(KVM_CLEAR_DIRTY_LOG, request, [[kvm_clear_dirty_log.offsets.dirty_bitmap, bitmap]]);
    };

    scenario('manual_clearing_takes_out_what_it_names', MANUAL, async (t) => {
      const all = logged(t, 130, 0);
      const { guest, slot } = all;
      guest.vm.enableCap(KVM_CAP.value.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, [1]);
      slot.setFlags(LOG_DIRTY);
      await write(guest, 1, 2, 65, 129);
      for (let round = 0; round < 2; round++)
        t.same(pagesOf(slot.dirtyLog()), [1, 2, 65, 129], `pages in the log, round ${round}`);
      t.accepted(clear(all, 0, 64, [2, 3]), 'clearing 2 and 3');
      t.same(pagesOf(slot.dirtyLog()), [1, 65, 129], 'pages afterwards');
      t.accepted(clear(all, 64, 66, [65, 129]), 'clearing 65 and 129');
      await write(guest, 2);
      t.same(pagesOf(slot.dirtyLog()), [1, 2], 'pages after another write');
    });

    scenario('manual_clearing_outside_the_slot_is_EINVAL', MANUAL, async (t) => {
      const all = logged(t, 130, LOG_DIRTY);
      for (const [first, count] of [
        [1, 64],
        [63, 64],
        [0, 65],
        [0, 131],
        [64, 67],
        [192, 64],
        [128, 64],
      ] as const)
        t.refused(clear(all, first, count, []), 'EINVAL', `${count} pages from ${first} of 130`);
      for (const [first, count] of [
        [0, 64],
        [64, 64],
        [128, 2],
        [0, 130],
      ] as const)
        t.accepted(clear(all, first, count, []), `${count} pages from ${first} of 130`);
    });

    scenario('initially_set_when_asked_for', MANUAL, async (t) => {
      const { guest, slot } = logged(t, 70, 0);
      guest.vm.enableCap(KVM_CAP.value.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, [3]);
      slot.setFlags(LOG_DIRTY);
      t.same(pagesOf(slot.dirtyLog()).length, 70, 'pages in the log');
    });
  },
);
