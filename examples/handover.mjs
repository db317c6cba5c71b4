/**
 * Handover inside one host: a second VM takes over the shared memory of the first by mapping the same file, without a copy, and its guest goes on
 * where the other one stopped. The first VM is gone by then; its private memory goes with it.
 *
 *     node examples/handover.mjs [kvm|sim]
 */
import assert from 'node:assert/strict';
import { Kvm, Memfd, openKernel } from 'privmem';
import { program } from 'privmem/guest';
import { GuestMemory, GuestPrograms, Machine } from 'privmem/machine';
import { KVM_CAP, KVM_MEMORY_ATTRIBUTE, KVM_VM_TYPE } from 'privmem/uapi';

const PAGE = 4096;
const SHARED = { gpa: 2 ** 32, size: 64 * PAGE };
const PRIVATE = { gpa: 2 ** 33, size: 16 * PAGE };
const SECRET = 0x5ec2e7n;

const sys = openKernel({ backend: process.argv[2] === 'kvm' ? 'kvm' : 'sim' });
const kvm = Kvm.open(sys);
const file = Memfd.create(sys, { name: 'handed-over', size: SHARED.size });

/** A VM with a window on the file, and private memory of its own where the kernel has it. */
function open() {
  const types = KVM_VM_TYPE.value;
  const vm = kvm.createVm(
    kvm.checkExtension(KVM_CAP.value.KVM_CAP_VM_TYPES) & (1 << types.KVM_X86_SW_PROTECTED_VM) ? 1 : 0,
  );
  const hasPrivate = (vm.memoryAttributes() & KVM_MEMORY_ATTRIBUTE.value.KVM_MEMORY_ATTRIBUTE_PRIVATE) !== 0;
  const memory = new GuestMemory(vm);
  memory.addRam({ name: 'low', gpa: 0, size: 2 ** 21, shared: 'memfd' });
  memory.addRam({ name: 'window', ...SHARED, shared: { file } });
  if (hasPrivate) memory.addRam({ name: 'own', ...PRIVATE, shared: 'memfd', private: true, initial: 'private' });
  else memory.addRam({ name: 'own', ...PRIVATE, shared: 'memfd' });
  const vcpu = vm.createVcpu();
  vcpu.x64.setCpuid(kvm.supportedCpuid());
  const guest = new GuestPrograms(new Machine({ vm, vcpus: [vcpu], memory }));
  return { vm, memory, guest };
}

const first = open();
first.guest.load(
  program({ arch: 'x64' }, (g) => {
    g.fill(SHARED.gpa, SHARED.size, 0x1234_5678_9abcn);
    g.store(SHARED.gpa, 1); // how far the work has come
    g.store(PRIVATE.gpa, SECRET);
    g.report(0, g.load(PRIVATE.gpa));
  }),
);
assert.equal((await first.guest.run()).get(0), SECRET);
const pages = file.residency().cache;
first.memory.close();
first.vm.close();
assert.equal(file.residency().cache, pages, 'the pages outlive the VM');

const second = open();
second.guest.load(
  program({ arch: 'x64' }, (g) => {
    g.check(SHARED.gpa + 8, SHARED.size - 8, 0x1234_5678_9abcn);
    g.store(SHARED.gpa, g.load(SHARED.gpa).add(1));
    g.report(0, g.load(PRIVATE.gpa));
  }),
);
assert.equal((await second.guest.run()).get(0), 0n, 'nothing private crosses');
assert.equal(second.memory.read(SHARED.gpa, 1)[0], 2);
assert.equal(file.residency().cache, pages, 'and nothing was copied');
console.log(`${pages} pages handed over; step ${second.memory.read(SHARED.gpa, 1)[0]} of the work`);
second.memory.close();
kvm.close();
file.close();
