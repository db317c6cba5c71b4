/** A vCPU whose state is sealed: what it may do itself, what raises #VC, and the page that its state is measured as. */
import { vmsaPage } from '../../measure/vmsa.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import type { Secure } from '../x64/secure.ts';
import type { Segment } from '../x64/state.ts';

export const MSR_GHCB = 0xc001_0130;
const MSR_SEV_STATUS = 0xc001_0131;
export const VC_VECTOR = 29;
/** Error codes of #VC are exit codes of the hardware. */
export const VC = { cpuid: 0x72, io: 0x7b, msr: 0x7c, vmmcall: 0x81, nestedFault: 0x400, notValidated: 0x404 } as const;

/** Those that KVM does not intercept, and so the guest has to itself. */
const OWN_MSRS: ReadonlySet<number> = new Set([
  ...[MSR_GHCB, MSR_SEV_STATUS, 0xc000_0080, 0xc000_0100, 0xc000_0101, 0xc000_0102],
  ...[0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0x277, 0x174, 0x175, 0x176],
]);

const SEALED: Secure = {
  instructions: new Set(['vmgexit']),
  vector: VC_VECTOR,
  reflects: new Map([
    ['cpuid', VC.cpuid],
    ['in', VC.io],
    ['out', VC.io],
    ['rdmsr', VC.msr],
    ['wrmsr', VC.msr],
    ['hypercall', VC.vmmcall],
  ]),
  msrs: OWN_MSRS,
};
const VALIDATING: Secure = { ...SEALED, instructions: new Set(['vmgexit', 'pvalidate']) };

const STATUS = { sev: 1n, es: 2n, snp: 4n } as const;

/** To be called when the vCPU is made. */
export function protect({ cpu }: Vcpu, snp = false): void {
  cpu.secure(snp ? VALIDATING : SEALED);
  cpu.defineMsr(MSR_GHCB, 0n);
  cpu.defineMsr(MSR_SEV_STATUS, STATUS.sev | STATUS.es | (snp ? STATUS.snp : 0n));
}

const EFER_SVME = 0x1000n;
const CR4_MCE = 0x40n;
const DR7_FIXED = 0x400n;
const DR6_RESET = 0xffff_0ff0n;

const saved = (segment: Segment) => ({
  selector: segment.selector,
  attributes:
    segment.unusable !== 0
      ? 0
      : segment.type |
        (segment.s << 4) |
        (segment.dpl << 5) |
        (segment.present << 7) |
        (segment.avl << 8) |
        (segment.l << 9) |
        (segment.db << 10) |
        (segment.g << 11),
  limit: segment.limit,
  base: segment.base,
});

/** sev_es_sync_vmsa: the state as it would be encrypted, with what KVM and a reset FPU add to it. */
export function vmsaOf({ cpu }: Vcpu, sevFeatures: bigint): Uint8Array {
  const { rflags, rip, ...general } = cpu.getRegs();
  const sregs = cpu.getSregs();
  const msr = (index: number): bigint => cpu.getMsr(index) ?? 0n;
  const table = ({ base, limit }: { base: bigint; limit: number }) => ({ selector: 0, attributes: 0, limit, base });
  return vmsaPage({
    ...general,
    ...{ rflags, rip },
    ...{ es: saved(sregs.es), cs: saved(sregs.cs), ss: saved(sregs.ss), ds: saved(sregs.ds) },
    ...{ fs: saved(sregs.fs), gs: saved(sregs.gs), ldtr: saved(sregs.ldt), tr: saved(sregs.tr) },
    ...{ gdtr: table(sregs.gdt), idtr: table(sregs.idt) },
    cpl: sregs.ss.dpl,
    efer: sregs.efer | EFER_SVME,
    cr0: sregs.cr0,
    cr2: sregs.cr2,
    cr3: sregs.cr3,
    cr4: sregs.cr4 | CR4_MCE,
    dr6: DR6_RESET,
    dr7: DR7_FIXED,
    gPat: msr(0x277),
    star: msr(0xc000_0081),
    lstar: msr(0xc000_0082),
    cstar: msr(0xc000_0083),
    sfmask: msr(0xc000_0084),
    kernelGsBase: msr(0xc000_0102),
    sysenterCs: msr(0x174),
    sysenterEsp: msr(0x175),
    sysenterEip: msr(0x176),
    sevFeatures,
    xcr0: 1n,
    mxcsr: 0x1f80,
    x87Fcw: 0x37f,
  });
}
