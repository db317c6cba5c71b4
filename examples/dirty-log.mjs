/**
 * Dirty logging of the shared side, as for the first pass of a live migration: private memory cannot be logged or read by the host, so what the host
 * has to send again is what the guest wrote to its shared window.
 *
 *     node examples/dirty-log.mjs [kvm|sim]
 */
import assert from 'node:assert/strict';
import { Kvm, openKernel } from 'privmem';
import { program } from 'privmem/guest';
import { GuestMemory, GuestPrograms, Machine } from 'privmem/machine';
import { KVM_MEM, KVM_VM_TYPE } from 'privmem/uapi';

const PAGE = 4096;
const WINDOW = { gpa: 2 ** 32, size: 64 * PAGE };
const RAM = { gpa: 2 ** 33, size: 64 * PAGE };
const { KVM_MEM_LOG_DIRTY_PAGES } = KVM_MEM.value;

const kvm = Kvm.open(openKernel({ backend: process.argv[2] === 'kvm' ? 'kvm' : 'sim' }));
const vm = kvm.createVm(KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM);
const memory = new GuestMemory(vm);
memory.addRam({ name: 'low', gpa: 0, size: 2 ** 21, shared: 'memfd' });
const window = memory.addRam({ name: 'window', ...WINDOW, shared: 'memfd' });
const ram = memory.addRam({ name: 'ram', ...RAM, shared: 'memfd', private: true, initial: 'private' });
const vcpu = vm.createVcpu();
vcpu.x64.setCpuid(kvm.supportedCpuid());
const guest = new GuestPrograms(new Machine({ vm, vcpus: [vcpu], memory }));

window.slot.setFlags(KVM_MEM_LOG_DIRTY_PAGES);
const refused = ram.slot.raw.setFlags(KVM_MEM_LOG_DIRTY_PAGES);
assert.equal(refused.ok || refused.code, 'EINVAL', 'a slot with a guest_memfd cannot be logged');

/** Numbers of the pages that were written since the last look. */
function dirty() {
  const bits = window.slot.dirtyLog();
  return Array.from({ length: WINDOW.size / PAGE }, (_, page) => page).filter(
    (page) => ((bits[page >> 3] ?? 0) >> (page & 7)) & 1,
  );
}

/** The other end: a copy, brought up to date page by page. */
const copy = memory.read(WINDOW.gpa, WINDOW.size);
let sent = 0;
function send() {
  const pages = dirty();
  for (const page of pages) copy.set(memory.read(WINDOW.gpa + page * PAGE, PAGE), page * PAGE);
  sent += pages.length;
  return pages;
}

for (const pages of [[1, 5, 6], [5], []]) {
  guest.load(
    program({ arch: 'x64' }, (g) => {
      for (const page of pages) g.fill(WINDOW.gpa + page * PAGE, 64, BigInt(100 + sent + page));
      g.store(RAM.gpa, g.load(RAM.gpa).add(1)); // private: in no log
    }),
  );
  await guest.run();
  const found = send();
  console.log('written since the last pass:', found);
  assert.deepEqual(found, pages);
}
assert.deepEqual(copy, memory.read(WINDOW.gpa, WINDOW.size));
memory.close();
kvm.close();
