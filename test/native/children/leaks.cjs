'use strict';
// Many rounds of one kind, given as the argument with their number; then nothing more may be held than before.
const fs = require('node:fs');
const { Worker, isMainThread } = require('node:worker_threads');
const kernel = require('./kernel.cjs')();
const guest = require('./guest.cjs');
const { holdings, mappings, settled } = require('./holdings.cjs');

const { CODE, MAP, PAGE, PROT, ok } = guest;

/** Memory of this process that no garbage collection explains, in pages of the mappings of files and KVM. */
function resident() {
  return Number(fs.readFileSync('/proc/self/statm', 'utf8').split(' ')[1]) * PAGE;
}

// A sanitizer keeps freed memory for a while to see whether anybody still uses it.
const SPARE_BYTES = (process.env.PRIVMEM_SANITIZED ? 1024 : 64) * 2 ** 20;

let vm;

const kinds = {
  memfd: () => {
    const fd = ok(kernel.memfdCreate('leak', 0), 'memfd_create');
    ok(kernel.ftruncate(fd, 4 * PAGE), 'ftruncate');
    const at = ok(kernel.mmap(0, 4 * PAGE, PROT.RW, MAP.SHARED, fd, 0), 'mmap');
    if (kernel.fill(at, 4 * PAGE, 1) !== 4 * PAGE) throw new Error('fill');
    ok(kernel.munmap(at, 4 * PAGE), 'munmap');
    ok(kernel.close(fd), 'close');
  },
  'guest-memfd': () => {
    vm ??= guest.openVm(kernel).vm;
    const fd = ok(guest.guestMemfd(kernel, vm, 4 * PAGE, 1), 'guest_memfd');
    const at = ok(kernel.mmap(0, 4 * PAGE, PROT.RW, MAP.SHARED, fd, 0), 'mmap');
    if (kernel.copyOut(at, new Uint8Array(1)) !== 0) throw new Error('private memory was read');
    ok(kernel.munmap(at, 4 * PAGE), 'munmap');
    ok(kernel.close(fd), 'close');
  },
  views: async (round) => {
    const at = ok(kernel.mmap(0, 4 * PAGE, PROT.RW, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0), 'mmap');
    new Uint8Array(kernel.view(at, 4 * PAGE)).fill(1);
    new Uint8Array(kernel.view(at + PAGE, PAGE)).fill(2);
    ok(kernel.munmap(at, 4 * PAGE), 'munmap');
    if (round % 100 === 0) {
      globalThis.gc();
      await new Promise(setImmediate);
    }
  },
  // Every other vCPU is in the middle of a run when it is detached.
  vcpu: async (round) => {
    const open = guest.openGuest(kernel, round % 2 === 0 ? CODE.out : CODE.spin);
    const run = new Promise((resolve) => kernel.vcpuStart(open.handle, resolve));
    if (round % 2 === 0) await run;
    guest.closeGuest(kernel, open);
    await run;
  },
  // The page that structs are handed over in belongs to the thread.
  workers: () =>
    new Promise((resolve, reject) => {
      new Worker(__filename, { workerData: 'ioctl' }).on('error', reject).on('exit', resolve);
    }),
  failures: () => {
    kernel.memfdCreate('x'.repeat(300), 0);
    kernel.open('/nonexistent', 0, 0);
    kernel.mmap(0, PAGE, PROT.RW, MAP.SHARED, -1, 0);
    kernel.vcpuRun(-1, 0);
    kernel.copyOut(0, new Uint8Array(10));
  },
};

async function main() {
  const [kind, rounds] = process.argv.slice(2);
  const one = kinds[kind];
  for (let i = 0; i < 20; i++) await one(i);
  globalThis.gc();
  const before = { ...holdings(), mappings: mappings() };
  const memory = resident();
  for (let i = 0; i < Number(rounds); i++) await one(i);
  globalThis.gc();
  // The heap of JavaScript may take a few mappings more; a leak takes one for each round.
  const spare = { fds: 0, threads: 0, kvm: 0, files: 0, mappings: 40 };
  const calm = (now) => Object.keys(spare).every((key) => now[key] <= before[key] + spare[key]);
  const after = await settled(() => ({ ...holdings(), mappings: mappings() }), calm);
  if (!calm(after)) throw new Error(`${JSON.stringify(after)} instead of ${JSON.stringify(before)}`);
  const grown = resident() - memory;
  if (grown > SPARE_BYTES) throw new Error(`${grown} bytes more than before`);
  console.log('none');
}

if (isMainThread) {
  main().catch((error) => {
    console.error(error);
    process.exit(1);
  });
} else {
  const fd = ok(kernel.open('/dev/null', 0, 0), 'open');
  // No driver's: the struct goes to the kernel and back.
  if (kernel.ioctl(fd, 0xc0080000, new Uint8Array(8)) >= 0) throw new Error('/dev/null knows this request');
  kernel.close(fd);
}
