/** Protected VMs of pKVM. */
import { Mapping, Memfd, MemoryFaultError } from 'privmem';
import {
  KVM_ARM_PREFERRED_TARGET,
  KVM_CAP,
  KVM_GET_DIRTY_LOG,
  KVM_HAS_DEVICE_ATTR,
  KVM_MEM,
  kvm_device_attr,
  kvm_dirty_log,
  kvm_vcpu_init,
} from 'privmem/uapi';
import { DATA, Machine, NOWHERE, RAM } from './machine.ts';
import { type Fact, hex, type Scenario, verdict } from './recording.ts';
import { capabilityFacts } from './requests.ts';

const PROTECTED = 2 ** 31;

/** What the host meets at a place of guest memory. */
function look(mapping: Mapping, offset: number): Fact {
  try {
    return hex(mapping.readU64(offset));
  } catch (error) {
    if (error instanceof MemoryFaultError) return `${error.fault.kind} ${error.fault.code}`;
    throw error;
  }
}

function poke(mapping: Mapping, offset: number, value: bigint): Fact {
  try {
    mapping.writeU64(offset, value);
    return 'ok';
  } catch (error) {
    if (error instanceof MemoryFaultError) return `${error.fault.kind} ${error.fault.code}`;
    throw error;
  }
}

const capabilities: Scenario = (scene) => capabilityFacts(scene, scene.use(scene.kvm.createVm(PROTECTED)));

const ordinary: Scenario = (scene) => {
  const { kvm, note } = scene;
  for (const type of [0, 0x24, 0x34, 0x35, PROTECTED, PROTECTED + 0x24, PROTECTED + 0xff]) {
    const made = kvm.raw.createVm(type);
    note(hex(type), verdict(made));
    if (made.ok) made.value.close();
  }
  const machine = new Machine(scene);
  note(
    'a default VM',
    machine.play((g) => {
      g.store(DATA, 5);
      g.report(1, g.load(DATA));
      g.report(2, g.share(DATA));
    }),
  );
  note('its memory', look(machine.memory, DATA));
};

const requests: Scenario = (scene) => {
  const machine = new Machine(scene, PROTECTED);
  const { vm } = machine;
  const { note } = scene;
  note('preferred target', verdict(vm.raw.ioctl(KVM_ARM_PREFERRED_TARGET, kvm_vcpu_init.encode())));
  note('filter', verdict(vm.raw.ioctl(KVM_HAS_DEVICE_ATTR, kvm_device_attr.encode())));
  note('NISV_TO_USER', verdict(vm.raw.enableCap(KVM_CAP.value.KVM_CAP_ARM_NISV_TO_USER)));
  note('SYSTEM_SUSPEND', verdict(vm.raw.enableCap(KVM_CAP.value.KVM_CAP_ARM_SYSTEM_SUSPEND)));
  const memory = scene.use(Mapping.anonymous(scene.sys, 0x4000));
  const slot = { slot: 5, guest_phys_addr: 0x100_0000, memory_size: 0x4000, userspace_addr: memory.hva };
  const set = (more: object): string => verdict(vm.raw.setUserMemoryRegion({ ...slot, ...more }));
  note('read-only slot', set({ flags: KVM_MEM.value.KVM_MEM_READONLY }));
  note('logged slot', set({ flags: KVM_MEM.value.KVM_MEM_LOG_DIRTY_PAGES }));
  note('slot', set({}));
  note('log on', set({ flags: KVM_MEM.value.KVM_MEM_LOG_DIRTY_PAGES }));
  note('moved before the run', set({ guest_phys_addr: 0x200_0000 }));
  note('deleted before the run', set({ memory_size: 0 }));
  note('slot again', set({}));
  note(
    'runs',
    machine.play((g) => g.report(1, 7)),
  );
  note('moved after the run', set({ guest_phys_addr: 0x200_0000 }));
  note('deleted after the run', set({ memory_size: 0 }));
  note('added after the run', set({ slot: 6, guest_phys_addr: 0x300_0000 }));
  const argument = kvm_dirty_log.encode({ slot: 5 });
  const log = vm.raw.ioctl(KVM_GET_DIRTY_LOG, argument, [[kvm_dirty_log.offsets.dirty_bitmap, new Uint8Array(8)]]);
  note('dirty log', verdict(log));
  const file = scene.use(vm.createGuestMemfd(0x4000, 3));
  const region = { slot: 7, guest_phys_addr: 0x400_0000, memory_size: 0x4000, flags: 4, guest_memfd: file.fd };
  note('guest_memfd', verdict(vm.raw.setUserMemoryRegion2({ ...region, userspace_addr: memory.hva })));
};

