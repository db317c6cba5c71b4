/** Running guests: exits, what comes after them, exceptions. */
import { Mapping, type Vcpu } from 'privmem';
import { KVM_CAP, KVM_GET_DIRTY_LOG, KVM_MEM, kvm_dirty_log, kvm_run } from 'privmem/uapi';
import { FIRMWARE } from './firmware.ts';
import { CODE, DATA, Machine, NOWHERE } from './machine.ts';
import { type Fact, hex, type Scenario, verdict } from './recording.ts';

/** How long a guest that does nothing is left alone. */
const _IDLE_MS = 300;

const reports: Scenario = (scene) => {
  const machine = new Machine(scene);
  scene.note(
    'a program',
    machine.play((g) => {
      g.fill(DATA, 4096, 0xa5);
      g.check(DATA, 4096, 0xa5);
      g.check(DATA, 4096, 0xa6);
      g.store(DATA + 8, g.load(DATA).mul(3).add(1).shl(2).shr(1).xor(0x55));
      g.report(1, g.checksum(DATA, 4096));
      g.report(2, g.fetchAdd(DATA + 16, 5));
      g.report(3, g.compareExchange(DATA + 16, g.load(DATA + 16), 77));
      g.report(4, g.compareExchange(DATA + 16, 1, 2));
      g.copy(DATA + 4096, DATA, 64);
      g.copy(DATA + 8193, DATA + 3, 13);
      g.repeat(3, (i) => g.report(5, i.add(DATA)));
      for (const size of [1, 2, 4, 8] as const) g.report(6, g.load(DATA + 4096, { size }));
      g.report(7, g.readSystem('currentel'));
      g.report(8, g.readSystem('daif'));
    }),
  );
  scene.note('host sees', Buffer.from(machine.memory.read(DATA, 32)).toString('hex'));
};

const mmioReads: Scenario = (scene) => {
  const machine = new Machine(scene);
  const loads = ['ldr', 'ldrb', 'ldrh', 'ldrsb', 'ldrsh', 'ldrsw', 'ldur', 'ldursb', 'ldar', 'ldarb'] as const;
  for (const name of loads) {
    for (const width of ['x', 'w'] as const) {
      const narrowOnly = ['ldrb', 'ldrh', 'ldarb'].includes(name);
      if ((narrowOnly && width === 'x') || (name === 'ldrsw' && width === 'w')) continue;
      machine.load((a) => {
        a.mov('x1', NOWHERE).mov('x0', -1);
        a[name](`${width}0`, { base: 'x1' }).hvc(0);
      });
      const what = `${name} ${width}0`;
      scene.note(what, machine.runFact());
      scene.note(`${what}: pc before the answer`, machine.pc());
      machine.vcpu.answer(
        Uint8Array.of(0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff).subarray(0, lengthOf(machine.vcpu)),
      );
      machine.vcpu.completeIo();
      scene.note(`${what}: x0`, machine.x(0));
      scene.note(`${what}: pc`, machine.pc());
    }
  }
};

const lengthOf = ({ lastExit }: Vcpu): number => (lastExit?.name === 'KVM_EXIT_MMIO' ? lastExit.length : 0);

const mmioWrites: Scenario = (scene) => {
  const machine = new Machine(scene);
  for (const name of ['str', 'strb', 'strh', 'stur', 'stlr'] as const) {
    machine.load((a) =>
      a
        .mov('x1', NOWHERE + 8)
        .mov('x0', 0x1122_3344_5566_7788n)
        [name](name === 'strb' || name === 'strh' ? 'w0' : 'x0', { base: 'x1' })
        .hvc(0),
    );
    scene.note(name, machine.runFact());
    scene.note(`${name}: pc`, machine.pc());
  }
  machine.load((a) => a.mov('x1', NOWHERE).mov('x2', 0x18).str('xzr', { base: 'x1', index: 'x2', amount: 3 }));
  scene.note('zero register, index', machine.runFact());
  // Another pc before the access is finished: the step over it still comes.
  machine.vcpu.arm64.setCore({ pc: 0x2_0000n });
  machine.vcpu.completeIo();
  scene.note('a pc set meanwhile', machine.pc());
};

