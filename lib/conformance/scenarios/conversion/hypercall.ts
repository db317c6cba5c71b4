/** KVM_HC_MAP_GPA_RANGE: what KVM answers itself, the exit, and the way back of the answer. */
import { KVM_CAP, KVM_RUN_EXIT_OFFSET, kvm_run_hypercall } from '../../../uapi/index.ts';
import { hypercall, MAP_GPA_RANGE, MAP_GPA_RANGE_BIT } from '../../conversions.ts';
import type { Guest } from '../../guest.ts';
import { halted } from '../../guest.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_GUEST, twoSided } from '../../two-sided.ts';

const CAP = KVM_CAP.value.KVM_CAP_EXIT_HYPERCALL;
const RET = KVM_RUN_EXIT_OFFSET + kvm_run_hypercall.offsets.ret;
const ENOSYS = -1000n;
const EINVAL = -22n;
const TOP = 1n << 64n;
const signed = (value: bigint | undefined): bigint => BigInt.asIntN(64, value ?? 0n);
const ret = (guest: Guest): bigint => guest.vcpu().runPage.getBigUint64(RET, true);
const setRet = (guest: Guest, value: bigint): void => guest.vcpu().runPage.setBigUint64(RET, value, true);

const CAPS = { KVM_CAP_EXIT_HYPERCALL: MAP_GPA_RANGE_BIT };

export const conversionCapability = topic(
  'conversion/capability',
  { promise: 'arch/x86/kvm/x86.c: kvm_vm_ioctl_enable_cap, Linux 5.15', needs: { arch: 'x64', caps: CAPS } },
  (scenario) => {
    scenario('capability_is_the_mask_of_hypercalls', (t) => {
      t.same(t.kvm.checkExtension(CAP), MAP_GPA_RANGE_BIT, 'KVM_CAP_EXIT_HYPERCALL of /dev/kvm');
      t.same(t.vm().checkExtension(CAP), MAP_GPA_RANGE_BIT, 'KVM_CAP_EXIT_HYPERCALL of a VM');
    });

    scenario('enabling_other_hypercalls_is_EINVAL', (t) => {
      const vm = t.vm();
      for (const bit of [0n, 1n, 5n, 9n, 10n, 11n, 13n, 31n, 32n, 44n, 63n])
        for (const with12 of [0n, BigInt(MAP_GPA_RANGE_BIT)])
          t.refused(vm.raw.enableCap(CAP, [(1n << bit) | with12]), 'EINVAL', `bit ${bit} and 0x${with12.toString(16)}`);
      t.accepted(vm.raw.enableCap(CAP, [MAP_GPA_RANGE_BIT]), 'bit 12 alone');
      t.accepted(vm.raw.enableCap(CAP, [0]), 'none');
    });

    scenario('enabling_with_a_flag_is_EINVAL', (t) => {
      const vm = t.vm();
      for (const flags of [1, 2, 0x8000_0000])
        t.refused(vm.raw.enableCap(CAP, [MAP_GPA_RANGE_BIT], flags), 'EINVAL', `flags ${flags}`);
      t.accepted(vm.raw.enableCap(CAP, [MAP_GPA_RANGE_BIT]), 'no flag');
    });
  },
);

