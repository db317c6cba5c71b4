'use strict';
// Workers and the addon. The main thread plays the way given as the argument; workers play the part in their workerData.
const { Worker, isMainThread, workerData, parentPort } = require('node:worker_threads');
const kernel = require('./kernel.cjs');
const guest = require('./guest.cjs');
const { holdings, settled } = require('./holdings.cjs');
const trap = require('./wasm.cjs');

const { CODE, MAP, PAGE, PROT, ok } = guest;

function assert(condition, what) {
  if (!condition) throw new Error(`assertion failed: ${what}`);
}

/** Faults, views and vCPUs, a few times over. */
async function everything() {
  const k = kernel();
  for (let round = 0; round < 20; round++) {
    const hole = ok(k.mmap(0, 2 * PAGE, PROT.RW, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0), 'mmap');
    ok(k.mprotect(hole + PAGE, PAGE, PROT.NONE), 'mprotect');
    assert(k.copyOut(hole, new Uint8Array(2 * PAGE)) === PAGE, 'exact');
    assert(k.view(hole, PAGE).byteLength === PAGE, 'view');
    const out = guest.openGuest(k, CODE.out);
    const spin = guest.openGuest(k, CODE.spin);
    assert(k.vcpuRun(out.handle, 1000) === 0, 'run');
    assert(k.vcpuRun(spin.handle, 2) === -4, 'limit');
    const run = new Promise((resolve) => k.vcpuStart(spin.handle, resolve));
    k.vcpuKick(spin.handle);
    assert((await run) === -4, 'kick');
    guest.closeGuest(k, out);
    guest.closeGuest(k, spin);
    ok(k.munmap(hole, 2 * PAGE), 'munmap');
    assert(trap() === 'RuntimeError', 'trap');
  }
}

/** Holds a bit of everything, a guest that runs included, and says so. */
function hold() {
  const k = kernel();
  const open = guest.openGuest(k, CODE.spin);
  const kept = [k.view(open.hva, PAGE), k.eventfd(0, 0), k.open('/dev/null', 0, 0)];
  ok(
    k.vcpuStart(open.handle, () => undefined),
    'vcpuStart',
  );
  parentPort.postMessage({ hva: open.hva, kept: kept.length });
}

const parts = {
  everything,
  hold,
  // Blocks its own thread, too.
  'hold-and-block': () => {
    hold();
    for (;;);
  },
  'hold-and-exit': () => {
    hold();
    process.exit(0);
  },
  fault: () => assert(kernel().copyOut(0, new Uint8Array(5)) === 0, 'fault'),
  page: () => {
    parentPort.postMessage(kernel().mmap(0, PAGE, PROT.RW, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0));
    setInterval(() => undefined, 1000);
  },
};

const start = (part) => new Worker(__filename, { workerData: part });
const ended = (worker) =>
  new Promise((resolve, reject) => {
    worker.on('error', reject);
    worker.on('exit', resolve);
  });
const message = (worker) => new Promise((resolve) => worker.once('message', resolve));

async function rounds(count, part, end) {
  const k = kernel();
  guest.closeGuest(k, guest.openGuest(k, CODE.out));
  const once = async () => {
    const worker = start(part);
    const exit = ended(worker);
    // A worker that exits right after its message may take the message along.
    await Promise.race([message(worker), exit]);
    await end(worker, exit);
  };
  await once();
  const same = (before) => (now) => Object.keys(now).every((key) => now[key] <= before[key]);
  const before = holdings();
  for (let i = 0; i < count; i++) {
    await once();
  }
  const after = await settled(holdings, same(before));
  assert(same(before)(after), `${JSON.stringify(after)} instead of ${JSON.stringify(before)}`);
}

const ways = {
  'two-at-once': () =>
    Promise.all(
      [start('everything'), start('everything'), everything()].map((w) => (w instanceof Worker ? ended(w) : w)),
    ),
  terminate: () => rounds(40, 'hold', (worker) => worker.terminate()),
  'terminate-blocked': () => rounds(10, 'hold-and-block', (worker) => worker.terminate()),
  'exit-by-itself': () => rounds(20, 'hold-and-exit', (_, exit) => exit),
  'main-exits': async () => {
    await message(start('hold'));
    process.exit(0);
  },
  // Loaded by a worker alone, which ends: the handlers must stay where they are.
  'worker-only': async () => {
    for (let i = 0; i < 5; i++) {
      await ended(start('fault'));
      assert(trap() === 'RuntimeError', 'trap');
    }
    assert(kernel().copyOut(0, new Uint8Array(5)) === 0, 'fault here');
    assert(trap() === 'RuntimeError', 'trap');
  },
  // A vCPU of this thread whose run page a worker mapped, which ends.
  'page-of-another': async () => {
    const worker = start('page');
    const page = await message(worker);
    const k = kernel();
    const handle = k.vcpuAttach(-1, page);
    await worker.terminate();
    if (handle >= 0) {
      k.vcpuKick(handle);
      k.vcpuDetach(handle);
    }
  },
  // What one environment made, another can use by number, but its views are its own.
  shared: async () => {
    const worker = start('page');
    const page = await message(worker);
    const k = kernel();
    assert(k.fill(page, PAGE, 3) === PAGE, 'fill');
    assert(k.view(page, PAGE) === -guest.E.EBUSY, 'view');
    await worker.terminate();
    try {
      assert(k.fill(page, PAGE, 3) === 0, 'gone with its worker');
    } catch (error) {
      // Somebody else may have been given the address.
      assert(error instanceof RangeError, String(error));
    }
  },
};

if (isMainThread) {
  ways[process.argv[2]]().then(
    () => console.log('fine'),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
} else {
  parts[workerData]();
}
