/** State costs what is fragmented. Times are printed, never judged: docs/simulation.md has the measured growth. */
import { describe, expect, it } from 'vitest';
import { MemoryAttributes } from '../../../../lib/sim/kvm/attributes.ts';
import { MemslotTable } from '../../../../lib/sim/kvm/memslot-table.ts';
import { X64_LIMITS } from '../../../../lib/sim/kvm/x64/limits.ts';
import { Random } from '../../../differential/random.ts';

const PAGE = 4096n;
const PAGES_OF_TIB = 2 ** 28;

describe('scale', () => {
  it('a million conversions of random ranges of 1 TiB', { timeout: 120_000 }, () => {
    let changes = 0;
    const attributes = new MemoryAttributes(8n, () => changes++);
    const random = new Random(1);
    const times: number[] = [];
    const before = process.memoryUsage().rss;
    for (let part = 0; part < 4; part++) {
      const start = performance.now();
      for (let i = 0; i < 250_000; i++) {
        const address = BigInt(random.below(PAGES_OF_TIB)) * PAGE;
        const size = BigInt(1 + random.below(64)) * PAGE;
        attributes.set({ address, size, attributes: i % 2 === 0 ? 8n : 0n, flags: 0n });
      }
      times.push(performance.now() - start);
    }
    expect(attributes.fragments).toBeGreaterThan(100_000);
    expect(changes).toBeGreaterThan(100_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 29);
    console.log(`a conversion by quarter of the run: ${times.map((ms) => `${(ms / 250).toFixed(1)} µs`).join(', ')}`);
  });

  it('as many slots as there can be', { timeout: 60_000 }, () => {
    const rules = {
      addressSpaces: 1,
      logsBeginFull: () => false,
      zap: () => undefined,
      userLimit: 2n ** 47n,
      readonlyMemory: true,
      guestMemfd: true,
      memslots: X64_LIMITS.memslots,
      prepare: () => 0,
      boundIsExist: true,
      signedFileCheck: false,
      fileOf: () => null,
    };
    const table = new MemslotTable(rules, () => {});
    const add = (slot: number, page: number) =>
      table.set({ slot, flags: 0, gpa: BigInt(page) * PAGE, size: PAGE, hva: 0n });
    for (let i = 0; i < X64_LIMITS.memslots; i++) expect(add(i, 2 * (X64_LIMITS.memslots - i))).toBe(0);
    expect(add(X64_LIMITS.memslots, 0)).toBe(-22);
    expect(table.at(2 * 100)?.id).toBe(X64_LIMITS.memslots - 100);
    expect(table.at(2 * 100 + 1)).toBeUndefined();
    for (let i = 0; i < X64_LIMITS.memslots; i += 2) table.set({ slot: i, flags: 0, gpa: 0n, size: 0n, hva: 0n });
    expect(add(0, 2 * (X64_LIMITS.memslots - 1))).toBe(-17);
  });
});