export const conversionHypercall = topic(
  'conversion/hypercall',
  {
    promise: 'Documentation/virt/kvm/x86/hypercalls.rst 8; arch/x86/kvm/x86.c: ____kvm_emulate_hypercall, Linux 5.15',
    needs: { guest: true, mmu: true, caps: CAPS },
  },
  (scenario) => {
    scenario('not_enabled_the_guest_gets_ENOSYS', async (t) => {
      const reports = await t.guest().run((g) => g.report(0, g.mapGpaRange(AREA, 1, { private: true })));
      t.same(signed(reports.get(0)), ENOSYS, 'the answer');
    });

    scenario('refused_enabling_enables_nothing', async (t) => {
      const guest = t.guest();
      t.refused(guest.vm.raw.enableCap(CAP, [MAP_GPA_RANGE_BIT | 1]), 'EINVAL', 'one bit too many');
      t.refused(guest.vm.raw.enableCap(CAP, [MAP_GPA_RANGE_BIT], 1), 'EINVAL', 'a flag');
      const reports = await guest.run((g) => g.report(0, g.mapGpaRange(AREA, 1, { private: true })));
      t.same(signed(reports.get(0)), ENOSYS, 'the answer');
    });

    scenario('turned_off_again_the_guest_gets_ENOSYS', async (t) => {
      const guest = t.guest();
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      hypercall(
        await guest.start((g) => {
          g.mapGpaRange(AREA, 1, { private: true });
          g.report(0, g.mapGpaRange(AREA, 1, { private: true }));
        }),
      );
      guest.vm.enableExitHypercall(0);
      t.same(signed(halted(await guest.resume()).get(0)), ENOSYS, 'the second answer');
    });

    scenario('exit_has_number_arguments_and_mode', async (t) => {
      const guest = t.guest();
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      const gpa = 0x12_3456_7000n;
      const exit = hypercall(await guest.start((g) => void g.hypercall(MAP_GPA_RANGE, gpa, 0x1234, 0x11)));
      t.same(exit.nr, MAP_GPA_RANGE, 'nr');
      t.same(exit.args.slice(0, 3), [gpa, 0x1234n, 0x11n], 'args');
      t.same(exit.flags, 1n, 'flags: bit 0 in 64-bit mode, and no other');
    });

    scenario('all_bits_of_the_attributes_are_passed_on', async (t) => {
      const guest = t.guest();
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      for (const attributes of [0n, 0x10n, 0x12n, 0xffff_ffff_ffff_ffffn, 0x8000_0000_0000_0105n]) {
        const exit = hypercall(await guest.start((g) => void g.hypercall(MAP_GPA_RANGE, AREA, 1, attributes)));
        t.same(exit.args[2], attributes, 'args[2]');
        halted(await guest.resume());
      }
    });

    scenario('answer_is_preset_to_0', { needs: { release: [6, 14] } }, async (t) => {
      const guest = t.guest();
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      guest.load((g) => {
        g.report(0, g.mapGpaRange(AREA, 1, { private: true }));
        g.report(1, g.mapGpaRange(AREA, 2, { private: true }));
        g.report(2, g.mapGpaRange(AREA, 3, { private: true }));
      });
      setRet(guest, 0x5555n);
      hypercall(await guest.resume());
      t.same(ret(guest), 0n, 'ret of the first exit');
      setRet(guest, TOP - 22n);
      const second = await guest.resume();
      hypercall(second);
      t.same(ret(guest), 0n, 'ret of the second exit');
      const third = await guest.resume();
      hypercall(third);
      const end = halted(await guest.resume());
      t.same(second.reports.get(0), TOP - 22n, 'the answer that was given');
      t.same([third.reports.get(1), end.get(2)], [0n, 0n], 'answers that were not touched');
    });

    scenario('any_64_bits_are_an_answer', async (t) => {
      const guest = t.guest();
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      for (const answer of [1n, 22n, 0xffff_ffffn, 0x1234_5678_9abc_def0n, TOP - 1n, TOP - 1000n]) {
        hypercall(await guest.start((g) => g.report(0, g.mapGpaRange(AREA, 1, { private: true }))));
        guest.vcpu().answer(answer);
        t.same(halted(await guest.resume()).get(0), answer, 'what the guest sees');
      }
    });

    scenario('instruction_is_skipped_when_the_answer_is_taken', async (t) => {
      const guest = t.guest();
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      hypercall(await guest.start((g) => void g.mapGpaRange(AREA, 1, { private: true })));
      const vcpu = guest.vcpu();
      const before = vcpu.x64.getRegs();
      vcpu.answer(0x77);
      t.same(vcpu.completeIo().name, 'KVM_EXIT_INTR', 'a run that only takes the answer');
      const after = vcpu.x64.getRegs();
      t.same(after.rip - before.rip, 3n, 'bytes that RIP moved');
      t.same(after.rax, 0x77n, 'RAX');
      const rest = { rbx: before.rbx, rcx: before.rcx, rdx: before.rdx, rsi: before.rsi };
      t.same({ rbx: after.rbx, rcx: after.rcx, rdx: after.rdx, rsi: after.rsi }, rest, 'other registers');
      halted(await guest.resume());
    });

    scenario('KVM_changes_no_attribute_itself', { needs: PRIVATE_GUEST }, async (t) => {
      const vm = t.vm();
      const { shared } = twoSided(t, vm, { size: PAGE });
      vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      const guest = t.guest({ vm });
      hypercall(
        await guest.start((g) => {
          g.report(0, g.mapGpaRange(AREA, 1, { private: true }));
          g.fill(AREA, PAGE, 0x21);
        }),
      );
      const end = await guest.resume();
      halted(end);
      t.same(end.reports.get(0), 0n, 'the answer');
      t.filledWith(shared.read(0, PAGE), 0x21, 'the shared side');
    });

    scenario('gpa_within_a_page_is_EINVAL_without_an_exit', async (t) => {
      const guest = t.guest();
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      const gpas = [1, 8, 2048, PAGE - 1].map((off) => AREA + off);
      const reports = await guest.run((g) => {
        for (const [i, gpa] of gpas.entries()) g.report(i, g.mapGpaRange(gpa, 1, { private: true }));
      });
      t.same(
        [...reports.values()].map(signed),
        gpas.map(() => EINVAL),
        'the answers',
      );
    });

    scenario('no_pages_is_EINVAL_without_an_exit', async (t) => {
      const guest = t.guest();
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      const reports = await guest.run((g) => g.report(0, g.mapGpaRange(AREA, 0, { private: true })));
      t.same(signed(reports.get(0)), EINVAL, 'the answer');
    });

    scenario('number_of_pages_that_wraps_is_EINVAL_without_an_exit', async (t) => {
      const guest = t.guest();
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      const gfn = BigInt(AREA / PAGE);
      const reports = await guest.run((g) => {
        g.report(0, g.mapGpaRange(AREA, TOP - 1n, { private: true }));
        g.report(1, g.mapGpaRange(AREA, TOP - gfn, { private: true }));
      });
      t.same([...reports.values()].map(signed), [EINVAL, EINVAL], 'the answers');
      const most = TOP - gfn - 1n;
      const exit = hypercall(await guest.start((g) => void g.mapGpaRange(AREA, most, { private: true })));
      t.same(exit.args[1], most, 'one page fewer is passed on');
    });

    scenario('disabled_comes_before_bad_arguments', async (t) => {
      const reports = await t.guest().run((g) => g.report(0, g.mapGpaRange(AREA + 1, 0, { private: true })));
      t.same(signed(reports.get(0)), ENOSYS, 'the answer');
    });

    scenario('other_hypercalls_do_not_exit', async (t) => {
      const guest = t.guest();
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      const numbers = [13, 4095, (1n << 32n) + BigInt(MAP_GPA_RANGE)];
      const reports = await guest.run((g) => {
        for (const [i, number] of numbers.entries()) g.report(i, g.hypercall(number, AREA, 1, 0x10));
      });
      t.same(
        [...reports.values()].map(signed),
        numbers.map(() => ENOSYS),
        'the answers',
      );
    });
  },
);
