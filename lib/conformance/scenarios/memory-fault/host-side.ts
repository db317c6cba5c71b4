/** Shared memory that the host cannot give: KVM_RUN fails, and no exit says where. And what is no fault at all: MMIO. */
import { KVM_MEM, kvm_run, PROT } from '../../../uapi/index.ts';
import { refused, same } from '../../check.ts';
import { type Guest, halted } from '../../guest.ts';
import { handedOver, mmio, turn } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_GUEST, twoSided } from '../../two-sided.ts';

const { PROT_NONE, PROT_READ, PROT_WRITE } = PROT.value;

/** KVM_RUN fails with EFAULT and leaves exit_reason 0, whatever the exit before was. */
async function unreachable(guest: Guest, what: string): Promise<void> {
  const vcpu = guest.vcpu();
  refused(await vcpu.raw.run({ signal: AbortSignal.timeout(8000) }), 'EFAULT', what);
  same(vcpu.runPage.getUint32(kvm_run.offsets.exit_reason, true), 0, `exit_reason after ${what}`);
}

export const memoryFaultHostSide = topic(
  'memory_fault/host_side',
  {
    promise: 'arch/x86/kvm/mmu/mmu.c: kvm_handle_error_pfn; arch/x86/kvm/x86.c: vcpu_run sets KVM_EXIT_UNKNOWN',
    needs: { guest: true, mmu: true },
  },
  (scenario) => {
    scenario('memory_without_access_is_EFAULT_and_no_exit', async (t) => {
      const vm = t.vm();
      const backing = t.anonymous(2 * PAGE);
      backing.fill(0x11);
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 2 * PAGE, backing }));
      backing.protect(PROT_NONE, { offset: PAGE, length: PAGE });
      const guest = t.guest({ vm });
      guest.load((g) => {
        turn(g);
        g.check(AREA, PAGE, 0x11);
        g.check(AREA + PAGE, PAGE, 0x11);
      });
      handedOver(await guest.resume());
      // The first check ends in a report: the one of the second page never comes.
      const { last } = await guest
        .vcpu()
        .run()
        .then((exit) => ({ last: exit }));
      same(last.name, 'KVM_EXIT_MMIO', 'the report of the first page');
      await unreachable(guest, 'a read of the page without access');
      await unreachable(guest, 'the same again');
      backing.protect(PROT_READ | PROT_WRITE, { offset: PAGE, length: PAGE });
      halted(await guest.resume());
    });

    scenario('write_to_memory_for_reading_is_EFAULT', async (t) => {
      const vm = t.vm();
      const backing = t.anonymous(PAGE, { shared: false });
      backing.fill(0x11);
      backing.protect(PROT_READ);
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: PAGE, backing }));
      const guest = t.guest({ vm });
      guest.load((g) => {
        g.report(0, g.load(AREA));
        turn(g);
        g.store(AREA, 1);
      });
      same(handedOver(await guest.resume()).get(0), 0x1111_1111_1111_1111n, 'what the guest reads');
      await unreachable(guest, 'a write');
      t.filledWith(backing.read(0, PAGE), 0x11, 'the memory');
      backing.protect(PROT_READ | PROT_WRITE);
      halted(await guest.resume());
      t.same(backing.readU64(0), 1n, 'the memory after it became writable');
    });

    scenario('nothing_mapped_there_is_EFAULT', async (t) => {
      const vm = t.vm();
      const backing = t.anonymous(3 * PAGE);
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 3 * PAGE, backing }));
      t.sys.munmap(backing.hva + PAGE, PAGE);
      const guest = t.guest({ vm });
      guest.load((g) => {
        g.fill(AREA, PAGE, 0x21);
        g.fill(AREA + 2 * PAGE, PAGE, 0x22);
        turn(g);
        g.store(AREA + PAGE, 1);
      });
      handedOver(await guest.resume());
      await unreachable(guest, 'a write into the hole');
      t.filledWith(backing.read(0, PAGE), 0x21, 'the page before');
      t.filledWith(backing.read(2 * PAGE, PAGE), 0x22, 'the page behind');
    });

    scenario('beyond_the_end_of_the_file_is_EFAULT', async (t) => {
      const vm = t.vm();
      const file = t.memfd({ size: PAGE });
      const backing = t.map(file, { length: 2 * PAGE });
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 2 * PAGE, backing }));
      const guest = t.guest({ vm });
      guest.load((g) => {
        g.store(AREA, 1);
        turn(g);
        g.store(AREA + PAGE, 2);
      });
      handedOver(await guest.resume());
      await unreachable(guest, 'a write beyond the end');
      file.truncate(2 * PAGE);
      halted(await guest.resume());
      t.same([backing.readU64(0), backing.readU64(PAGE)], [1n, 2n], 'both pages in the end');
    });

    scenario('unmapped_after_the_guest_used_it_is_EFAULT', async (t) => {
      // The guest has the page mapped: the notifier must take it away.
      const vm = t.vm();
      const backing = t.anonymous(PAGE);
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: PAGE, backing }));
      const guest = t.guest({ vm });
      guest.load((g) => {
        g.store(AREA, 1);
        turn(g);
        g.store(AREA, 2);
      });
      handedOver(await guest.resume());
      t.sys.munmap(backing.hva, PAGE);
      await unreachable(guest, 'a write to what was unmapped');
    });

    scenario('private_side_does_not_need_the_host_address', { needs: PRIVATE_GUEST }, async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: 2 * PAGE });
      shared.protect(PROT_NONE);
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      guest.load((g) => {
        g.fill(AREA, PAGE, 0x21);
        g.check(AREA, PAGE, 0x21);
        turn(g);
        g.store(AREA + PAGE, 1);
      });
      handedOver(await guest.resume());
      await unreachable(guest, 'a write to the shared page');
    });

    scenario('hole_of_a_file_is_no_fault', async (t) => {
      const vm = t.vm();
      const backing = t.map(t.memfd({ size: 2 * PAGE }));
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 2 * PAGE, backing }));
      await t.guest({ vm }).run((g) => g.check(AREA, 2 * PAGE, 0));
    });

    scenario(
      'shared_access_without_a_slot_is_MMIO',
      { promise: 'arch/x86/kvm/mmu/mmu.c: kvm_handle_noslot_fault' },
      async (t) => {
        const vm = t.vm();
        const guest = t.guest({ vm });
        const gpa = AREA + 3 * PAGE + 0x128;
        const read = await guest.start((g) => {
          g.report(0, g.load(gpa));
          g.store(gpa + 8, 0x1234_5678_9abc_def0n);
        });
        mmio(read.last, gpa);
        guest.vcpu().answer(0xfeed_0000_beefn);
        const write = await guest.resume();
        t.same(write.reports.get(0), 0xfeed_0000_beefn, 'the answer, as the guest sees it');
        mmio(write.last, gpa + 8, 0x1234_5678_9abc_def0n);
        halted(await guest.resume());
      },
    );

    scenario('shared_access_in_a_private_VM_without_a_slot_is_MMIO', { needs: PRIVATE_GUEST }, async (t) => {
      const vm = t.vm();
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      const read = await guest.start((g) => g.report(0, g.load(AREA + PAGE)));
      mmio(read.last, AREA + PAGE);
      guest.vcpu().answer(7);
      t.same(halted(await guest.resume()).get(0), 7n, 'the answer, as the guest sees it');
    });

    scenario(
      'write_to_a_read_only_slot_is_MMIO',
      { promise: 'Documentation/virt/kvm/api.rst 4.35, KVM_MEM_READONLY' },
      async (t) => {
        const vm = t.vm();
        const backing = t.anonymous(PAGE);
        backing.fill(0x11);
        const flags = KVM_MEM.value.KVM_MEM_READONLY;
        t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: PAGE, backing, flags }));
        const guest = t.guest({ vm });
        const run = await guest.start((g) => {
          g.check(AREA, PAGE, 0x11);
          g.store(AREA + 24, 0x55);
          g.check(AREA, PAGE, 0x11);
        });
        mmio(run.last, AREA + 24, 0x55);
        halted(await guest.resume());
        t.filledWith(backing.read(0, PAGE), 0x11, 'the memory');
      },
    );

    scenario('private_page_of_a_read_only_slot_faults', { needs: PRIVATE_GUEST }, async (t) => {
      // Read-only slots have no guest_memfd, so there is nothing to map, not even for reading.
      const vm = t.vm();
      const flags = KVM_MEM.value.KVM_MEM_READONLY;
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: PAGE, backing: t.anonymous(PAGE), flags }));
      vm.setPrivate(AREA, PAGE);
      const guest = t.guest({ vm });
      const { last } = await guest.start((g) => g.store(AREA + 24, 0x55));
      t.same(last.name, 'KVM_EXIT_MEMORY_FAULT', 'the exit of a write');
    });

    scenario(
      'interrupted_run_keeps_the_exit_reason_before',
      { promise: 'arch/x86/kvm/x86.c: kvm_arch_vcpu_ioctl_run, immediate_exit comes before vcpu_run' },
      async (t) => {
        const guest = t.guest();
        handedOver(
          await guest.start((g) => {
            turn(g);
            g.loopForever(() => {});
          }),
        );
        const vcpu = guest.vcpu();
        const reason = () => vcpu.runPage.getUint32(kvm_run.offsets.exit_reason, true);
        t.same(reason(), 2, 'exit_reason of the port access');
        vcpu.kick();
        t.same((await vcpu.run()).name, 'KVM_EXIT_INTR', 'the run that was kicked beforehand');
        t.same(reason(), 2, 'exit_reason after it');
      },
    );
  },
);
