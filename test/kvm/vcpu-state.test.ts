/** Registers, CPUID, MSRs, run states and pre-faulting of an x86-64 vCPU. */
import { afterEach, expect, it } from 'vitest';
import { x64 } from '../../lib/guest/index.ts';
import { KVM_CAP } from '../../lib/uapi/index.ts';
import { Guest } from '../support/guest.ts';
import { describeKvm, requires } from '../support/kvm.ts';

const refused = (code: string) => expect.objectContaining({ ok: false, code });
const HIGH = 0xffff_ffff_0000_0001n;

describeKvm(
  'vCPU state',
  ({ kvm }) => {
    let guest = new Guest(kvm);
    afterEach(() => {
      guest.close();
      guest = new Guest(kvm);
    });

    it('registers come back as they were set', () => {
      const state = guest.vcpu().x64;
      const general = [
        'rax',
        'rbx',
        'rcx',
        'rdx',
        'rsi',
        'rdi',
        'rsp',
        'rbp',
        'r8',
        'r9',
        'r10',
        'r11',
        'r12',
        'r13',
        'r14',
        'r15',
      ];
      const regs = Object.fromEntries(general.map((name, i) => [name, HIGH + BigInt(i) * 0x100n]));
      state.setRegs({ ...regs, rip: 0x1234n, rflags: 2n });
      expect(state.getRegs()).toEqual({ ...regs, rip: 0x1234n, rflags: 2n });
      state.updateRegs({ rax: 7 });
      expect(state.getRegs()).toEqual({ ...regs, rax: 7n, rip: 0x1234n, rflags: 2n });
      state.setRegs({});
      // Bit 1 of rflags is always set.
      expect(state.getRegs()).toMatchObject({ rax: 0n, r15: 0n, rip: 0n, rflags: 2n });
    });

    it('special registers come back as they were set, and impossible ones are refused', () => {
      const state = guest.vcpu().x64;
      const before = state.getSregs();
      const mode = x64.longMode(0x5000);
      state.updateSregs(mode);
      const after = state.getSregs();
      expect(after).toMatchObject({
        cr0: mode.cr0,
        cr3: 0x5000n,
        cr4: mode.cr4,
        efer: mode.efer,
        apic_base: before.apic_base,
      });
      expect(after.cs).toMatchObject({ selector: 8, l: 1, present: 1 });
      // Paging without protection; long mode active without the enabling bit.
      expect(state.raw.updateSregs({ cr0: 1n << 31n })).toEqual(refused('EINVAL'));
      expect(state.raw.updateSregs({ efer: 1n << 63n })).toEqual(refused('EINVAL'));
      expect(state.getSregs()).toEqual(after);
    });

    it('CPUID is what the guest sees', () => {
      const state = guest.vcpu().x64;
      const leaves = kvm.supportedCpuid();
      state.setCpuid([
        ...leaves,
        { function: 0x4fff_fff0, index: 0, flags: 0, eax: 1, ebx: 2, ecx: 3, edx: 0xffff_ffff },
      ]);
      const { reports } = guest.run((g) => {
        const values = g.cpuid(0x4fff_fff0);
        for (const [tag, name] of (['eax', 'ebx', 'ecx', 'edx'] as const).entries()) g.report(tag, values[name]);
        g.report(4, g.cpuid(0).ebx);
      });
      const vendor = BigInt(leaves.find((leaf) => leaf.function === 0)?.ebx ?? -1);
      expect([...reports.values()]).toEqual([1n, 2n, 3n, 0xffff_ffffn, vendor]);
    });

    it('takes no more than 256 leaves, and no change after the first run', () => {
      const state = guest.vcpu().x64;
      const leaf = { function: 0, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
      const many = Array.from({ length: 257 }, (_, i) => ({ ...leaf, function: i }));
      expect(state.raw.setCpuid(many)).toEqual(refused('E2BIG'));
      guest.run((g) => g.halt());
      expect(state.raw.setCpuid([{ ...leaf, eax: 5 }])).toEqual(refused('EINVAL'));
    });

    it('MSRs come back as they were set; the kernel stops at the first that it does not know', () => {
      const STAR = 0xc000_0081;
      const LSTAR = 0xc000_0082;
      const UNKNOWN = 0x4bad_0000;
      const state = guest.vcpu().x64;
      expect(
        state.setMsrs([
          { index: STAR, data: 0x1234 },
          { index: LSTAR, data: 0xffff_8000_0000_0001n },
        ]),
      ).toBe(2);
      expect(state.getMsrs([STAR, LSTAR])).toEqual(
        new Map([
          [STAR, 0x1234n],
          [LSTAR, 0xffff_8000_0000_0001n],
        ]),
      );
      expect(
        state.setMsrs([
          { index: STAR, data: 1 },
          { index: UNKNOWN, data: 1 },
          { index: LSTAR, data: 1 },
        ]),
      ).toBe(1);
      expect(state.getMsrs([STAR, UNKNOWN, LSTAR])).toEqual(new Map([[STAR, 1n]]));
      expect(state.getMsrs([])).toEqual(new Map());
    });

    it('the run state is runnable, others need an interrupt controller', () => {
      const [RUNNABLE, HALTED] = [0, 3];
      const state = guest.vcpu().x64;
      expect(state.getMpState()).toBe(RUNNABLE);
      state.setMpState(RUNNABLE);
      expect(state.raw.setMpState(HALTED)).toEqual(refused('EINVAL'));
    });

    const PREFAULT = { arch: 'x64', caps: { KVM_CAP_PRE_FAULT_MEMORY: 1 } } as const;
    requires(PREFAULT)('pre-faulting: the arguments are judged first, then the memory', () => {
      const { raw } = guest.vcpu();
      expect(raw.preFault(0, 4096, 1)).toEqual(refused('EINVAL'));
      for (const [gpa, size] of [
        [1, 4096],
        [0, 1],
        [0, 0],
        [(1n << 64n) - 4096n, 8192],
      ] as const) {
        expect(raw.preFault(gpa, size)).toEqual(refused('EINVAL'));
      }
      expect(raw.preFault(0x4000_0000, 4096)).toEqual(refused('ENOENT'));
      expect(raw.preFault(0, 8192)).toMatchObject({ ok: true });
    });

    const withoutPrefault = requires({
      arch: 'x64',
      release: [6, 11],
      also: ({ kvm: system }) =>
        system?.checkExtension(KVM_CAP.value.KVM_CAP_PRE_FAULT_MEMORY) === 0 ? undefined : 'this KVM can pre-fault',
    });
    withoutPrefault('pre-faulting without two-dimensional paging: known, judged, and not supported', () => {
      const { raw } = guest.vcpu();
      expect(raw.preFault(0, 4096, 1)).toEqual(refused('EINVAL'));
      expect(raw.preFault(1, 4096)).toEqual(refused('EINVAL'));
      expect(raw.preFault(0, 4096)).toEqual(refused('EOPNOTSUPP'));
    });

    requires({ arch: 'x64', caps: { KVM_CAP_IRQCHIP: 1 } })(
      'a halted vCPU with interrupt controllers sleeps until it is kicked',
      () => {
        const vm = kvm.createVm();
        vm.createIrqchip();
        const vcpu = vm.createVcpu();
        vcpu.x64.setMpState(3);
        expect(vcpu.runSync({ timeoutMs: 30 })).toMatchObject({ name: 'KVM_EXIT_INTR' });
        vm.close();
      },
    );
  },
  { arch: 'x64' },
);
