/**
 * virtio-style I/O of a protected guest: its memory is private but for a window. The driver copies requests and data through buffers in the window;
 * the device can reach the window and nothing else. One queue entry: type, sector, address of the buffer, length, status.
 *
 *     node examples/bounce-buffer.mjs [kvm|sim]
 */
import assert from 'node:assert/strict';
import { Kvm, openKernel } from 'privmem';
import { program } from 'privmem/guest';
import { GuestMemory, GuestMemoryError, GuestPrograms, Machine } from 'privmem/machine';
import { KVM_VM_TYPE } from 'privmem/uapi';

const SECTOR = 512;
const RAM = { gpa: 2 ** 32, size: 16 * 2 ** 20 };
const RING = RAM.gpa; // shared by the driver, entries of 32 bytes
const BOUNCE = RAM.gpa + 4096;
const PRIVATE = RAM.gpa + 2 ** 20;
const NOTIFY = 0xd000_0000; // MMIO: the number of an entry
const [READ, WRITE] = [0, 1];

const kvm = Kvm.open(openKernel({ backend: process.argv[2] === 'kvm' ? 'kvm' : 'sim' }));
const vm = kvm.createVm(KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM);
vm.enableExitHypercall(1 << 12);
const memory = new GuestMemory(vm);
memory.addRam({ name: 'low', gpa: 0, size: 2 ** 21, shared: 'memfd' });
memory.addRam({ name: 'ram', ...RAM, shared: 'memfd', private: true, initial: 'private' });
const vcpu = vm.createVcpu();
vcpu.x64.setCpuid(kvm.supportedCpuid());
const machine = new Machine({ vm, vcpus: [vcpu], memory });
const guest = new GuestPrograms(machine);

const disk = new Uint8Array(64 * SECTOR);
disk.fill(0xd1, 3 * SECTOR, 4 * SECTOR);
/** @param {number} index */
function serve(index) {
  const entry = RING + index * 32;
  const view = new DataView(memory.read(entry, 32).buffer);
  const [type, sector, length] = [0, 4, 16].map((at) => view.getUint32(at, true));
  const buffer = Number(view.getBigUint64(8, true));
  let status = 1;
  try {
    const at = (sector ?? 0) * SECTOR;
    if (type === READ) memory.write(buffer, disk.subarray(at, at + (length ?? 0)));
    else disk.set(memory.read(buffer, length ?? 0), at);
  } catch (error) {
    if (!(error instanceof GuestMemoryError)) throw error;
    console.log('the device:', error.message);
    status = 2; // an I/O error: the driver named memory that it did not share
  }
  memory.write(entry + 20, Uint8Array.of(status));
}
machine.attach('memory', { name: 'disk', write: (_at, _size, index) => serve(index) }, { address: NOTIFY, size: 4 });

guest.load(
  program({ arch: 'x64' }, (g) => {
    g.touch(NOTIFY, 4);
    g.mapGpaRange(RING, 2, { private: false });
    const words = [
      [READ, 3, BOUNCE],
      [WRITE, 7, BOUNCE],
      [READ, 3, PRIVATE],
    ];
    for (const [i, [type = 0, sector = 0, buffer = 0]] of words.entries()) {
      const entry = RING + i * 32;
      if (type === WRITE) g.copy(BOUNCE, PRIVATE, SECTOR);
      g.store(entry, type + sector * 2 ** 32);
      g.store(entry + 8, buffer);
      g.store(entry + 16, SECTOR);
      g.store(NOTIFY, i, { size: 4 });
      g.report(i, g.load(entry + 20, { size: 1 }));
      if (i === 0) g.copy(PRIVATE, BOUNCE, SECTOR); // what was read goes on in private
    }
  }),
);
assert.deepEqual([...(await guest.run()).values()], [1n, 1n, 2n]);
assert.deepEqual(disk.subarray(7 * SECTOR, 8 * SECTOR), disk.subarray(3 * SECTOR, 4 * SECTOR));
console.log('a sector went from disk to private memory and back;', memory.ledger.bytes('shared'), 'bytes are shared');
memory.close();
kvm.close();
