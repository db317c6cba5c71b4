/**
 * MRTD, written out record by record as the documents have it. No published value is known that does not need a firmware image; the layout is
 * also what independent implementations have: google/gce-tcb-verifier (tdx/measurement.go), virtee/tdx-measure (src/tdvf.rs).
 */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Mrtd } from '../../../lib/measure/index.ts';

const GPA = 0xffff_f000;
const page = Uint8Array.from({ length: 4096 }, (_, i) => (i * 31) & 0xff);

function record(name: string, gpa: number): Buffer {
  const bytes = Buffer.alloc(128);
  bytes.write(name, 0, 'ascii');
  bytes.writeBigUInt64LE(BigInt(gpa), 16);
  return bytes;
}

describe('MRTD', () => {
  it('is one record for a page, and for each 256 bytes of it a record and the bytes', () => {
    const hash = createHash('sha384').update(record('MEM.PAGE.ADD', GPA));
    for (let at = 0; at < 4096; at += 256)
      hash.update(record('MR.EXTEND', GPA + at)).update(page.subarray(at, at + 256));
    expect(new Mrtd().region(GPA, page).hex).toBe(hash.digest('hex'));
  });

  it('of pages that are not measured knows only where they are', () => {
    const expected = createHash('sha384').update(record('MEM.PAGE.ADD', 0)).update(record('MEM.PAGE.ADD', 4096));
    expect(new Mrtd().region(0, new Uint8Array(8192).fill(9), false).hex).toBe(expected.digest('hex'));
    expect(new Mrtd().addPage(0).addPage(4096).hex).toBe(new Mrtd().region(0, new Uint8Array(8192), false).hex);
  });

  it('of nothing is the digest of nothing; asking does not end it', () => {
    const mrtd = new Mrtd();
    expect(mrtd.hex).toBe(createHash('sha384').digest('hex'));
    mrtd.region(0, page);
    expect(mrtd.hex).toBe(new Mrtd().region(0, page).hex);
  });

  it('takes whole pages and chunks only', () => {
    expect(() => new Mrtd().addPage(8)).toThrow('does not start a page');
    expect(() => new Mrtd().extend(0, new Uint8Array(255))).toThrow('256 bytes');
    expect(() => new Mrtd().region(0, new Uint8Array(100))).toThrow('whole pages');
  });
});
