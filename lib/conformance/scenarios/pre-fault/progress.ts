/** KVM_PRE_FAULT_MEMORY: how far it comes, and why no further. */
import { KVM_EXIT, KVM_RUN_EXIT_OFFSET, kvm_run, kvm_run_memory_fault, MAP, PROT } from '../../../uapi/index.ts';
import type { Context } from '../../context.ts';
import { signals } from '../../elsewhere.ts';
import { both } from '../../needs.ts';
import { phases } from '../../phases.ts';
import { PRE_FAULT, type PreFaulted, preFault } from '../../pre-fault.ts';
import { topic } from '../../scenario.ts';
import { AREA, HUGE, PAGE, PRIVATE_GUEST, PRIVATE_VM, twoSided } from '../../two-sided.ts';

/** Succeeded and stands there. */
function stands(t: Context, { result, gpa, size }: PreFaulted, at: number, left: number, what: string): void {
  t.accepted(result, what);
  t.same([gpa, size], [BigInt(at), BigInt(left)], `gpa and size after ${what}`);
}

/** Failed without progress. */
function stuck(
  t: Context,
  { result, gpa, size }: PreFaulted,
  code: string,
  at: number,
  left: number,
  what: string,
): void {
  t.refused(result, code, what);
  t.same([gpa, size], [BigInt(at), BigInt(left)], `gpa and size after ${what}`);
}

const PRIVATE = both(PRIVATE_VM, PRE_FAULT);
const GUEST = both(PRIVATE_GUEST, PRE_FAULT);

