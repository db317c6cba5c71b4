'use strict';
// One way to live or die for each name given as the argument. "survived" on standard output is the last word of those that live.
const kernel = require('./kernel.cjs')();
const guest = require('./guest.cjs');
const trap = require('./wasm.cjs');

const { MAP, PAGE, PROT, ok } = guest;

function assert(condition, what) {
  if (!condition) throw new Error(`assertion failed: ${what}`);
}

/** A mapping beyond the end of its file: every access is a SIGBUS. */
function emptyFile() {
  const fd = ok(kernel.memfdCreate('empty', 0), 'memfd_create');
  return ok(kernel.mmap(0, PAGE, PROT.RW, MAP.SHARED, fd, 0), 'mmap');
}

function noAccess() {
  return ok(kernel.mmap(0, PAGE, PROT.NONE, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0), 'mmap');
}

/** Faults of both kinds in every copy: our handlers are installed now, and they work. */
function copies() {
  const fault = new BigInt64Array(3);
  for (const [at, signal] of [
    [emptyFile(), 7n],
    [noAccess(), 11n],
  ]) {
    const bytes = new Uint8Array(16);
    for (const call of [
      () => kernel.copyOut(at, bytes, fault),
      () => kernel.copyIn(at, bytes, fault),
      () => kernel.fill(at, 16, 0, fault),
      () => kernel.compare(at, bytes, fault),
    ]) {
      fault.fill(0n);
      assert(call() === 0, 'nothing was done');
      assert(fault[0] === signal, `signal ${fault[0]} instead of ${signal}`);
    }
  }
}

function touch(address) {
  new Uint8Array(kernel.view(address, PAGE))[0] = 1;
}

function privatePage() {
  const { vm } = guest.openVm(kernel);
  const fd = ok(guest.guestMemfd(kernel, vm, PAGE, 1), 'guest_memfd');
  return ok(kernel.mmap(0, PAGE, PROT.RW, MAP.SHARED, fd, 0), 'mmap');
}

/** Resolves when the signal that this process sends to itself has reached its listener. */
function delivered(signal) {
  return new Promise((resolve) => {
    // A listener does not keep the process alive.
    const alive = setInterval(() => undefined, 1000);
    process.once(signal, () => {
      clearInterval(alive);
      resolve();
    });
    process.kill(process.pid, signal);
  });
}

const ways = {
  copies,
  'copies-many': () => {
    const places = [emptyFile(), noAccess()];
    const byte = new Uint8Array(1);
    for (let i = 0; i < 4000; i++) assert(kernel.copyOut(places[i % 2], byte) === 0, 'nothing was done');
  },
  'sent-segv': () => {
    copies();
    process.kill(process.pid, 'SIGSEGV');
  },
  'sent-bus': () => {
    copies();
    process.kill(process.pid, 'SIGBUS');
  },
  'touch-empty-file': () => {
    copies();
    touch(emptyFile());
  },
  'touch-no-access': () => {
    copies();
    touch(noAccess());
  },
  'touch-private': () => {
    const page = privatePage();
    const fault = new BigInt64Array(3);
    assert(kernel.copyOut(page, new Uint8Array(1), fault) === 0 && fault[0] === 7n, 'SIGBUS');
    touch(page);
  },
  // As the argument of requests: read by the kernel, by the rule for the size of a list, and by the error that says what was asked.
  'private-argument': () => {
    const { Sys } = require('../../../dist/kernel/sys.js');
    const { ioctlByName } = require('../../../dist/uapi/index.js');
    const sys = new Sys(kernel);
    const view = new Uint8Array(sys.view(privatePage(), PAGE));
    const { kvm, vm } = guest.openVm(kernel);
    const { fd: vcpu } = guest.addVcpu(kernel, kvm, vm, 0);
    for (const [fd, name, length, answer] of [
      [vm, 'KVM_SET_USER_MEMORY_REGION', 32, 'EFAULT'],
      [vcpu, 'KVM_GET_REGS', 144, 'EFAULT'],
      [vcpu, 'KVM_SET_MSRS', 64, 'RangeError'],
    ]) {
      let got;
      try {
        sys.ioctl(fd, ioctlByName(name), view.subarray(0, length));
      } catch (error) {
        got = error.code ?? error.name;
      }
      assert(got === answer, `${name}: ${got}`);
    }
    let pointers;
    try {
      kernel.ioctl(vm, 0x4020ae46, view.subarray(0, 32), 0, [[24, new Uint8Array(8)]]);
    } catch (error) {
      pointers = error;
    }
    assert(pointers instanceof RangeError, `pointers in a view: ${pointers}`);
  },
  'listener-before': async () => {
    process.on('SIGBUS', () => undefined);
    copies();
    await delivered('SIGBUS');
    copies();
  },
  'listener-after': async () => {
    copies();
    process.on('SIGBUS', () => undefined);
    copies();
    await delivered('SIGBUS');
    copies();
    await delivered('SIGBUS');
  },
  'listener-removed': async () => {
    const listener = () => undefined;
    for (let i = 0; i < 20; i++) {
      process.on('SIGBUS', listener);
      copies();
      await delivered('SIGBUS');
      process.off('SIGBUS', listener);
      copies();
    }
    process.kill(process.pid, 'SIGBUS');
  },
  wasm: () => {
    assert(trap() === 'RuntimeError', 'a trap before');
    copies();
    assert(trap() === 'RuntimeError', 'a trap after');
    copies();
    for (let i = 0; i < 100; i++) assert(trap() === 'RuntimeError', 'and again');
  },
  // Node.js turns this number of bytes down: the addon must give an errno and keep its books.
  'view-too-long': () => {
    const length = 2 ** 53 - PAGE;
    const some = 5 * 2 ** 30;
    const at = ok(kernel.mmap(0, some, PROT.NONE, MAP.PRIVATE | MAP.ANONYMOUS | MAP.NORESERVE, -1, 0), 'mmap');
    for (let i = 0; i < 100; i++) {
      const view = kernel.view(at, some);
      assert(view instanceof ArrayBuffer ? view.byteLength === some : view < 0, String(view));
    }
    try {
      kernel.view(at, length);
    } catch (error) {
      assert(error instanceof RangeError, 'a range error');
    }
    ok(kernel.munmap(at, some), 'munmap');
  },
  'kick-no-access': () => {
    const handle = kernel.vcpuAttach(-1, noAccess());
    if (handle >= 0) kernel.vcpuKick(handle);
  },
  'attach-top-of-memory': () => {
    try {
      const handle = kernel.vcpuAttach(-1, 2n ** 64n - 4096n);
      if (handle >= 0) kernel.vcpuKick(handle);
    } catch (error) {
      assert(error instanceof RangeError, String(error));
    }
  },
};

const way = ways[process.argv[2]];
if (way === undefined) throw new Error(`no such way: ${process.argv[2]}`);
Promise.resolve(way()).then(() => {
  // A signal that was sent may still be on its way.
  setTimeout(() => console.log('survived'), 50);
});
