'use strict';
// The functions of the addon itself, below lib/kernel/native: whatever their arguments and the frame hold, the process must be there at
// the end. No descriptor in the frame is open, and no path begins at the root, so nothing outside is reached.
const addon = require('../../../native/load.cjs')();
const { isUint8Array } = require('node:util').types;
const { fc, kinds, oddities } = require('./fuzz-values.cjs');

const frame = new BigInt64Array(addon.frame);
const ROW = 6;
const CLOSED = [-1n, 1_000_000n, -(2n ** 31n)];
const functions = Object.keys(addon).filter((name) => typeof addon[name] === 'function');
const seed = Number(process.env.PRIVMEM_SEED ?? Date.now() % 2 ** 31);
const runs = Number(process.env.PRIVMEM_FUZZ_RUNS ?? 10_000);
console.log(`PRIVMEM_SEED=${seed}`);

const long = fc.oneof(
  fc.constantFrom(0n, 1n, 2n, 8n, 4096n, 2n ** 31n, 2n ** 47n, 2n ** 63n - 1n, -1n, -4096n, -(2n ** 63n)),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
);
const safePath = (bytes) => (isUint8Array(bytes) && bytes[0] === 0x2f ? bytes.fill(0x78, 0, 1) : bytes);
const value = fc.oneof(
  kinds.bytes,
  kinds.weird,
  fc.array(fc.oneof(kinds.bytes, fc.nat({ max: 64 })), { maxLength: 20 }),
);
const counts = { values: 0, errnos: 0, refusals: 0 };

const outcome = fc.check(
  fc.property(
    fc.constantFrom(...functions, 'call', 'callWithBytes', 'callWithBytes'),
    fc.tuple(long, long, long, long, long),
    fc.integer({ min: -2, max: addon.names.length + 1 }),
    fc.nat(),
    fc.array(value, { maxLength: 3 }),
    (name, longs, row, pick, values) => {
      frame.fill(0n);
      frame[0] = CLOSED[pick % CLOSED.length];
      longs.forEach((one, i) => {
        frame[i + 1] = one;
      });
      // Not a mapping without bounds, nor one that is filled at once.
      if (name === 'mmap') frame[3] &= ~0xa000n;
      // Without its time limit it waits for ever.
      if (addon.names[row] === 'ppoll') return;
      frame[ROW] = BigInt(row);
      const args = values.map((one) => safePath(one?.token === 'odd' ? oddities[one.pick % oddities.length]() : one));
      try {
        const result = addon[name](...args);
        if (result !== undefined && !(result instanceof ArrayBuffer)) throw new Error(`${name} returned ${result}`);
        if (new Float64Array(addon.frame)[ROW + 1] < 0) counts.errnos++;
        else counts.values++;
      } catch (error) {
        const known = error instanceof TypeError || error instanceof RangeError || error?.message === 'hostile';
        if (!known || !error.message) throw error;
        counts.refusals++;
      }
    },
  ),
  { seed, numRuns: runs, endOnFailure: true },
);
if (outcome.failed) throw outcome.errorInstance;
console.log(JSON.stringify(counts));
