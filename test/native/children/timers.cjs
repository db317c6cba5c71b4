'use strict';
// A vCPU's limit that the kernel makes a timer for, and then does not set: from the middle on, this process may not call timer_settime.
const fs = require('node:fs');
const koffi = require('koffi');
const kernel = require('./kernel.cjs')();
const guest = require('./guest.cjs');

const SECCOMP_SET_MODE_FILTER = 1;
const PR_SET_NO_NEW_PRIVS = 38;
const NR = { timer_settime: 223, seccomp: 317 };
const [LOAD, JUMP_EQUAL, RETURN] = [0x20, 0x15, 0x06];
const ALLOW = 0x7fff0000;
const EACCES_INSTEAD = 0x0005_0000 | 13;

const libc = koffi.load(null);
const prctl = libc.func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)');
const syscall = libc.func('long syscall(long, unsigned long, unsigned long, void *)');

function forbidTimers() {
  const rules = [
    [LOAD, 0, 0, 0],
    [JUMP_EQUAL, 0, 1, NR.timer_settime],
    [RETURN, 0, 0, EACCES_INSTEAD],
    [RETURN, 0, 0, ALLOW],
  ];
  const filter = Buffer.alloc(8 * rules.length);
  rules.forEach(([code, yes, no, k], i) => {
    filter.writeUInt16LE(code, 8 * i);
    filter.writeUInt8(yes, 8 * i + 2);
    filter.writeUInt8(no, 8 * i + 3);
    filter.writeUInt32LE(k, 8 * i + 4);
  });
  const program = Buffer.alloc(16);
  program.writeUInt16LE(rules.length, 0);
  program.writeBigUInt64LE(BigInt(koffi.address(filter)), 8);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) !== 0) throw new Error('prctl');
  if (syscall(NR.seccomp, SECCOMP_SET_MODE_FILTER, 0, program) !== 0) throw new Error('seccomp');
}

const timers = () =>
  fs
    .readFileSync('/proc/self/timers', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('ID:')).length;

const open = guest.openGuest(kernel, guest.CODE.spin);
const limited = kernel.vcpuRun(open.handle, 2);
forbidTimers();
const forbidden = Array.from({ length: 20 }, () => kernel.vcpuRun(open.handle, 2));
console.log(JSON.stringify({ limited, forbidden: [...new Set(forbidden)], timers: timers() }));
process.exit(0);
