import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addressPattern,
  CHECK_TAGS,
  type MmioExit,
  patternBytes,
  REPORT_GPA,
  REPORT_WINDOW_SIZE,
  ReportCollector,
  readReport,
  reportAddress,
} from '../../../lib/guest/index.ts';

function exit(tag: number, value: bigint): MmioExit {
  const data = new Uint8Array(8);
  new DataView(data.buffer).setBigUint64(0, value, true);
  return { gpa: REPORT_GPA + 8 * tag, length: 8, isWrite: true, data };
}

describe('reports', () => {
  it('carry any tag and value', () => {
    const tags = fc.integer({ min: 0, max: REPORT_WINDOW_SIZE / 8 - 1 });
    fc.assert(
      fc.property(tags, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (tag, value) => {
        expect(readReport(exit(tag, value))).toEqual({ tag, value });
        expect(reportAddress(tag)).toBe(exit(tag, value).gpa);
      }),
    );
  });

  it('may be narrower than 8 bytes', () => {
    expect(readReport({ ...exit(2, 0x1122_3344_5566_7788n), length: 4 })).toEqual({ tag: 2, value: 0x5566_7788n });
  });

  it('are nothing else', () => {
    const report = exit(1, 5n);
    expect(readReport({ ...report, isWrite: false })).toBeUndefined();
    expect(readReport({ ...report, gpa: REPORT_GPA - 8 })).toBeUndefined();
    expect(readReport({ ...report, gpa: REPORT_GPA + REPORT_WINDOW_SIZE })).toBeUndefined();
    expect(readReport({ ...report, gpa: REPORT_GPA + 4 })).toBeUndefined();
    expect(readReport({ ...report, gpa: 0x1008n }, 0x1000n)).toEqual({ tag: 1, value: 5n });
  });

  it('are put together to events', () => {
    const collector = new ReportCollector();
    const { PASSED, FAILED, GPA, EXPECTED, ACTUAL } = CHECK_TAGS;
    expect(collector.accept(exit(4, 9n))).toEqual({ kind: 'report', tag: 4, value: 9n });
    expect(collector.accept(exit(PASSED, 3n))).toEqual({ kind: 'check', id: 3, passed: true });
    expect(collector.accept(exit(FAILED, 4n))).toBe('pending');
    expect(collector.accept(exit(GPA, 0x1008n))).toBe('pending');
    expect(collector.accept(exit(EXPECTED, 1n))).toBe('pending');
    const failed = { kind: 'check', id: 4, passed: false, gpa: 0x1008, expected: 1n, actual: 2n };
    expect(collector.accept(exit(ACTUAL, 2n))).toEqual(failed);
    expect(() => collector.accept(exit(ACTUAL, 2n))).toThrow(RangeError);
    expect(collector.accept({ ...exit(0, 0n), gpa: 0 })).toBeUndefined();
  });
});

describe('patterns', () => {
  it('are the bytes that a guest would write', () => {
    expect([...patternBytes(0, 3, 0x7f)]).toEqual([0x7f, 0x7f, 0x7f]);
    expect([...patternBytes(0, 8, 0x0102n)]).toEqual([2, 1, 0, 0, 0, 0, 0, 0]);
    expect([...patternBytes(0x1000, 16, addressPattern(1))]).toEqual([
      1, 0x10, 0, 0, 0, 0, 0, 0, 9, 0x10, 0, 0, 0, 0, 0, 0,
    ]);
    expect(() => patternBytes(0, 7, 1n)).toThrow(RangeError);
  });
});
