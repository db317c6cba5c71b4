'use strict';
// What keeps a process alive and how it ends, with vCPUs. One way for each name given as the argument.
const fs = require('node:fs');
const kernel = require('./kernel.cjs')();
const guest = require('./guest.cjs');

const { CODE, ok } = guest;

const ways = {
  // Ends by itself: a vCPU that does not run holds nothing up.
  idle: () => {
    const open = guest.openGuest(kernel, CODE.out);
    ok(
      kernel.vcpuStart(open.handle, (result) => console.log(`done ${result}`)),
      'vcpuStart',
    );
  },
  // Ends only when the run ends: that is what the kick by the timer, which does not count, brings about.
  running: () => {
    const open = guest.openGuest(kernel, CODE.spin);
    const before = Date.now();
    ok(
      kernel.vcpuStart(open.handle, (result) => console.log(`done ${result} ${Date.now() - before >= 190}`)),
      'vcpuStart',
    );
    setTimeout(() => kernel.vcpuKick(open.handle), 200).unref();
  },
  'running-for-ever': () => {
    const open = guest.openGuest(kernel, CODE.spin);
    ok(
      kernel.vcpuStart(open.handle, () => undefined),
      'vcpuStart',
    );
    fs.writeSync(1, 'started\n');
  },
  'exit-mid-run': () => {
    for (let i = 0; i < 4; i++) {
      const open = guest.openGuest(kernel, CODE.spin);
      kernel.view(open.hva, 4096);
      ok(
        kernel.vcpuStart(open.handle, () => undefined),
        'vcpuStart',
      );
    }
    setTimeout(() => process.exit(7), 20);
  },
  'throw-in-done': () => {
    const open = guest.openGuest(kernel, CODE.out);
    process.on('uncaughtException', (error) => console.log(`caught ${error.message}`));
    ok(
      kernel.vcpuStart(open.handle, () => {
        throw new Error('from done');
      }),
      'vcpuStart',
    );
  },
  'throw-in-done-uncaught': () => {
    const open = guest.openGuest(kernel, CODE.out);
    ok(
      kernel.vcpuStart(open.handle, () => {
        throw new Error('from done');
      }),
      'vcpuStart',
    );
  },
  // `done` detaches its own vCPU and closes everything.
  'close-in-done': () => {
    const open = guest.openGuest(kernel, CODE.out);
    ok(
      kernel.vcpuStart(open.handle, (result) => {
        guest.closeGuest(kernel, open);
        console.log(`done ${result}`);
      }),
      'vcpuStart',
    );
  },
};

ways[process.argv[2]]();
