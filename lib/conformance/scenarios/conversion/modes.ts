/** KVM_HC_MAP_GPA_RANGE outside 64-bit kernel code: 32-bit registers, and user code, which may not ask. */
import { x64 } from '../../../guest/index.ts';
import type { Context } from '../../context.ts';
import { hypercall, MAP_GPA_RANGE, MAP_GPA_RANGE_BIT } from '../../conversions.ts';
import type { Guest } from '../../guest.ts';
import { topic } from '../../scenario.ts';

const CODE = 0x4000;
/** "Auth", the begin of AMD's name in CPUID. */
const AMD = 0x6874_7541;
const WIDE = 0xdead_beef_0000_0000n;

/** A guest that runs these instructions in protected mode with the upper halves of its registers set. */
function protectedMode(t: Context, write: (a: x64.Assembler) => void): Guest {
  const guest = t.guest();
  const code = new x64.Assembler(32, CODE);
  write(code);
  guest.low.write(CODE, code.bytes());
  const vcpu = guest.vcpu();
  vcpu.x64.updateSregs(x64.protectedMode());
  vcpu.x64.setRegs({ rip: BigInt(CODE), rflags: 2n });
  return guest;
}

export const conversionModes = topic(
  'conversion/modes',
  {
    promise:
      'Documentation/virt/kvm/x86/hypercalls.rst; arch/x86/kvm/x86.c: ____kvm_emulate_hypercall, complete_hypercall_exit',
    needs: { guest: true, mmu: true, caps: { KVM_CAP_EXIT_HYPERCALL: MAP_GPA_RANGE_BIT } },
  },
  (scenario) => {
    scenario('protected_mode_exits_without_the_long_mode_flag', async (t) => {
      const guest = protectedMode(t, (a) =>
        a.mov('eax', MAP_GPA_RANGE).mov('ebx', 0x80_0000).mov('ecx', 3).mov('edx', 0x10).vmcall().hlt(),
      );
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      const exit = hypercall(await guest.resume());
      t.same(exit.flags, 0n, 'flags');
      t.same(exit.args.slice(0, 3), [0x80_0000n, 3n, 0x10n], 'args');
    });

    scenario('protected_mode_answers_are_32_bits', async (t) => {
      const guest = protectedMode(t, (a) =>
        a.mov('eax', MAP_GPA_RANGE).mov('ebx', 0x80_0000).mov('ecx', 1).mov('edx', 0x10).vmcall().hlt(),
      );
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      hypercall(await guest.resume());
      guest.vcpu().answer(WIDE | 0x1234_5678n);
      t.same((await guest.resume()).last.name, 'KVM_EXIT_HLT', 'the end');
      t.same(guest.vcpu().x64.getRegs().rax, 0x1234_5678n, 'RAX');
    });

    scenario('protected_mode_arguments_are_32_bits', async (t) => {
      const guest = protectedMode(t, (a) => a.vmcall().hlt());
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      const regs = { rax: WIDE | BigInt(MAP_GPA_RANGE), rbx: WIDE | 0x70_0000n, rcx: WIDE | 2n, rdx: WIDE | 0x10n };
      guest.vcpu().x64.setRegs({ ...regs, rip: BigInt(CODE), rflags: 2n });
      const exits = t.differs({
        since: [6, 14],
        now: true,
        before: false,
        because:
          'all of RAX was compared with the number when the exit was to be made: the guest got 0, and nobody was asked',
      });
      const run = await guest.resume();
      if (!exits) {
        t.same(run.last.name, 'KVM_EXIT_HLT', 'the exit');
        t.same(guest.vcpu().x64.getRegs().rax, 0n, 'RAX');
        return;
      }
      const exit = hypercall(run);
      t.same(exit.args.slice(0, 3), [0x70_0000n, 2n, 0x10n], 'args');
      t.same(exit.nr, MAP_GPA_RANGE, 'nr');
    });

    scenario('user_code_gets_EPERM_without_an_exit', async (t) => {
      // The processor's own instruction: KVM emulates the other vendor's, and takes it for a privileged one.
      const amd = t.kvm.supportedCpuid().some((leaf) => leaf.function === 0 && leaf.ebx === AMD);
      const guest = protectedMode(t, (a) => {
        a.mov('eax', MAP_GPA_RANGE).mov('ebx', 0x80_0000).mov('ecx', 1).mov('edx', 0x10);
        (amd ? a.vmmcall() : a.vmcall()).out(0x10, 'al').hlt();
      });
      guest.vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
      const vcpu = guest.vcpu();
      const { cs, ds, es, fs, gs, ss } = x64.protectedMode();
      const user = <T extends { selector: number; dpl: number }>(segment: T): T => ({
        ...segment,
        selector: segment.selector | 3,
        dpl: 3,
      });
      vcpu.x64.updateSregs({ cs: user(cs), ds: user(ds), es: user(es), fs: user(fs), gs: user(gs), ss: user(ss) });
      // I/O privilege 3: the port access that ends the program is allowed.
      vcpu.x64.setRegs({ rip: BigInt(CODE), rflags: 0x3002n });
      const { last } = await guest.resume();
      t.same(last.name, 'KVM_EXIT_IO', 'the exit');
      t.same(BigInt.asIntN(32, vcpu.x64.getRegs().rax), -1n, 'EAX: -KVM_EPERM');
    });
  },
);
