'use strict';
// MAP_FIXED over address space that nobody has, while another thread, unknown to the addon, gets its memory there.
const { Worker, isMainThread, workerData } = require('node:worker_threads');
const koffi = require('koffi');
const guest = require('./guest.cjs');

const { MAP, PAGE, PROT } = guest;
const SIZE = 64 * PAGE;
const ANONYMOUS = MAP.PRIVATE | MAP.ANONYMOUS;
const libc = koffi.load(null);
const mmap = libc.func('intptr_t mmap(intptr_t, size_t, int, int, int, int64_t)');
const munmap = libc.func('int munmap(intptr_t, size_t)');
const memset = libc.func('intptr_t memset(intptr_t, int, size_t)');
const memchr = libc.func('intptr_t memchr(intptr_t, int, size_t)');
const usleep = libc.func('int usleep(unsigned int)');

/** [0] ends the thread; [1] counts its rounds, [2] those in which its memory was replaced; [3] is where it got memory last, in pages. */
const shared = isMainThread ? new BigInt64Array(new SharedArrayBuffer(32)) : workerData;

function other() {
  while (Atomics.load(shared, 0) === 0n) {
    const at = mmap(0, SIZE, PROT.RW, ANONYMOUS, -1, 0);
    memset(at, 0x5a, SIZE);
    Atomics.store(shared, 3, BigInt(at) / BigInt(PAGE));
    usleep(50);
    if (memchr(at, 0, SIZE) !== 0) Atomics.add(shared, 2, 1n);
    munmap(at, SIZE);
    Atomics.add(shared, 1, 1n);
    usleep(50);
  }
}

async function main() {
  const kernel = require('./kernel.cjs')();
  const worker = new Worker(__filename, { workerData: shared });
  const over = new Promise((resolve, reject) => worker.on('error', reject).on('exit', resolve));
  while (Atomics.load(shared, 1) < 100n) await new Promise(setImmediate);
  let [taken, refused] = [0, 0];
  const until = Date.now() + 2000;
  while (Date.now() < until) {
    const at = Number(Atomics.load(shared, 3)) * PAGE;
    try {
      if (kernel.mmap(at, SIZE, PROT.READ, ANONYMOUS | MAP.FIXED, -1, 0) !== at) throw new Error('mapped elsewhere');
    } catch (error) {
      if (!/covers memory that privmem did not map/.test(error.message)) throw error;
      refused++;
      continue;
    }
    taken++;
    if (kernel.munmap(at, SIZE) !== 0) throw new Error('munmap');
  }
  Atomics.store(shared, 0, 1n);
  await over;
  console.log(JSON.stringify({ taken: taken > 0, refused: refused > 0, replaced: Number(shared[2]) }));
}

if (isMainThread) main();
else other();