const donation: Scenario = (scene) => {
  const { note } = scene;
  const machine = new Machine(scene, PROTECTED);
  const { memory } = machine;
  memory.writeU64(DATA, 0x1111n);
  memory.writeU64(DATA + 0x1000, 0x2222n);
  memory.writeU64(DATA + 0x2000, 0x3333n);
  note('host before', look(memory, DATA));
  note(
    'guest reads and writes',
    machine.play((g) => {
      g.report(1, g.load(DATA));
      g.store(DATA + 8, 0x4444);
      g.report(2, g.load(DATA + 0x1000));
    }),
  );
  note('host reads', look(memory, DATA));
  note('host writes', poke(memory, DATA, 1n));
  note('host reads the next page', look(memory, DATA + 0x1000));
  note('host reads a page that the guest left alone', look(memory, DATA + 0x2000));
  note('host reads the code', look(memory, 0x1_0000));
};

const sharing: Scenario = (scene) => {
  const { note } = scene;
  const machine = new Machine(scene, PROTECTED);
  const { memory } = machine;
  // The code lies where the guest has been: each program needs a place that the host may still write.
  note(
    'calls',
    machine.play((g) => {
      g.report(1, g.hypercall(0x8600_0000));
      g.report(2, g.hypercall(0xc600_0002));
      g.report(3, g.hypercall(0xc600_0002, 1));
      g.report(4, g.share(DATA + 1));
      g.report(5, g.hypercall(0xc600_0003, DATA, 1));
      g.report(6, g.unshare(DATA));
      g.store(DATA, 0xabcd);
      g.report(7, g.unshare(DATA));
      g.report(8, g.share(DATA));
      g.report(9, g.share(DATA));
      g.report(10, g.load(DATA));
      g.report(11, g.share(DATA + 0x1000));
      g.report(12, g.hypercall(0x8400_0000));
      g.store(DATA + 0x2000, 0x77);
      g.report(13, g.share(DATA + 0x2000));
      g.report(14, g.unshare(DATA + 0x2000));
      g.report(15, g.load(DATA + 0x2000));
      g.report(16, g.hypercall(0xc600_0007, DATA));
    }),
  );
  note('a shared page', look(memory, DATA));
  note('host writes there', poke(memory, DATA + 8, 0x99n));
  note('a page shared before it was touched', look(memory, DATA + 0x1000));
  note('a page taken back', look(memory, DATA + 0x2000));
};

/** Share and what the host does with it, in one program: the host acts between two reports. */
const conversation: Scenario = (scene) => {
  const { note } = scene;
  const machine = new Machine(scene, PROTECTED);
  const { memory } = machine;
  machine.load((a) => {
    const say = (register: 'x0' | 'x5') => a.mov('x9', NOWHERE).str(register, { base: 'x9' });
    a.mov('x4', DATA).mov('x5', 0x1234).str('x5', { base: 'x4' });
    a.mov('x0', 0xc600_0003).mov('x1', DATA).mov('x2', 0).mov('x3', 0).hvc(0);
    say('x0');
    a.ldr('x5', { base: 'x4' });
    say('x5');
    a.mov('x0', 0xc600_0004).mov('x1', DATA).mov('x2', 0).mov('x3', 0).hvc(0);
    say('x0');
    a.ldr('x5', { base: 'x4' });
    say('x5');
  });
  note('shared', machine.runFact());
  note('host reads', look(memory, DATA));
  note('host writes', poke(memory, DATA, 0x5678n));
  note('guest sees', machine.runFact());
  note('taken back', machine.runFact());
  note('host reads then', look(memory, DATA));
  note('guest still sees', machine.runFact());
};