/** What the processor does not describe. */
const undescribed: Scenario = (scene) => {
  const machine = new Machine(scene);
  const accesses: Readonly<Record<string, Parameters<Machine['load']>[0]>> = {
    'post-index store': (a) => a.mov('x1', NOWHERE).str('x0', { base: 'x1', offset: 8, indexing: 'post' }),
    'pre-index load': (a) => a.mov('x1', NOWHERE).ldr('x0', { base: 'x1', offset: 8, indexing: 'pre' }),
    pair: (a) => a.mov('x1', NOWHERE).ldp('x0', 'x2', { base: 'x1' }),
  };
  for (const [name, write] of Object.entries(accesses)) {
    machine.load(write);
    scene.note(name, machine.runFact());
    scene.note(`${name}: pc`, machine.pc());
    scene.note(`${name}: x1`, machine.x(1));
  }
  machine.vm.enableCap(KVM_CAP.value.KVM_CAP_ARM_NISV_TO_USER);
  for (const [name, write] of Object.entries(accesses)) {
    machine.load(write);
    scene.note(`${name}, told`, machine.runFact());
  }
};

const immediateExit: Scenario = (scene) => {
  const machine = new Machine(scene);
  machine.load((a) => {
    const again = a.label();
    a.mov('x1', NOWHERE).bind(again).str('x0', { base: 'x1' }).add('x0', 'x0', 1).b(again);
  });
  const { vcpu } = machine;
  const reason = (): number => vcpu.runPage.getUint32(kvm_run.offsets.exit_reason, true);
  vcpu.kick();
  scene.note('kicked before the first run', machine.runFact());
  scene.note('reason then', reason());
  scene.note('first', machine.runFact());
  vcpu.kick();
  scene.note('kicked after an exit', machine.runFact());
  scene.note('reason after the kick', reason());
  scene.note('pc after the kick', machine.pc());
  scene.note('second', machine.runFact());
  // An exit reason that is not MMIO any more: the access is made again.
  vcpu.runPage.setUint32(kvm_run.offsets.exit_reason, 0, true);
  scene.note('with the reason wiped', machine.runFact());
};

const unreachable: Scenario = (scene) => {
  const machine = new Machine(scene);
  const { vm, memory } = machine;
  vm.setUserMemoryRegion({ slot: 1, guest_phys_addr: 0x20_0000, memory_size: 0x4000, userspace_addr: 0x1000 });
  const load = (gpa: number, write: boolean): Fact => {
    machine.load((a) =>
      write ? a.mov('x1', gpa).str('x0', { base: 'x1' }) : a.mov('x1', gpa).ldr('x0', { base: 'x1' }),
    );
    return machine.runFact();
  };
  scene.note('nothing mapped, read', load(0x20_0000, false));
  scene.note('nothing mapped, write', load(0x20_0000, true));
  const readOnly = scene.use(Mapping.anonymous(scene.sys, 0x4000));
  scene.sys.mprotect(readOnly.hva, 0x4000, 1);
  vm.setUserMemoryRegion({ slot: 2, guest_phys_addr: 0x30_0000, memory_size: 0x4000, userspace_addr: readOnly.hva });
  scene.note('mapped read-only, write', load(0x30_0000, true));
  vm.setUserMemoryRegion({
    slot: 3,
    flags: KVM_MEM.value.KVM_MEM_READONLY,
    guest_phys_addr: 0x40_0000,
    memory_size: 0x4000,
    userspace_addr: memory.hva,
  });
  scene.note('read-only slot, write', load(0x40_0008, true));
};

const guestMemfd: Scenario = (scene) => {
  const machine = new Machine(scene);
  const file = scene.use(machine.vm.createGuestMemfd(0x8000, 3));
  machine.vm.addMemslot({ slot: 1, gpa: 0x20_0000, size: 0x8000, guestMemfd: file });
  const mapping = scene.use(file.map());
  mapping.writeU64(0x1008, 0x1234n);
  scene.note(
    'reads and writes',
    machine.play((g) => {
      g.report(1, g.load(0x20_1008));
      g.store(0x20_2000, 0x5678);
      g.report(2, g.load(0x20_3000));
    }),
  );
  scene.note('host reads', hex(mapping.readU64(0x2000)));
  file.punchHole(0x1000, 0x1000);
  scene.note(
    'after a hole',
    machine.play((g) => g.report(1, g.load(0x20_1008))),
  );
  const second = scene.use(machine.vm.createGuestMemfd(0x4000, 1));
  machine.vm.addMemslot({ slot: 2, gpa: 0x30_0000, size: 0x4000, guestMemfd: second });
  scene.note(
    'mappable only',
    machine.play((g) => {
      g.store(0x30_0000, 9);
      g.report(1, g.load(0x30_0000));
    }),
  );
  second.close();
  scene.note(
    'after the file was closed',
    machine.play((g) => g.report(1, g.load(0x30_1238))),
  );
};

