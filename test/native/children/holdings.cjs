'use strict';
// What this process holds: descriptors, mappings of KVM, of memfds and of the addon's own pages, threads.
const fs = require('node:fs');

/** Node.js closes and frees some of its own things late, so the numbers may need a moment to settle. */
async function settled(read, wanted, limitMs = 5000) {
  const until = Date.now() + limitMs;
  for (;;) {
    const now = read();
    if (wanted(now) || Date.now() > until) return now;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const lines = () => fs.readFileSync('/proc/self/maps', 'utf8').split('\n');

function holdings() {
  const maps = lines();
  return {
    fds: fs.readdirSync('/proc/self/fd').length,
    threads: fs.readdirSync('/proc/self/task').length,
    kvm: maps.filter((line) => /kvm|guest_memfd|guest-memfd/.test(line)).length,
    files: maps.filter((line) => /memfd:|secretmem/.test(line)).length,
  };
}

/** Also all mappings, whose number moves with the heap. */
const mappings = () => lines().length;

module.exports = { holdings, mappings, settled };
