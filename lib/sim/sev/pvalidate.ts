/** PVALIDATE: the guest says that a page is what it takes it for, or no longer. AMD64 manual volume 3. */
import { writeMemoryFault } from '../kvm/x64/exits.ts';
import type { RunResult } from '../kvm/x64/technology.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import { PAGE_SIZE } from '../page.ts';
import { encodeAnswer } from '../x64/secure.ts';
import type { SecureStop } from '../x64/stop.ts';
import { C_FRAME } from './sev-base.ts';
import type { SnpVm } from './snp-vm.ts';

const OUTCOME = { success: 0n, failInput: 1n, failSizeMismatch: 6n } as const;

export function pvalidate(snp: SnpVm, vcpu: Vcpu, stop: SecureStop): RunResult {
  const { memory } = snp.vm;
  const { cpu, page } = vcpu;
  const regs = cpu.getRegs();
  const answer = (outcome: bigint, carry: boolean): undefined => {
    cpu.setRegs({ ...regs, rax: outcome });
    cpu.complete(encodeAnswer({ done: true, carry }));
  };
  const size = regs.rcx & 0xffff_ffffn;
  if (size > 1n) return answer(OUTCOME.failInput, false);
  const gfn = stop.gfn % C_FRAME;
  const found = memory.sided(gfn, true, true);
  if (!(found instanceof Uint8Array)) {
    if (found.kind !== 'memory-fault') return undefined;
    writeMemoryFault(page, gfn * PAGE_SIZE, found.private);
    return -found.errno;
  }
  const entry = snp.own(gfn);
  // All pages of the table are small.
  if (size === 1n) return answer(OUTCOME.failSizeMismatch, false);
  if (entry === undefined || entry.gfn !== gfn) return answer(OUTCOME.failInput, false);
  const valid = (regs.rdx & 1n) !== 0n;
  const unchanged = entry.validated === valid;
  entry.validated = valid;
  // A page that is no longer valid must not be reached through what was looked up before.
  if (!unchanged) memory.changed();
  return answer(OUTCOME.success, unchanged);
}
