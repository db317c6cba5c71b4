/**
 * A TDX launch with initial memory as firmware gets it: a boot firmware volume that is measured, and a TD hand-off block (HOB) that says where RAM is
 * and is not. The guest reads the HOB, accepts the memory that it names, and shares a window.
 *
 *     node examples/tdx-td-hob.mjs [kvm|sim]
 */
import assert from 'node:assert/strict';
import { Kvm, Mapping, openKernel, Tdx } from 'privmem';
import { program, x64 } from 'privmem/guest';
import { GuestMemory, GuestPrograms, Machine } from 'privmem/machine';
import { KVM_VM_TYPE } from 'privmem/uapi';

const PAGE = 4096;
const [RAM, LOADED] = [4 * 2 ** 20, 0x2_0000];
const TD_HOB = 0x3_0000;
const UNACCEPTED = { gpa: 0x10_0000, size: 16 * PAGE };
const WINDOW = 0x20_0000;

/** EFI_HOB_RESOURCE_DESCRIPTOR (3, 48 bytes) of unaccepted memory (7), and the end of the list (0xffff). PI specification, volume 3. */
const hob = new DataView(new ArrayBuffer(PAGE));
hob.setUint32(0, 3 + (48 << 16), true);
hob.setUint32(24, 7, true);
hob.setBigUint64(32, BigInt(UNACCEPTED.gpa), true);
hob.setBigUint64(40, BigInt(UNACCEPTED.size), true);
hob.setUint32(48, 0xffff + 8 * 2 ** 16, true);

const sys = openKernel({ backend: process.argv[2] === 'kvm' ? 'kvm' : 'sim', simulate: { technologies: ['tdx'] } });
const kvm = Kvm.open(sys);
const vm = kvm.createVm(KVM_VM_TYPE.value.KVM_X86_TDX_VM);
const tdx = new Tdx(vm);
vm.enableExitHypercall(1 << 12);
tdx.splitIrqchip();
tdx.initVm();
const vcpu = vm.createVcpu();
vcpu.x64.setCpuid(tdx.cpuid(vcpu));
tdx.initVcpu(vcpu, BigInt(TD_HOB)); // RCX: where firmware finds its HOB

const memory = new GuestMemory(vm);
memory.addRam({ name: 'ram', gpa: 0, size: RAM, shared: 'memfd', private: true, initial: 'private' });
memory.addRam({ name: 'reset', gpa: x64.RESET_PAGE, size: PAGE, shared: 'memfd', private: true, initial: 'private' });

const code = program({ arch: 'x64', technology: 'tdx' }, (g) => {
  g.touch(UNACCEPTED.gpa, UNACCEPTED.size);
  const first = g.load(TD_HOB + 32);
  g.repeat(g.load(TD_HOB + 40).shr(12), (i) => g.acceptPage(first.add(i.shl(12))));
  g.check(UNACCEPTED.gpa, UNACCEPTED.size, 0); // accepted memory is empty
  g.report(0, g.mapGpaRange(WINDOW, 1, { private: false }));
  g.store(g.shared(WINDOW), 42);
});
const staging = Mapping.anonymous(sys, RAM);
/** @param {number} gpa @param {number} size @param {boolean} measure */
function addMemory(gpa, size, measure) {
  let left = { source_addr: staging.hva, gpa, nr_pages: size / PAGE };
  while (left.nr_pages > 0) left = { ...tdx.initMemRegion(vcpu, left, measure) };
  staging.fill(0);
}
const [reset, ...rest] = x64.startState(code).memory;
staging.write(0, reset?.bytes ?? new Uint8Array());
addMemory(x64.RESET_PAGE, PAGE, true);
for (const { gpa, bytes } of rest) staging.write(gpa, bytes);
addMemory(0, LOADED, true);
staging.write(0, new Uint8Array(hob.buffer));
addMemory(TD_HOB, PAGE, false);
tdx.finalize();

const guest = new GuestPrograms(new Machine({ vm, vcpus: [vcpu], memory }));
guest.expect(code);
assert.equal((await guest.run()).get(0), 0n);
assert.deepEqual(memory.read(WINDOW, 1), Uint8Array.of(42));
console.log(
  'accepted as the HOB says:',
  UNACCEPTED.size / PAGE,
  'pages; shared:',
  memory.ledger.bytes('shared'),
  'bytes',
);
staging.close();
memory.close();
kvm.close();
