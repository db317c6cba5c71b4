/**
 * Booting under pKVM: nothing is measured or copied; pages leave the host as the guest touches them. The guest shares a window, as Linux does with its
 * swiotlb pool (restricted-dma-pool), for everything that the host shall see, and takes it back at the end.
 *
 *     node examples/pkvm-swiotlb.mjs [kvm|sim]
 */
import assert from 'node:assert/strict';
import { Kvm, openKernel } from 'privmem';
import { program } from 'privmem/guest';
import { GuestMemory, GuestMemoryError, GuestPrograms, Machine } from 'privmem/machine';
import { KVM_ARM_VCPU } from 'privmem/uapi';

const PAGE = 4096;
const PROTECTED = 2 ** 31; // KVM_VM_TYPE_ARM_PROTECTED
const RAM = 2 ** 22;
const SECRET = 0x10_0000;
const SWIOTLB = { gpa: 0x20_0000, size: 8 * PAGE };
const OTHER = 0x30_0000; // the guest never touches this

const sys = openKernel({
  backend: process.argv[2] === 'kvm' ? 'kvm' : 'sim',
  simulate: { arch: 'arm64', technologies: ['pkvm'] },
});
const kvm = Kvm.open(sys);
const vm = kvm.createVm(PROTECTED);
const memory = new GuestMemory(vm);
// One side: what is private is for the guest to say, page by page, and the hypervisor keeps the book.
memory.addRam({ name: 'ram', gpa: 0, size: RAM, shared: 'anonymous' });
memory.write(SECRET, new TextEncoder().encode('the initrd, as loaded'));
memory.fill(OTHER, PAGE, 0x33);
const vcpu = vm.createVcpu();
vcpu.arm64.init(undefined, [1 << KVM_ARM_VCPU.value.KVM_ARM_VCPU_PSCI_0_2]);
const guest = new GuestPrograms(new Machine({ vm, vcpus: [vcpu], memory }));

guest.load(
  program({ arch: 'arm64' }, (g) => {
    g.report(0, g.load(SECRET)); // contents stay when a page is given to the guest
    g.store(SECRET, 0x5ec2e7);
    g.repeat(SWIOTLB.size / PAGE, (i) => g.share(i.shl(12).add(SWIOTLB.gpa)));
    g.fill(SWIOTLB.gpa, SWIOTLB.size, 0x1010n);
    g.report(1, 0); // here the host looks
    g.report(2, g.load(SWIOTLB.gpa)); // and answers
    g.repeat(SWIOTLB.size / PAGE, (i) => g.unshare(i.shl(12).add(SWIOTLB.gpa)));
    g.report(3, 0);
  }),
);

/** @param {number} gpa */
const reachable = (gpa) => {
  try {
    memory.read(gpa, 8);
    return true;
  } catch (error) {
    // The ledger knows nothing of what the guest gave or took: the host's access faults.
    assert(error instanceof GuestMemoryError && error.kind === 'fault');
    return false;
  }
};
/** @type {Record<string, object>} */
const seen = {};
guest.machine.on('exit', () => {
  const { reports } = guest.result();
  const at = { secret: reachable(SECRET), swiotlb: reachable(SWIOTLB.gpa), other: reachable(OTHER) };
  if (reports.size === 2 && !seen.shared) {
    seen.shared = at;
    memory.fill(SWIOTLB.gpa, 8, 0x2a);
  } else if (reports.size === 4) seen['taken back'] ??= at;
});
const reports = await guest.run();
console.table(seen);
assert.deepEqual(seen.shared, { secret: false, swiotlb: true, other: true });
assert.deepEqual(seen['taken back'], { secret: false, swiotlb: false, other: true });
assert.equal(reports.get(2), 0x2a2a_2a2a_2a2a_2a2an);
assert.equal(Buffer.from(new BigUint64Array([reports.get(0) ?? 0n]).buffer).toString(), 'the init');
memory.close();
kvm.close();
