/**
 * A balloon: the guest gives pages back, the host punches them out of the private file, and the guest finds zeros when it takes them again. The
 * pages stay private all the time: only memory is given back, not protection.
 *
 *     node examples/balloon.mjs [kvm|sim]
 */
import assert from 'node:assert/strict';
import { Kvm, openKernel } from 'privmem';
import { program } from 'privmem/guest';
import { GuestMemory, GuestPrograms, Machine } from 'privmem/machine';
import { KVM_VM_TYPE } from 'privmem/uapi';

const PAGE = 4096;
const RAM = { gpa: 2 ** 32, size: 4 * 2 ** 20 };
const INFLATE = 0x80; // a port on which the guest says how many pages it gives, from the end of its RAM on

const kvm = Kvm.open(openKernel({ backend: process.argv[2] === 'kvm' ? 'kvm' : 'sim' }));
const vm = kvm.createVm(KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM);
const memory = new GuestMemory(vm);
memory.addRam({ name: 'low', gpa: 0, size: 2 ** 21, shared: 'memfd' });
memory.addRam({ name: 'ram', ...RAM, shared: 'memfd', private: true, initial: 'private' });
const vcpu = vm.createVcpu();
vcpu.x64.setCpuid(kvm.supportedCpuid());
const machine = new Machine({ vm, vcpus: [vcpu], memory });
const guest = new GuestPrograms(machine);

const held = () => memory.residency(RAM).private / PAGE;
/** @type {number[]} */
const history = [];
machine.attach(
  'port',
  {
    name: 'balloon',
    write: (_offset, _size, pages) => {
      history.push(held());
      const size = pages * PAGE;
      if (size > 0) memory.discard({ gpa: RAM.gpa + RAM.size - size, size }, 'private');
      history.push(held());
    },
  },
  { address: INFLATE, size: 4 },
);

const half = RAM.size / 2;
guest.load(
  program({ arch: 'x64' }, (g) => {
    g.fill(RAM.gpa, RAM.size, 0x55);
    g.out(INFLATE, half / PAGE, 4);
    g.check(RAM.gpa, half, 0x55); // what was not given is as it was
    g.report(0, g.load(RAM.gpa + half)); // deflate: just touch it
    g.out(INFLATE, 0, 4);
  }),
);
const reports = await guest.run();
const all = RAM.size / PAGE;
assert.deepEqual(history, [all, all / 2, all / 2 + 1, all / 2 + 1]);
assert.equal(reports.get(0), 0n);
assert.equal(memory.ledger.bytes('private'), RAM.size);
console.log('pages in the private file: full, inflated, and after the guest touched one again:', history.slice(0, 3));
memory.close();
kvm.close();