const kernelAccess: Scenario = (scene) => {
  const { note, sys } = scene;
  const machine = new Machine(scene, PROTECTED);
  const file = scene.use(Memfd.create(sys, { size: 0x1_0000 }));
  const mapping = scene.use(file.map());
  machine.vm.addMemslot({ slot: 1, gpa: 0x100_0000, size: 0x1_0000, backing: mapping });
  mapping.writeU64(0, 0x1111n);
  machine.load((a) => {
    const touch = (gpa: number) =>
      a.mov('x4', gpa).ldr('x5', { base: 'x4' }).mov('x9', NOWHERE).str('x5', { base: 'x9' });
    touch(0x100_0000);
    touch(0x100_1000);
    touch(0x100_0000);
    touch(0x100_1000);
    touch(0x100_2000);
  });
  note('guest reads', machine.runFact());
  note('and another page', machine.runFact());
  note('mapping', look(mapping, 0));
  const into = new Uint8Array(8);
  note('read(2) into a donated page', verdict(sys.raw.pwrite(file.fd, new Uint8Array(0), 0)));
  const got = sys.raw.pread(file.fd, into, 0);
  note('pread of the file', [verdict(got), Buffer.from(into).toString('hex')]);
  note('mapping afterwards', look(mapping, 0));
  note('guest then', machine.runFact());
  note('guest again', machine.runFact());
};

const elsewhere: Scenario = (scene) => {
  const { note, sys } = scene;
  const first = new Machine(scene, PROTECTED);
  const shared = scene.use(Mapping.anonymous(sys, 0x4000));
  shared.writeU64(0, 0x42n);
  const slot = { slot: 1, gpa: 0x100_0000, size: 0x4000, backing: shared };
  first.vm.addMemslot(slot);
  const read = (machine: Machine, gpa: number): Fact => {
    machine.load((a) => a.mov('x4', gpa).ldr('x5', { base: 'x4' }).mov('x9', NOWHERE).str('x5', { base: 'x9' }));
    return machine.runFact();
  };
  note('guest reads', read(first, 0x100_0000));
  const second = new Machine(scene, PROTECTED);
  second.vm.addMemslot(slot);
  note('another protected guest', read(second, 0x100_0000));
  const third = new Machine(scene);
  third.vm.addMemslot(slot);
  note('an ordinary guest', read(third, 0x100_0000));
  const file = scene.use(first.vm.createGuestMemfd(0x4000, 3));
  const mapped = scene.use(file.map());
  const fourth = new Machine(scene, PROTECTED);
  fourth.vm.setUserMemoryRegion({
    slot: 1,
    guest_phys_addr: 0x100_0000,
    memory_size: 0x4000,
    userspace_addr: mapped.hva,
  });
  note('memory of a guest_memfd', read(fourth, 0x100_0000));
  fourth.vm.setUserMemoryRegion({ slot: 2, guest_phys_addr: 0x200_0000, memory_size: 0x4000, userspace_addr: 0x1000 });
};

