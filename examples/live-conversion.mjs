/**
 * Conversions under load: four vCPUs turn pages of their own shared and private and back, all at once, and look at what is in them before and after.
 * The host leaves a word in every page that becomes shared. At the end each page lies on the side that the ledger says, and on that one only.
 *
 *     node examples/live-conversion.mjs [kvm|sim]
 */
import assert from 'node:assert/strict';
import { Kvm, openKernel } from 'privmem';
import { program } from 'privmem/guest';
import { GuestMemory, GuestPrograms, Machine } from 'privmem/machine';
import { KVM_VM_TYPE } from 'privmem/uapi';

const PAGE = 4096;
const VCPUS = 4;
const ROUNDS = 10;
const PAGES = 16; // of each vCPU, every fourth one of the area
const AREA = 2 ** 32;
const WELCOME = 0xabcdn;

const kvm = Kvm.open(openKernel({ backend: process.argv[2] === 'kvm' ? 'kvm' : 'sim' }));
const vm = kvm.createVm(KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM);
vm.enableExitHypercall(1 << 12);
const memory = new GuestMemory(vm);
memory.addRam({ name: 'low', gpa: 0, size: 2 ** 21, shared: 'memfd' });
const size = VCPUS * PAGES * PAGE;
memory.addRam({ name: 'area', gpa: AREA, size, shared: 'memfd', private: true, initial: 'private' });

const vcpus = Array.from({ length: VCPUS }, (_, id) => vm.createVcpu(id));
for (const vcpu of vcpus) vcpu.x64.setCpuid(kvm.supportedCpuid());
const machine = new Machine({ vm, vcpus, memory });
const guest = new GuestPrograms(machine);

let pages = 0;
memory.on('convert', ({ to, ranges }) => {
  for (const range of ranges) {
    pages += range.size / PAGE;
    if (to !== 'shared') continue;
    const word = new Uint8Array(new BigUint64Array([WELCOME]).buffer);
    for (let at = range.gpa; at < range.gpa + range.size; at += PAGE) memory.write(at, word);
  }
});

for (const { id } of vcpus) {
  const code = program({ arch: 'x64', base: 0x10_0000 + id * 0x1_0000 }, (g) => {
    g.touch(AREA, size);
    const wrong = g.variable(0);
    g.repeat(ROUNDS, (round) => {
      g.repeat(PAGES, (i) => {
        const page = i.mul(VCPUS).add(id).mul(PAGE).add(AREA);
        const secret = round.shl(32).or(page);
        g.store(page, secret);
        g.when(g.load(page).ne(secret), () => wrong.set(wrong.add(1)));
        g.mapGpaRange(page, 1, { private: false });
        g.when(g.load(page).ne(WELCOME), () => wrong.set(wrong.add(1)));
        g.mapGpaRange(page, 1, { private: true });
        g.when(g.load(page).ne(0), () => wrong.set(wrong.add(1))); // both sides were punched when they were left
        g.store(page, secret);
      });
    });
    g.report(0, wrong);
  });
  guest.load(code, id);
}
await guest.run();
for (const { id } of vcpus) assert.equal(guest.result(id).reports.get(0), 0n, `vCPU ${id} found wrong contents`);
assert.equal(pages, 2 * VCPUS * ROUNDS * PAGES);
const area = { gpa: AREA, size };
assert.deepEqual(memory.residency(area), { private: size, shared: 0 });
console.log(`${pages} pages converted by ${VCPUS} vCPUs, nothing lost; resident:`, memory.residency(area));
memory.close();
kvm.close();