const dirtyLog: Scenario = (scene) => {
  const machine = new Machine(scene);
  const memory = scene.use(Mapping.anonymous(scene.sys, 0x8_0000));
  const slot = { slot: 1, guest_phys_addr: 0x20_0000, memory_size: 0x8_0000, userspace_addr: memory.hva };
  machine.vm.setUserMemoryRegion(slot);
  const log = (): string => {
    const bitmap = new Uint8Array(16);
    const argument = kvm_dirty_log.encode({ slot: 1 });
    const got = machine.vm.raw.ioctl(KVM_GET_DIRTY_LOG, argument, [[kvm_dirty_log.offsets.dirty_bitmap, bitmap]]);
    return got.ok ? Buffer.from(bitmap).toString('hex') : verdict(got);
  };
  const touch = (): Fact =>
    machine.play((g) => {
      g.store(0x20_1000, 1);
      g.store(0x20_f000, 1);
      g.load(0x20_3000);
      g.store(0x26_3000, 1, { size: 1 });
    });
  touch();
  scene.note('without a log', log());
  machine.vm.setUserMemoryRegion({ ...slot, flags: KVM_MEM.value.KVM_MEM_LOG_DIRTY_PAGES });
  scene.note('at its start', log());
  touch();
  scene.note('written', log());
  scene.note('taken', log());
  machine.play((g) => g.store(0x20_5000, 1));
  scene.note('written again', log());
};

const exceptions: Scenario = (scene) => {
  const machine = new Machine(scene);
  const { note } = scene;
  note(
    'udf',
    machine.play((g) => g.asm((a) => a.word(0))),
  );
  note(
    'brk',
    machine.play((g) => g.asm((a) => a.brk(0x123))),
  );
  note(
    'svc',
    machine.play((g) => g.asm((a) => a.svc(0x456))),
  );
  note(
    'fetch without memory',
    machine.play((g) => g.asm((a) => a.mov('x0', NOWHERE + 0x20).br('x0'))),
  );
  note(
    'fetch at an odd address',
    machine.play((g) => g.asm((a) => a.mov('x0', CODE + 2).br('x0'))),
  );
  note(
    'load beyond the space',
    machine.play((g) => g.report(1, g.load(2 ** 40 + 0x18))),
  );
  note(
    'store beyond the space',
    machine.play((g) => g.store(2 ** 40 + 0x18, 1)),
  );
  note(
    'fetch beyond the space',
    machine.play((g) => g.asm((a) => a.mov('x0', 2n ** 41n).br('x0'))),
  );
  note(
    'at EL0',
    machine.play((g) => {
      g.asm((a) => {
        const there = a.label();
        a.adr('x0', there).msr('elr_el1', 'x0').mov('x0', 0x3c0).msr('spsr_el1', 'x0').eret().bind(there).svc(7);
      });
    }),
  );
  note(
    'a system register at EL0',
    machine.play((g) => {
      g.asm((a) => {
        const there = a.label();
        a.adr('x0', there)
          .msr('elr_el1', 'x0')
          .mov('x0', 0x3c0)
          .msr('spsr_el1', 'x0')
          .eret()
          .bind(there)
          .mrs('x1', 'vbar_el1');
      });
    }),
  );
  note(
    'hvc at EL0',
    machine.play((g) => {
      g.asm((a) => {
        const there = a.label();
        a.adr('x0', there).msr('elr_el1', 'x0').mov('x0', 0x3c0).msr('spsr_el1', 'x0').eret().bind(there).hvc(0);
      });
    }),
  );
  // Where the exception comes from, and with which flags, as SPSR_EL1 has it.
  machine.load((a) => {
    const handler = a.label();
    a.adr('x0', handler)
      .msr('vbar_el1', 'x0')
      .isb()
      .mov('x1', 5)
      .cmp('x1', 5)
      .daifclr(4)
      .brk(1)
      .align(2048)
      .bind(handler);
    for (let i = 0; i < 128; i++) a.word(0xd503_201f);
    a.mrs('x2', 'spsr_el1').mrs('x3', 'daif').mov('x4', NOWHERE).str('x2', { base: 'x4' });
  });
  note('spsr', machine.runFact());
  note('x2', machine.x(2));
  note('x3', machine.x(3));
};

export const RUNS: Readonly<Record<string, Scenario>> = {
  reports,
  'MMIO reads': mmioReads,
  'MMIO writes': mmioWrites,
  'undescribed accesses': undescribed,
  'immediate exit': immediateExit,
  'unreachable memory': unreachable,
  guest_memfd: guestMemfd,
  'dirty log': dirtyLog,
  exceptions,
  ...FIRMWARE,
};
