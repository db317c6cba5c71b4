'use strict';
// Arbitrary values for every kind of argument. What depends on the process (descriptors, addresses) is generated as a token,
// and becomes a value only when the call is made.
const fc = require('fast-check');

const PAGE = 4096;
const token = (kind, fields) => fc.record({ token: fc.constant(kind), ...fields });
const pick = fc.nat({ max: 1 << 20 });

const EXTREME_NUMBERS = [0, -0, 1, -1, 255, 256, PAGE - 1, PAGE, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), 2 ** 32 - 1, 2 ** 32]
  .concat([2 ** 47, 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 2 ** 63, 2 ** 64, 1e308, 5e-324, 0.5])
  .concat([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]);
const EXTREME_BIGINTS = [
  0n,
  1n,
  -1n,
  4096n,
  2n ** 31n,
  2n ** 32n,
  2n ** 47n - 4096n,
  2n ** 47n,
  2n ** 63n - 1n,
  2n ** 63n,
].concat([2n ** 64n - 4096n, 2n ** 64n - 1n, 2n ** 64n, -(2n ** 63n), -(2n ** 63n) - 1n, 2n ** 200n]);

function detached(length) {
  const bytes = new Uint8Array(length);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

/** A Uint8Array over a buffer that was made shorter under it. */
function outOfBounds() {
  const buffer = new ArrayBuffer(64, { maxByteLength: 128 });
  const bytes = new Uint8Array(buffer, 32, 32);
  buffer.resize(16);
  return bytes;
}

/** Throws for whatever is done with it. */
function hostile() {
  const refuse = () => {
    throw new Error('hostile');
  };
  const traps = ['get', 'has', 'ownKeys', 'getPrototypeOf', 'getOwnPropertyDescriptor', 'apply', 'construct'];
  return new Proxy(() => 0, Object.fromEntries(traps.map((trap) => [trap, refuse])));
}

function revoked() {
  const { proxy, revoke } = Proxy.revocable([], {});
  revoke();
  return proxy;
}

/** Made when the call is: the library would look into them. */
const oddities = [
  // The first three are what calls that take bytes get, too.
  () => detached(16),
  outOfBounds,
  () => new Uint8Array(new SharedArrayBuffer(4096)),
  hostile,
  revoked,
  () => new Uint8Array(new ArrayBuffer(64, { maxByteLength: 128 })),
  () => new Proxy(new Uint8Array(8), {}),
  () => Object.create(Uint8Array.prototype),
  () => new DataView(new ArrayBuffer(8)),
  () => new ArrayBuffer(8),
  () => new SharedArrayBuffer(8),
  () => new Float64Array(8),
  () => new Uint8ClampedArray(64),
  () => new BigInt64Array(new SharedArrayBuffer(64)),
  () => new BigUint64Array(16),
  () => new BigInt64Array(16),
  () => Buffer.from('a buffer from the pool'),
  () => Object(1),
  () => Object(1n),
  () => Symbol('s'),
  () => ({ valueOf: () => 1, toString: () => '1' }),
  () => new WeakMap(),
  () => Promise.resolve(1),
  () => () => 1,
  () => globalThis,
];

const anything = fc.anything({
  withBigInt: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withTypedArray: true,
  withSparseArray: true,
  withNullPrototype: true,
  withBoxedValues: true,
});
const weird = fc.oneof(
  fc.constantFrom(...EXTREME_NUMBERS),
  fc.constantFrom(...EXTREME_BIGINTS),
  fc.constantFrom(undefined, null, true, false, '', 'text'),
  token('odd', { pick }),
  anything,
);

/** Mostly of the right kind, so that calls get far. */
const mostly = (right) => fc.oneof({ weight: 9, arbitrary: right }, { weight: 1, arbitrary: weird });

const small = fc.oneof(fc.nat({ max: 64 }), fc.nat({ max: 70_000 }));
const number64 = fc.oneof(
  small,
  small.map((pages) => (pages % 64) * PAGE),
  fc.constantFrom(...EXTREME_NUMBERS),
  fc.constantFrom(...EXTREME_BIGINTS),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
);
const bits = fc.oneof(
  fc.constantFrom(0, 1, 2, 3, 4, 7, 8),
  fc.integer({ min: 0, max: 31 }).map((bit) => 2 ** bit),
  fc.integer({ min: -(2 ** 31), max: 2 ** 32 - 1 }),
  fc.constantFrom(...EXTREME_NUMBERS),
);
/** MAP_SHARED or MAP_PRIVATE, and any of the rest. */
const mapFlags = fc.oneof(
  fc.constantFrom(0x1, 0x2, 0x21, 0x22, 0x31, 0x32, 0x4022, 0x4032, 0x100022, 0x12, 0x11, 0x122, 0x40022),
  bits,
);
const bytes = fc.oneof(
  fc.constantFrom(0, 1, 8, 16, 32, 64, 144, 312, 4096, 8192, 70_000).map((length) => new Uint8Array(length)),
  fc.uint8Array({ maxLength: 200 }),
  fc
    .record({ length: fc.nat({ max: 500 }), offset: fc.nat({ max: 8 }) })
    .map((at) => Buffer.alloc(at.length + 8).subarray(at.offset)),
  fc
    .constantFrom(
      () => detached(64),
      outOfBounds,
      () => new Uint8Array(new SharedArrayBuffer(4096)),
    )
    .map((make) => make()),
  token('view', { pick }),
);
const longs = fc.constantFrom(
  () => new BigInt64Array(8),
  () => new BigUint64Array(8),
  () => new BigInt64Array(2),
  () => new BigInt64Array(new SharedArrayBuffer(64)),
  () => undefined,
);
const name = fc.oneof(
  fc.constantFrom('x', '', 'a\0b', '\ud800', 'x'.repeat(249), 'x'.repeat(250), 'é'.repeat(3000)),
  fc.string(),
);

const kinds = {
  fd: mostly(token('fd', { pick })),
  address: mostly(
    fc.oneof(
      token('own', { pick, skew: small }),
      token('real', { pick, skew: fc.integer({ min: -20, max: 20 }) }),
      number64,
    ),
  ),
  number: mostly(number64),
  bits: mostly(bits),
  mapFlags: mostly(mapFlags),
  bytes: mostly(bytes),
  longs: mostly(longs.map((make) => make())),
  path: mostly(
    fc.oneof(fc.constantFrom('/dev/null', '/dev/zero', '/dev/kvm', '/proc/self/maps', '/', 'nothing'), name),
  ),
  name: mostly(name),
  vcpu: mostly(token('vcpu', { pick })),
  done: mostly(fc.constant(() => undefined)),
  request: token('request', { pick }),
  weird,
};

module.exports = { fc, kinds, oddities };