export const preFaultProgress = topic(
  'pre_fault/progress',
  {
    promise:
      'virt/kvm/kvm_main.c: kvm_vcpu_pre_fault_memory; arch/x86/kvm/mmu/mmu.c: kvm_arch_vcpu_pre_fault_memory, Linux 6.11',
    needs: { arch: 'x64', ...PRE_FAULT },
  },
  (scenario) => {
    for (const side of ['shared', 'private'] as const) {
      const needs = side === 'shared' ? {} : PRIVATE;
      const prepare = (t: Context) => {
        const vm = t.vm();
        const size = HUGE + PAGE;
        if (side === 'shared') t.use(vm.addMemslot({ slot: 0, gpa: AREA, size, backing: t.anonymous(size) }));
        else {
          twoSided(t, vm, { size });
          vm.setPrivate(AREA, size);
        }
        return vm.createVcpu();
      };

      scenario(`${side}_range_is_done_to_its_end`, { needs }, (t) => {
        const vcpu = prepare(t);
        stands(t, preFault(vcpu, AREA, HUGE), AREA + HUGE, 0, '2 MiB');
        stands(t, preFault(vcpu, AREA, HUGE), AREA + HUGE, 0, 'the same again');
        stands(t, preFault(vcpu, AREA + HUGE, PAGE), AREA + HUGE + PAGE, 0, 'the last page');
      });

      scenario(`${side}_range_that_leaves_its_slot_stops_there`, { needs }, (t) => {
        const vcpu = prepare(t);
        const end = AREA + HUGE + PAGE;
        stands(t, preFault(vcpu, AREA + HUGE, 3 * PAGE), end, 2 * PAGE, 'one page of three');
        stuck(t, preFault(vcpu, end, 2 * PAGE), 'ENOENT', end, 2 * PAGE, 'the rest');
        stands(t, preFault(vcpu, AREA, HUGE + 4 * PAGE), end, 3 * PAGE, 'all of the slot and more');
      });
    }

    scenario('no_slot_is_ENOENT', (t) => {
      stuck(t, preFault(t.vm().createVcpu(), AREA, 2 * PAGE), 'ENOENT', AREA, 2 * PAGE, 'two pages');
    });

    scenario('no_slot_and_private_is_EFAULT', { needs: PRIVATE }, (t) => {
      const vm = t.vm();
      vm.setPrivate(AREA + PAGE, PAGE);
      const vcpu = vm.createVcpu();
      stuck(t, preFault(vcpu, AREA + PAGE, PAGE), 'EFAULT', AREA + PAGE, PAGE, 'the private page');
      stuck(t, preFault(vcpu, AREA, 2 * PAGE), 'ENOENT', AREA, 2 * PAGE, 'the shared page before it');
      vm.setShared(AREA + PAGE, PAGE);
      stuck(t, preFault(vcpu, AREA + PAGE, PAGE), 'ENOENT', AREA + PAGE, PAGE, 'the page made shared');
    });

    scenario('private_page_without_a_file_is_EFAULT_with_the_fault_in_kvm_run', { needs: PRIVATE }, (t) => {
      const vm = t.vm();
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 4 * PAGE, backing: t.anonymous(4 * PAGE) }));
      vm.setPrivate(AREA + 2 * PAGE, PAGE);
      const vcpu = vm.createVcpu();
      stands(t, preFault(vcpu, AREA, 4 * PAGE), AREA + 2 * PAGE, 2 * PAGE, 'the shared pages before it');
      stuck(t, preFault(vcpu, AREA + 2 * PAGE, 2 * PAGE), 'EFAULT', AREA + 2 * PAGE, 2 * PAGE, 'the private page');
      const { runPage } = vcpu;
      const at = kvm_run_memory_fault.offsets;
      const word = (offset: number) => runPage.getBigUint64(KVM_RUN_EXIT_OFFSET + offset, true);
      t.same(runPage.getUint32(kvm_run.offsets.exit_reason, true), KVM_EXIT.value.KVM_EXIT_MEMORY_FAULT, 'exit_reason');
      t.same(
        [word(at.flags), word(at.gpa), word(at.size)],
        [8n, BigInt(AREA + 2 * PAGE), BigInt(PAGE)],
        'flags, gpa and size',
      );
    });

    scenario('closed_file_is_EFAULT', { needs: PRIVATE }, (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: 2 * PAGE });
      vm.setPrivate(AREA, PAGE);
      const vcpu = vm.createVcpu();
      stands(t, preFault(vcpu, AREA, PAGE), AREA + PAGE, 0, 'the private page');
      file.close();
      stuck(t, preFault(vcpu, AREA, PAGE), 'EFAULT', AREA, PAGE, 'the private page without its file');
      stands(t, preFault(vcpu, AREA + PAGE, PAGE), AREA + 2 * PAGE, 0, 'the shared page');
    });

    scenario('memory_without_access_is_EFAULT', (t) => {
      const vm = t.vm();
      const backing = t.anonymous(4 * PAGE);
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 4 * PAGE, backing }));
      backing.protect(PROT.value.PROT_NONE, { offset: PAGE, length: 2 * PAGE });
      const vcpu = vm.createVcpu();
      stands(t, preFault(vcpu, AREA, 4 * PAGE), AREA + PAGE, 3 * PAGE, 'the page before');
      stuck(t, preFault(vcpu, AREA + PAGE, 3 * PAGE), 'EFAULT', AREA + PAGE, 3 * PAGE, 'the page itself');
      stands(t, preFault(vcpu, AREA + 3 * PAGE, PAGE), AREA + 4 * PAGE, 0, 'the page behind');
    });

    scenario('memory_for_reading_is_enough', (t) => {
      // A read is simulated, so memory that can only be read will do.
      const vm = t.vm();
      const backing = t.anonymous(2 * PAGE, { shared: false });
      backing.protect(PROT.value.PROT_READ);
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 2 * PAGE, backing }));
      stands(t, preFault(vm.createVcpu(), AREA, 2 * PAGE), AREA + 2 * PAGE, 0, 'both pages');
    });

    scenario('slots_that_touch_are_one_range', (t) => {
      const vm = t.vm();
      for (const i of [0, 1, 2])
        t.use(vm.addMemslot({ slot: i, gpa: AREA + i * PAGE, size: PAGE, backing: t.anonymous(PAGE) }));
      stands(t, preFault(vm.createVcpu(), AREA, 4 * PAGE), AREA + 3 * PAGE, PAGE, 'three slots');
    });

    scenario('slot_deleted_and_recreated', (t) => {
      const vm = t.vm();
      const backing = t.anonymous(2 * PAGE);
      const ends = t.differs({
        since: [6, 16],
        now: true,
        before: false,
        because:
          'the deletion made the page tables obsolete, and only KVM_RUN took new ones: it tried again until a signal came',
      });
      // The simulated call that would never end does as if a signal came.
      if (!ends && t.sys.kernel.backend === 'kvm') t.use(signals(200));
      let vcpu = vm.createVcpu(0);
      for (let round = 0; round < 5; round++) {
        const slot = vm.addMemslot({ slot: 0, gpa: AREA, size: 2 * PAGE, backing });
        stands(t, preFault(vcpu, AREA, 2 * PAGE), AREA + 2 * PAGE, 0, `round ${round + 1}`);
        slot.delete();
        if (!ends) {
          stuck(t, preFault(vcpu, AREA, 2 * PAGE), 'EINTR', AREA, 2 * PAGE, `deletion ${round + 1}`);
          vcpu = vm.createVcpu(round + 1);
        }
        stuck(t, preFault(vcpu, AREA, 2 * PAGE), 'ENOENT', AREA, 2 * PAGE, `deletion ${round + 1}`);
      }
    });

    scenario('each_page_on_the_side_of_its_attribute', { needs: GUEST }, async (t) => {
      const vm = t.vm();
      const memory = t.memfd({ size: 8 * PAGE });
      const { file } = twoSided(t, vm, { size: 8 * PAGE, shared: t.map(memory) });
      for (const i of [1, 2, 5]) vm.setPrivate(AREA + i * PAGE, PAGE);
      const guest = t.guest({ vm });
      stands(t, preFault(guest.vcpu(), AREA, 8 * PAGE), AREA + 8 * PAGE, 0, 'pages of both sides');
      t.same(file.residency().cache, 3, 'pages of the guest_memfd');
      for (const i of [1, 2, 5]) t.same(file.residency(i * PAGE, PAGE).cache, 1, `page ${i} of the guest_memfd`);
      t.same(memory.residency().cache, 5, 'pages of the shared side');
      await phases(guest, (g) => g.check(AREA, 8 * PAGE, 0));
    });

    scenario('nothing_outside_the_range_is_allocated', { needs: PRIVATE }, (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: 16 * PAGE, offset: 4 * PAGE });
      vm.setPrivate(AREA, 16 * PAGE);
      stands(t, preFault(vm.createVcpu(), AREA + 3 * PAGE, 5 * PAGE), AREA + 8 * PAGE, 0, 'five pages');
      t.same(file.residency().cache, 5, 'pages of the file');
      t.same(file.residency(7 * PAGE, 5 * PAGE).cache, 5, 'pages where they belong');
    });

    scenario('huge_page_ends_where_it_ends', { needs: PRIVATE }, (t) => {
      // Asked for from its second page on, a huge page must not count for what lies behind it.
      const vm = t.vm();
      const shared = t.anonymous(3 * HUGE, { shared: false });
      const sharedOffset = HUGE - (shared.hva % HUGE);
      shared.fill(0x11);
      const { file } = twoSided(t, vm, { size: HUGE + 4 * PAGE, shared, sharedOffset });
      vm.setPrivate(AREA + HUGE, 2 * PAGE);
      stands(t, preFault(vm.createVcpu(), AREA + PAGE, HUGE), AREA + HUGE + PAGE, 0, '2 MiB from the second page on');
      t.same(file.residency().cache, 1, 'private pages behind the huge page');
    });

    scenario('contents_stay', { needs: GUEST }, async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, {
        size: 4 * PAGE,
        shared: t.anonymous(4 * PAGE, { shared: false, flags: MAP.value.MAP_NORESERVE }),
      });
      vm.setPrivate(AREA + 2 * PAGE, 2 * PAGE);
      shared.fill(0x11, { length: PAGE });
      const guest = t.guest({ vm });
      await guest.run((g) => g.fill(AREA + 2 * PAGE, PAGE, 0x22));
      stands(t, preFault(guest.vcpu(), AREA, 4 * PAGE), AREA + 4 * PAGE, 0, 'all four');
      await phases(guest, (g) => {
        g.check(AREA, PAGE, 0x11);
        g.check(AREA + PAGE, PAGE, 0);
        g.check(AREA + 2 * PAGE, PAGE, 0x22);
        g.check(AREA + 3 * PAGE, PAGE, 0);
        g.fill(AREA, 4 * PAGE, 0x33);
        g.check(AREA, 4 * PAGE, 0x33);
      });
      t.filledWith(shared.read(0, 2 * PAGE), 0x33, 'the shared pages after the guest wrote');
      t.filledWith(shared.read(2 * PAGE, 2 * PAGE), 0, 'the shared side of the private pages');
    });

    scenario('attribute_changed_afterwards_is_obeyed', { needs: GUEST }, async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: 4 * PAGE });
      shared.fill(0x11);
      const guest = t.guest({ vm });
      guest.load((g) => {
        g.check(AREA, 2 * PAGE, 0);
        g.check(AREA + 2 * PAGE, 2 * PAGE, 0x11);
        g.fill(AREA, 4 * PAGE, 0x22);
      });
      stands(t, preFault(guest.vcpu(), AREA, 4 * PAGE), AREA + 4 * PAGE, 0, 'shared pages');
      vm.setPrivate(AREA, 2 * PAGE);
      await guest.resume();
      t.filledWith(shared.read(0, 2 * PAGE), 0x11, 'the shared side of what became private');
      t.filledWith(shared.read(2 * PAGE, 2 * PAGE), 0x22, 'what stayed shared');
    });

    scenario('hole_punched_afterwards_is_obeyed', { needs: GUEST }, async (t) => {
      const vm = t.vm();
      const { file } = twoSided(t, vm, { size: 2 * PAGE });
      vm.setPrivate(AREA, 2 * PAGE);
      const guest = t.guest({ vm });
      stands(t, preFault(guest.vcpu(), AREA, 2 * PAGE), AREA + 2 * PAGE, 0, 'private pages');
      t.same(file.residency().cache, 2, 'pages of the file');
      file.punchHole(0, 2 * PAGE);
      t.same(file.residency().cache, 0, 'pages after the punch');
      await guest.run((g) => g.store(AREA + PAGE, 1));
      t.same(file.residency(PAGE, PAGE).cache, 1, 'the page that the guest touched');
    });
  },
);
