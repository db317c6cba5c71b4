/**
 * MRTD, the measurement of a trust domain's initial image: SHA-384 over a record of 128 bytes for each page that is added, and for each
 * chunk of 256 bytes that is measured a record and the chunk. Intel TDX Module Base Architecture Specification (348549), measurement of the
 * TD; TDH.MEM.PAGE.ADD and TDH.MR.EXTEND of the ABI specification (348551).
 */
import { createHash } from 'node:crypto';

const PAGE_SIZE = 4096;
const RECORD = 128;
const GPA_AT = 16;
export const MR_EXTEND_CHUNK = 256;

function record(name: string, gpa: number): Uint8Array {
  const bytes = new Uint8Array(RECORD);
  bytes.set(new TextEncoder().encode(name));
  new DataView(bytes.buffer).setBigUint64(GPA_AT, BigInt(gpa), true);
  return bytes;
}

/** Follows a build: the order of pages and of chunks counts. */
export class Mrtd {
  readonly #hash = createHash('sha384');

  /** TDH.MEM.PAGE.ADD at `gpa` bytes: that there is a page, not what it holds. */
  addPage(gpa: number): this {
    if (gpa % PAGE_SIZE !== 0) throw new RangeError(`gpa 0x${gpa.toString(16)} does not start a page`);
    this.#hash.update(record('MEM.PAGE.ADD', gpa));
    return this;
  }

  /** TDH.MR.EXTEND: 256 bytes of an added page. */
  extend(gpa: number, chunk: Uint8Array): this {
    if (chunk.length !== MR_EXTEND_CHUNK || gpa % MR_EXTEND_CHUNK !== 0) {
      throw new RangeError(`MR.EXTEND takes ${MR_EXTEND_CHUNK} bytes at a multiple of that`);
    }
    this.#hash.update(record('MR.EXTEND', gpa)).update(chunk);
    return this;
  }

  /** As KVM_TDX_INIT_MEM_REGION with KVM_TDX_MEASURE_MEMORY_REGION: each page is added and at once measured whole. */
  region(gpa: number, bytes: Uint8Array, measure = true): this {
    if (bytes.length % PAGE_SIZE !== 0) throw new RangeError(`${bytes.length} bytes are not whole pages`);
    for (let page = 0; page < bytes.length; page += PAGE_SIZE) {
      this.addPage(gpa + page);
      for (let at = page; measure && at < page + PAGE_SIZE; at += MR_EXTEND_CHUNK) {
        this.extend(gpa + at, bytes.subarray(at, at + MR_EXTEND_CHUNK));
      }
    }
    return this;
  }

  /** 48 bytes, of what there is so far; TDH.MR.FINALIZE takes it as it is. */
  get digest(): Uint8Array {
    return new Uint8Array(this.#hash.copy().digest());
  }

  get hex(): string {
    return Buffer.from(this.digest).toString('hex');
  }
}
