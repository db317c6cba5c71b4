'use strict';
// Calls every function with arbitrary values, many thousand times, and must still be there at the end. PRIVMEM_SEED repeats a
// run; PRIVMEM_FUZZ_LOG=1 names each call before it is made.
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const kernel = require('./kernel.cjs')();
const { FuzzProcess } = require('./fuzz-process.cjs');
const { fc, kinds } = require('./fuzz-values.cjs');

const { fd, address, number, bits, mapFlags, bytes, longs, path: file, name, vcpu, done, request, weird } = kinds;
const pointers = fc.oneof(
  fc.constant(undefined),
  fc.array(fc.tuple(fc.nat({ max: 300 }), fc.uint8Array({ minLength: 4096, maxLength: 4096 })), { maxLength: 10 }),
  weird,
);

const calls = {
  open: [file, bits, bits],
  close: [fd],
  adopt: [fd],
  fcntl: [fd, fc.oneof(fc.constantFrom(1, 2, 3, 4, 1024, 1025, 1030, 1033, 1034), bits), bits],
  ioctl: [fd, fc.oneof({ weight: 9, arbitrary: request }, weird), fc.oneof(bytes, number, address), bits, pointers],
  memfdCreate: [name, bits],
  memfdSecret: [bits],
  eventfd: [bits, bits],
  fchown: [fd, bits, bits],
  readlink: [file, bytes],
  flock: [fd, bits],
  poll: [fd, bits],
  fsync: [fd],
  fdatasync: [fd],
  syncFileRange: [fd, number, number, bits],
  fadvise: [fd, number, number, bits],
  readahead: [fd, number, number],
  pipe: [bits, longs],
  splice: [fd, fd, number, bits],
  sendfile: [fd, fd, number],
  copyFileRange: [fd, fd, number, bits],
  mlock: [address, number, bits],
  munlock: [address, number],
  msync: [address, number, bits],
  mbind: [address, number, bits, bytes, bits],
  getMempolicy: [longs, bytes, address, bits],
  vmsplice: [fd, address, number, bits],
  processVmReadv: [address, bytes],
  processVmWritev: [address, bytes],
  fchmod: [fd, bits],
  ftruncate: [fd, number],
  fallocate: [fd, bits, number, number],
  fstat: [fd, longs],
  lseek: [fd, number, bits, longs],
  read: [fd, bytes],
  write: [fd, bytes],
  pread: [fd, bytes, number],
  pwrite: [fd, bytes, number],
  cachestat: [fd, number, number, longs],
  mmap: [address, number, bits, mapFlags, fd, number],
  munmap: [address, number],
  mprotect: [address, number, bits],
  madvise: [address, number, bits],
  mincore: [address, number, bytes],
  copyOut: [address, bytes, longs],
  copyIn: [address, bytes, longs],
  fill: [address, number, bits, longs],
  compare: [address, bytes, longs],
  view: [address, number],
  vcpuAttach: [fd, address],
  vcpuRun: [vcpu, number],
  vcpuStart: [vcpu, done],
  vcpuKick: [vcpu],
  vcpuDetach: [vcpu],
};
for (const [call, value] of Object.entries(kernel)) {
  if (typeof value === 'function' && !(call in calls)) throw new Error(`${call} is not tried`);
}

const seed = Number(process.env.PRIVMEM_SEED ?? Date.now() % 2 ** 31);
const runs = Number(process.env.PRIVMEM_FUZZ_RUNS ?? 12_000);
const log = process.env.PRIVMEM_FUZZ_LOG === '1';
fs.writeSync(1, `PRIVMEM_SEED=${seed}\n`);
// Files that open(2) makes by chance.
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'privmem-fuzz-'));
process.chdir(folder);

// What a callback of ours throws when a run ends.
process.on('uncaughtException', (error) => {
  if (error.message === 'hostile') return;
  console.error(error);
  process.exit(1);
});

const fuzz = new FuzzProcess(kernel);
const counts = { values: 0, errnos: 0, refusals: 0 };

const show = (value) => {
  if (value === null || ['number', 'bigint', 'undefined', 'boolean', 'string'].includes(typeof value))
    return String(value).slice(0, 40);
  return Object.prototype.toString.call(ArrayBuffer.isView(value) ? value.buffer : undefined) + (value.length ?? '');
};

function attempt(call, args) {
  if (log) {
    let shown;
    try {
      shown = args.map(show).join(', ');
    } catch {
      shown = '…';
    }
    fs.writeSync(2, `${call}(${shown})\n`);
  }
  let result;
  try {
    result = Reflect.apply(kernel[call], undefined, args);
  } catch (error) {
    const known = error instanceof TypeError || error instanceof RangeError || error?.message === 'hostile';
    if (!known || !error.message) throw new Error(`${call} threw ${error}`);
    counts.refusals++;
    return;
  }
  if (typeof result === 'number' ? !Number.isInteger(result) || result < -4095 : !(result instanceof ArrayBuffer)) {
    throw new Error(`${call} returned ${String(result)}`);
  }
  if (result < 0) counts.errnos++;
  else counts.values++;
  fuzz.keep(call, args, result);
}

const oneCall = fc.constantFrom(...Object.keys(calls)).chain((call) =>
  fc.record({
    call: fc.constant(call),
    args: fc.tuple(...calls[call]),
    count: fc.oneof({ weight: 19, arbitrary: fc.constant(9) }, { weight: 1, arbitrary: fc.nat({ max: 6 }) }),
    plain: fc.boolean(),
  }),
);

async function main() {
  const outcome = await fc.check(
    fc.asyncProperty(oneCall, async ({ call, args, count, plain }) => {
      let values = args.map((value) => (value?.token === 'request' ? value : fuzz.value(value)));
      if (call === 'ioctl') values = fuzz.ioctlArguments(values, plain);
      attempt(call, fuzz.tame(call, values).slice(0, count));
      // Completions and finalizers want a turn.
      if (counts.values % 50 === 0) await new Promise(setImmediate);
    }),
    // Calls build on each other, so a failure could not be made smaller.
    { seed, numRuns: runs, endOnFailure: true },
  );
  // Not the library's own report, which would look into the values.
  if (outcome.failed) throw outcome.errorInstance;
  fuzz.end();
  process.chdir('/');
  fs.rmSync(folder, { recursive: true, force: true });
  fs.writeSync(1, `${JSON.stringify(counts)}\n`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