const givenUp =
  (shared: boolean): Scenario =>
  (scene) => {
    const { note, sys } = scene;
    const machine = new Machine(scene, PROTECTED);
    const memory = Mapping.anonymous(sys, 0x4000, { shared });
    memory.writeU64(0, 0x42n);
    const { hva } = memory;
    machine.vm.setUserMemoryRegion({ slot: 1, guest_phys_addr: 0x100_0000, memory_size: 0x4000, userspace_addr: hva });
    machine.load((a) => {
      for (const gpa of [0x100_0000, 0x100_0000, 0x100_1000, 0x100_1000]) {
        a.mov('x4', gpa).ldr('x5', { base: 'x4' }).mov('x9', NOWHERE).str('x5', { base: 'x9' });
      }
    });
    note('guest reads', machine.runFact());
    const discarded = sys.raw.madvise(hva, 0x1000, 4);
    note('MADV_DONTNEED', verdict(discarded));
    note('host reads after it', look(memory, 0));
    note('host writes after it', poke(memory, 8, 5n));
    note('host reads what it wrote', look(memory, 8));
    note('guest still has', machine.runFact());
    memory.close();
    note('a page that is gone', machine.runFact());
  };

const teardown: Scenario = (scene) => {
  const { note, sys } = scene;
  const memory = scene.use(Mapping.anonymous(sys, RAM));
  for (const page of [0, 1, 2, 3, 4]) memory.writeU64(DATA + 0x1000 * page, 0x1000n + BigInt(page));
  const vm = scene.kvm.createVm(PROTECTED);
  vm.addMemslot({ slot: 0, gpa: 0, size: RAM, backing: memory });
  const vcpu = vm.createVcpu(0);
  vcpu.arm64.init(undefined, [4]);
  const machine = new Machine(scene, { vm, memory, vcpu });
  note(
    'guest',
    machine.play((g) => {
      g.report(1, g.load(DATA));
      g.report(2, g.load(DATA + 0x1000));
      g.report(3, g.share(DATA + 0x1000));
      g.report(4, g.load(DATA + 0x3000));
      g.report(5, g.load(DATA + 0x4000));
    }),
  );
  note('a private page', look(memory, DATA));
  note('a shared page', look(memory, DATA + 0x1000));
  vm.close();
  note('the private page afterwards', look(memory, DATA));
  note('another private page afterwards', look(memory, DATA + 0x3000));
  note('and one more', look(memory, DATA + 0x4000));
  note('the shared page afterwards', look(memory, DATA + 0x1000));
  note('a page that the guest left alone', look(memory, DATA + 0x2000));
  note('the code afterwards', look(memory, 0x1_0000));
};

const mmio: Scenario = (scene) => {
  const { note } = scene;
  const machine = new Machine(scene, PROTECTED);
  machine.load((a) => {
    a.mov('x1', NOWHERE).mov('x0', 5).str('w0', { base: 'x1', offset: 4 }).ldr('x2', { base: 'x1' });
    a.str('x2', { base: 'x1' });
  });
  note('write', machine.runFact());
  note('read', machine.runFact());
  machine.vcpu.answer(0x1122_3344n);
  note('what was read', machine.runFact());
  note('x2', machine.x(2));
  machine.vcpu.completeIo();
  const other = new Machine(scene, PROTECTED);
  note(
    'an undescribed access',
    other.play((g) => {
      g.asm((a) => a.mov('x1', NOWHERE).str('x0', { base: 'x1', offset: 8, indexing: 'post' }));
    }),
  );
  const third = new Machine(scene, PROTECTED);
  note(
    'share without memory',
    third.play((g) => g.report(1, g.share(NOWHERE))),
  );
  const fourth = new Machine(scene, PROTECTED);
  fourth.load((a) => a.mov('x0', 0x8400_0008).hvc(0));
  note('SYSTEM_OFF', fourth.runFact());
};

export const PROTECTED_VMS: Readonly<Record<string, Scenario>> = {
  'capabilities of protected VMs': capabilities,
  'VMs of pKVM': ordinary,
  'requests of protected VMs': requests,
  donation,
  sharing,
  conversation,
  'kernel access': kernelAccess,
  'pages of others': elsewhere,
  'shared pages that the host gives up': givenUp(true),
  'private pages that the host gives up': givenUp(false),
  teardown,
  'exits of protected VMs': mmio,
};
