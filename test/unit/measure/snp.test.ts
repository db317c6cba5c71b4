/**
 * The launch digest against the test vectors of virtee/sev-snp-measure (tests/test_guest.py, launches without a kernel): the firmware's own
 * pages enter as their published intermediate digest, the rest is what the firmware's metadata lists.
 */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SNP_PAGE, SnpLaunchDigest, type VmsaState, vmsaPage } from '../../../lib/measure/index.ts';

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));
const OVMF_AMDSEV = hex(
  '086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74',
);

/** The save area of the boot processor as QEMU and KVM leave it, an EPYC-v4. */
function bootVmsa(features: bigint): VmsaState {
  const data = (attributes: number) => ({ selector: 0, attributes, limit: 0xffff, base: 0n });
  const flat = data(0x93);
  return {
    ...{ es: flat, ss: flat, ds: flat, fs: flat, gs: flat },
    cs: { selector: 0xf000, attributes: 0x9b, limit: 0xffff, base: 0xffff_0000n },
    ...{ gdtr: data(0), idtr: data(0), ldtr: data(0x82), tr: data(0x8b) },
    ...{ efer: 0x1000n, cr4: 0x40n, cr0: 0x10n, dr7: 0x400n, dr6: 0xffff_0ff0n, rflags: 2n, rip: 0xfff0n },
    ...{ gPat: 0x7_0406_0007_0406n, rdx: 0x80_0f12n, sevFeatures: features, xcr0: 1n, mxcsr: 0x1f80, x87Fcw: 0x37f },
  };
}

function withoutKernel(features: bigint): string {
  return new SnpLaunchDigest(OVMF_AMDSEV)
    .pages(SNP_PAGE.zero, 0x80_0000, 0x9000)
    .pages(SNP_PAGE.zero, 0x80_a000, 0x3000)
    .pages(SNP_PAGE.secrets, 0x80_d000, 0x1000)
    .pages(SNP_PAGE.cpuid, 0x80_e000, 0x1000)
    .pages(SNP_PAGE.zero, 0x80_f000, 0x1000)
    .pages(SNP_PAGE.zero, 0x81_0000, 0x1000)
    .pages(SNP_PAGE.zero, 0x81_1000, 0xf000)
    .vmsa(vmsaPage(bootVmsa(features))).hex;
}

describe('the launch digest of SEV-SNP', () => {
  it('is what sev-snp-measure publishes', () => {
    expect(withoutKernel(0x21n)).toBe(
      'e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b',
    );
    expect(withoutKernel(1n)).toBe(
      '19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d',
    );
  });

  it('of one normal page is the SHA-384 of its PAGE_INFO', () => {
    const page = new Uint8Array(4096).fill(0x5a);
    const info = Buffer.alloc(0x70);
    createHash('sha384').update(page).digest().copy(info, 0x30);
    info.writeUInt16LE(0x70, 0x60);
    info.writeUInt8(1, 0x62);
    info.writeBigUInt64LE(0x1_0000_0000n, 0x68);
    const expected = createHash('sha384').update(info).digest('hex');
    expect(new SnpLaunchDigest().page(SNP_PAGE.normal, 0x1_0000_0000, page).hex).toBe(expected);
  });

  it('depends on order, address and type, and not on contents that are not measured', () => {
    const page = new Uint8Array(4096);
    const of = (...steps: [type: 1 | 3 | 4, gpa: number][]) =>
      steps.reduce((digest, [type, gpa]) => digest.page(type, gpa, page), new SnpLaunchDigest()).hex;
    const all = [of([1, 0], [3, 4096]), of([3, 4096], [1, 0]), of([1, 0], [4, 4096]), of([1, 0], [3, 8192])];
    expect(new Set(all).size).toBe(4);
    expect(new SnpLaunchDigest().page(4, 0, page.fill(1)).hex).toBe(new SnpLaunchDigest().page(4, 0).hex);
  });

  it('refuses what is not a page', () => {
    expect(() => new SnpLaunchDigest().page(1, 0, new Uint8Array(100))).toThrow('4096 bytes, got 100');
    expect(() => new SnpLaunchDigest().page(3, 100)).toThrow('does not start a page');
    expect(() => new SnpLaunchDigest(new Uint8Array(3))).toThrow('48 bytes');
  });
});
