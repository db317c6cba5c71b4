/**
 * RAM as QEMU lays it out for `-machine q35,memory-backend=…,confidential-guest-support=…`: one backing, below and above the PCI hole, firmware under
 * 4 GiB, the last 128 KiB of it again under 1 MiB; private by attribute from the start. Then one conversion, as kvm_convert_memory makes it.
 *
 *     node examples/qemu-ram.mjs [kvm|sim]
 */
import assert from 'node:assert/strict';
import { Kvm, Memfd, openKernel } from 'privmem';
import { program } from 'privmem/guest';
import { GuestMemory, GuestPrograms, Machine } from 'privmem/machine';
import { KVM_VM_TYPE } from 'privmem/uapi';

const MIB = 2 ** 20;
const RAM = 64 * MIB;
const BELOW_4G = 48 * MIB; // QEMU splits at 2 or 3 GiB; less keeps the example small.
const FOUR_GIB = 2 ** 32;
const FIRMWARE = new Uint8Array(256 * 1024).fill(0x90);

const sys = openKernel({ backend: process.argv[2] === 'kvm' ? 'kvm' : 'sim' });
const kvm = Kvm.open(sys);
const vm = kvm.createVm(KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM);
const memory = new GuestMemory(vm);

// One RAMBlock: a memfd for the shared side, a guest_memfd for the private one, both addressed by offset.
const ram = Memfd.create(sys, { name: 'pc.ram', size: RAM });
const guestMemfd = vm.createGuestMemfd(RAM);
for (const [name, gpa, offset, size] of /** @type {const} */ ([
  ['ram-below-4g', 0, 0, BELOW_4G],
  ['ram-above-4g', FOUR_GIB, BELOW_4G, RAM - BELOW_4G],
])) {
  memory.addRam({
    name,
    gpa,
    size,
    shared: { file: ram, offset },
    private: { file: guestMemfd, offset },
    initial: 'private',
  });
}
memory.addRom({ name: 'pc.bios', gpa: FOUR_GIB - FIRMWARE.length, contents: FIRMWARE });
console.table(memory.regions.map(({ name, kind, gpa, size }) => ({ name, kind, gpa: `0x${gpa.toString(16)}`, size })));

// Nobody measures a guest of this VM type: what it starts from is shared, and so the host can put it there.
memory.convert({ gpa: 0, size: 2 * MIB }, 'shared');
vm.enableExitHypercall(1 << 12);
const vcpu = vm.createVcpu();
vcpu.x64.setCpuid(kvm.supportedCpuid());
const machine = new Machine({ vm, vcpus: [vcpu], memory });
const guest = new GuestPrograms(machine);
machine.on('conversion', ({ gpa, size, to }) => console.log(`0x${gpa.toString(16)}+0x${size.toString(16)} to ${to}`));

const window = FOUR_GIB + MIB;
guest.load(
  program({ arch: 'x64' }, (g) => {
    g.fill(window, 64 * 1024, 0x11); // private memory above 4 GiB, on demand
    g.report(0, g.mapGpaRange(window, 16, { private: false }));
    g.report(1, g.load(window)); // the private side was punched; the shared one is new
    g.store(window, 42);
    g.report(2, g.load(FOUR_GIB - FIRMWARE.length));
  }),
);
const reports = await guest.run();
assert.deepEqual([...reports.values()], [0n, 0n, 0x9090_9090_9090_9090n]);
assert.equal(memory.read(window, 1)[0], 42);
assert.throws(() => memory.read(window - 1, 1), { name: 'GuestMemoryError', kind: 'private-unreachable' });
assert.equal(memory.residency({ gpa: window, size: 64 * 1024 }).private, 0);
console.log('the host reads what the guest stored in shared memory:', memory.read(window, 1)[0]);
memory.close();
kvm.close();
