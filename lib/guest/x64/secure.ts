/** How guests of SEV-ES, SEV-SNP and TDX talk to the hypervisor, in instructions. rax to rdx, rsi, rdi and r8 to r15 are used. */
import { GHCB_GPA, SHARED_ALIAS } from '../technology.ts';
import type { Assembler } from './assembler.ts';

export const MSR_GHCB = 0xc001_0130;
/** GHCB Standardization (AMD 56421), MSR protocol and layout. */
const REGISTER_GPA = 0x012n;
const MMIO_WRITE = 0x8000_0002n;
const GHCB = {
  exitCode: 0x390,
  exitInfo1: 0x398,
  exitInfo2: 0x3a0,
  scratch: 0x3a8,
  validLow: 0x3f0,
  validHigh: 0x3f8,
  sharedBuffer: 0x800,
} as const;
/** Exit code, both informations and scratch: bits 114 to 117 of the bitmap. */
const VALID = 0xfn << 50n;

/** One request of the MSR protocol; the answer is in edx:eax. */
export function msrProtocol(a: Assembler, request: bigint): Assembler {
  a.mov('eax', request & 0xffff_ffffn).mov('edx', request >> 32n);
  return exchange(a);
}

/** With the request in edx:eax. */
export function exchange(a: Assembler): Assembler {
  return a.mov('ecx', MSR_GHCB).wrmsr().vmgexit().rdmsr();
}

/** SEV-SNP: the hypervisor takes requests by this page only. */
export function registerGhcb(a: Assembler): void {
  msrProtocol(a, BigInt(GHCB_GPA) | REGISTER_GPA);
}

/** An MMIO write of the 8 bytes in rax. */
export function ghcbWrite(a: Assembler, gpa: bigint): void {
  const put = (offset: number, value: bigint): void => {
    a.mov('rax', value).mov({ base: 'rdi', disp: offset }, 'rax');
  };
  a.mov('rdi', BigInt(SHARED_ALIAS + GHCB_GPA)).mov({ base: 'rdi', disp: GHCB.sharedBuffer }, 'rax');
  put(GHCB.exitCode, MMIO_WRITE);
  put(GHCB.exitInfo1, gpa);
  put(GHCB.exitInfo2, 8n);
  put(GHCB.scratch, BigInt(GHCB_GPA + GHCB.sharedBuffer));
  put(GHCB.validLow, 0n);
  put(GHCB.validHigh, VALID);
  a.mov('eax', GHCB_GPA).xor('edx', 'edx').mov('ecx', MSR_GHCB).wrmsr().vmgexit();
}

const VMCALL = 0;
/** r10 to r15 are handed over. */
const EXPOSED = 0xfc00;

/** TDG.VP.VMCALL; r12 to r15 hold its arguments already. The status is in r10. Guest-Host Communication Interface for TDX (348552). */
export function tdvmcall(a: Assembler, leaf: number): Assembler {
  return a.mov('eax', VMCALL).mov('ecx', EXPOSED).xor('r10d', 'r10d').mov('r11d', leaf).tdcall();
}
