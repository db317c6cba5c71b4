/**
 * The launch digest of SEV-SNP: each page of the initial image extends a SHA-384 chain by one PAGE_INFO structure. SEV Secure Nested Paging
 * Firmware ABI Specification (AMD 56860), SNP_LAUNCH_UPDATE: PAGE_INFO has 0x70 bytes.
 */
import { createHash } from 'node:crypto';

const DIGEST = 48;
const PAGE_SIZE = 4096;
const PAGE_INFO = 0x70;
const AT = { contents: 0x30, length: 0x60, type: 0x62, gpa: 0x68 } as const;

/** Page types as the firmware counts them: those of KVM_SEV_SNP_LAUNCH_UPDATE, and vmsa, which KVM adds at the finish. */
export const SNP_PAGE = { normal: 1, vmsa: 2, zero: 3, unmeasured: 4, secrets: 5, cpuid: 6 } as const;
export type SnpPageType = (typeof SNP_PAGE)[keyof typeof SNP_PAGE];

/** Where a VMSA is measured to lie, whatever page it is: all ones, cut to a page below bit 48. */
export const VMSA_GPA = 0xffff_ffff_f000;

const sha384 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha384').update(bytes).digest());

/** Follows a launch page by page, in the order of the launch. */
export class SnpLaunchDigest {
  #digest: Uint8Array;

  /** @param seed a digest to go on from, 48 bytes. Default: zeros, the start of every launch. */
  constructor(seed: Uint8Array = new Uint8Array(DIGEST)) {
    if (seed.length !== DIGEST) throw new RangeError(`a launch digest has ${DIGEST} bytes, got ${seed.length}`);
    this.#digest = seed.slice();
  }

  /** The digest so far: 48 bytes. */
  get digest(): Uint8Array {
    return this.#digest.slice();
  }

  get hex(): string {
    return Buffer.from(this.#digest).toString('hex');
  }

  /**
   * One page of 4 KiB at `gpa` bytes. Only of normal pages and VMSAs the contents count; for other types they may be left out.
   * RangeError for contents of another length, or for an address that does not start a page.
   */
  page(type: SnpPageType, gpa: number | bigint, contents?: Uint8Array): this {
    const measured = type === SNP_PAGE.normal || type === SNP_PAGE.vmsa;
    if (measured && contents?.length !== PAGE_SIZE) {
      throw new RangeError(
        `a page of type ${type} is measured with its ${PAGE_SIZE} bytes, got ${contents?.length ?? 0}`,
      );
    }
    if ((BigInt(gpa) & 0xfffn) !== 0n) throw new RangeError(`gpa 0x${gpa.toString(16)} does not start a page`);
    const info = new Uint8Array(PAGE_INFO);
    const view = new DataView(info.buffer);
    info.set(this.#digest);
    if (measured && contents !== undefined) info.set(sha384(contents), AT.contents);
    view.setUint16(AT.length, PAGE_INFO, true);
    view.setUint8(AT.type, type);
    view.setBigUint64(AT.gpa, BigInt(gpa), true);
    this.#digest = sha384(info);
    return this;
  }

  /** Pages one after the other; `bytes` is as long as a number of whole pages, or for types without contents the length itself. */
  pages(type: SnpPageType, gpa: number, bytes: Uint8Array | number): this {
    const length = typeof bytes === 'number' ? bytes : bytes.length;
    if (length % PAGE_SIZE !== 0) throw new RangeError(`${length} bytes are not whole pages`);
    for (let at = 0; at < length; at += PAGE_SIZE) {
      this.page(type, gpa + at, typeof bytes === 'number' ? undefined : bytes.subarray(at, at + PAGE_SIZE));
    }
    return this;
  }

  vmsa(page: Uint8Array): this {
    return this.page(SNP_PAGE.vmsa, VMSA_GPA, page);
  }
}
