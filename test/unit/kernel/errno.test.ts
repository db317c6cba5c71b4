import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { errnoName, errnoOf, errnoText } from '../../../lib/kernel/errno.ts';

const LAST = 133;
const known = Array.from({ length: LAST }, (_, i) => i + 1).filter((errno) => errnoName(errno) !== `E${errno}`);

describe('errno table', () => {
  // Other platforms number differently, and the table is Linux's everywhere.
  it.runIf(process.platform === 'linux')('agrees with the C library by name', () => {
    const theirs = new Map<string, number>(Object.entries(constants.errno));
    for (const errno of known) {
      const name = errnoName(errno);
      if (theirs.has(name)) expect(`${name}=${errno}`).toBe(`${name}=${theirs.get(name)}`);
    }
    // At least the ones that Node lists must have been compared.
    expect(known.filter((errno) => theirs.has(errnoName(errno))).length).toBeGreaterThan(40);
  });

  it('says what Node does not: 95 is EOPNOTSUPP, 133 is EHWPOISON', () => {
    expect([errnoName(95), errnoName(133), errnoName(126)]).toEqual(['EOPNOTSUPP', 'EHWPOISON', 'ENOKEY']);
  });

  it('has every number once, every name once, and goes both ways', () => {
    expect(new Set(known.map(errnoName)).size).toBe(known.length);
    for (const errno of known) expect(errnoOf(errnoName(errno))).toBe(errno);
  });

  it('has a text in lower case for each', () => {
    for (const errno of known) expect(errnoText(errno)).toMatch(/^[a-z][^A-Z]*$|^blocked by RF-kill$/);
  });

  it('keeps numbers that it does not know', () => {
    expect([errnoName(4095), errnoText(4095)]).toEqual(['E4095', 'unknown error']);
    expect(() => errnoOf('ENONSENSE')).toThrow(RangeError);
    expect(() => errnoOf('E4095')).toThrow('E4095');
  });
});
