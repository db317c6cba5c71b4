/** Running guests: exits, what comes after them, exceptions, firmware calls. */
import { Mapping, type Vcpu } from 'privmem';
import {
  KVM_ARM_VM_SMCCC,
  KVM_CAP,
  KVM_GET_DIRTY_LOG,
  KVM_GET_MP_STATE,
  KVM_MEM,
  KVM_REG_ARM,
  KVM_SET_DEVICE_ATTR,
  KVM_SET_MP_STATE,
  kvm_device_attr,
  kvm_dirty_log,
  kvm_mp_state,
  kvm_run,
  kvm_smccc_filter,
} from 'privmem/uapi';
import { CODE, DATA, Machine, NOWHERE } from './machine.ts';
import { exitFact, type Fact, hex, type Scenario, verdict } from './recording.ts';

/** How long a guest that does nothing is left alone. */
const IDLE_MS = 300;

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

const CALLS = {
  PSCI_VERSION: [0x8400_0000],
  SMCCC_VERSION: [0x8000_0000],
  'ARCH_FEATURES of itself': [0x8000_0001, 0x8000_0001],
  'KVM features': [0x8600_0000],
  'KVM uid': [0x8600_ff01],
  MEM_SHARE: [0xc600_0003, DATA],
  'an unknown call': [0xc600_0099],
  MIGRATE_INFO_TYPE: [0x8400_0006],
  'PSCI beyond': [0x8400_001f],
  'AFFINITY_INFO of itself': [0xc400_0004, 0, 0],
  'AFFINITY_INFO of nobody': [0xc400_0004, 7, 0],
  'AFFINITY_INFO level 1': [0xc400_0004, 7, 1],
  'AFFINITY_INFO level 4': [0xc400_0004, 0, 4],
  'AFFINITY_INFO invalid': [0xc400_0004, 1n << 40n, 0],
  'CPU_ON of itself': [0xc400_0003, 0, CODE, 5],
  'CPU_ON of nobody': [0xc400_0003, 9, CODE, 5],
  'SYSTEM_RESET2 reserved type': [0xc400_0012, 5],
  SYSTEM_SUSPEND: [0xc400_000e, 0, 0],
  'SYSTEM_OFF2 with a cookie': [0xc400_0015, 0, 1],
} as const;

const FEATURES = [
  ...([0x8400_0000, 0x8400_0001, 0x8400_0002, 0x8400_0003, 0x8400_0004, 0x8400_0005, 0x8400_0006] as const),
  ...([0x8400_0007, 0x8400_0008, 0x8400_0009, 0x8400_000a, 0x8400_000e, 0x8400_0012, 0x8400_0015] as const),
  ...([0xc400_0001, 0xc400_0003, 0xc400_0004, 0xc400_000e, 0xc400_0012, 0xc400_0015, 0x8000_0000, 0x1234] as const),
] as const;

/** x0 to x3 after a call, as reports. */
function callFact(
  machine: Machine,
  conduit: 'hvc' | 'smc',
  immediate: number,
  args: readonly (number | bigint)[],
): Fact {
  return machine.play((g) => {
    g.asm((a) => {
      for (const [i, value] of args.entries()) a.mov(`x${i}`, value);
      for (let i = args.length; i < 8; i++) a.mov(`x${i}`, 0);
      a[conduit](immediate);
      for (let i = 0; i < 4; i++) a.mov('x10', 0xe000_0000 + 8 * i).str(`x${i}`, { base: 'x10' });
    });
  });
}

const calls: Scenario = (scene) => {
  const machine = new Machine(scene);
  for (const [name, args] of Object.entries(CALLS)) scene.note(name, callFact(machine, 'hvc', 0, args));
  for (const fn of FEATURES) scene.note(`PSCI_FEATURES of ${hex(fn)}`, callFact(machine, 'hvc', 0, [0x8400_000a, fn]));
  scene.note('hvc with an immediate', callFact(machine, 'hvc', 5, [0x8400_0000]));
  scene.note('smc', callFact(machine, 'smc', 0, [0x8400_0000]));
  scene.note('smc with an immediate', callFact(machine, 'smc', 5, [0x8400_0000]));
};

const oldPsci: Scenario = (scene) => {
  const machine = new Machine(scene);
  machine.vcpu.arm64.setU64(KVM_REG_ARM.value.KVM_REG_ARM_PSCI_VERSION, 2);
  scene.note('version 0.2', callFact(machine, 'hvc', 0, [0x8400_0000]));
  scene.note('features in 0.2', callFact(machine, 'hvc', 0, [0x8400_000a, 0x8400_0000]));
};

function mpState(vcpu: Vcpu): Fact {
  const bytes = kvm_mp_state.encode();
  vcpu.ioctl(KVM_GET_MP_STATE, bytes);
  return kvm_mp_state.get(bytes, 'mp_state');
}

const systemEvents: Scenario = (scene) => {
  for (const [name, args] of Object.entries({
    SYSTEM_OFF: [0x8400_0008],
    SYSTEM_RESET: [0x8400_0009],
    SYSTEM_RESET2: [0xc400_0012, 0],
    SYSTEM_OFF2: [0xc400_0015, 1],
  } as const)) {
    const machine = new Machine(scene);
    machine.load((a) => {
      for (const [i, value] of args.entries()) a.mov(`x${i}`, value);
      a.mov('x2', 0).hvc(0).mov('x9', NOWHERE).str('x0', { base: 'x9' });
    });
    scene.note(name, machine.runFact());
    scene.note(`${name}: state`, mpState(machine.vcpu));
    scene.note(`${name}: pc`, machine.pc());
    scene.note(`${name}: run again`, machine.runFact(IDLE_MS));
    machine.vcpu.ioctl(KVM_SET_MP_STATE, kvm_mp_state.encode({ mp_state: 0 }));
    scene.note(`${name}: made runnable`, machine.runFact());
  }
  const machine = new Machine(scene);
  for (const state of [0, 1, 2, 3, 4, 5, 9, 10, 11]) {
    const set = machine.vcpu.raw.ioctl(KVM_SET_MP_STATE, kvm_mp_state.encode({ mp_state: state }));
    scene.note(`state ${state}`, [verdict(set), mpState(machine.vcpu)]);
  }
  machine.vm.enableCap(KVM_CAP.value.KVM_CAP_ARM_SYSTEM_SUSPEND);
  machine.vcpu.ioctl(KVM_SET_MP_STATE, kvm_mp_state.encode({ mp_state: 0 }));
  machine.load((a) => a.mov('x0', 0xc400_000e).mov('x1', CODE).mov('x2', 3).hvc(0));
  scene.note('SYSTEM_SUSPEND', machine.runFact());
  scene.note('SYSTEM_SUSPEND: x0', machine.x(0));
};

const otherVcpus: Scenario = (scene) => {
  const machine = new Machine(scene);
  const other = machine.addVcpu(1, 4 | 1);
  scene.note('state of the other', mpState(other));
  scene.note('run of the stopped one', verdict(other.raw.runSync({ timeoutMs: IDLE_MS })));
  scene.note('info', callFact(machine, 'hvc', 0, [0xc400_0004, 1, 0]));
  const entry = 0x3_0000;
  machine.load((a) => a.mov('x9', NOWHERE + 0x40).str('x0', { base: 'x9' }), entry);
  scene.note('on', callFact(machine, 'hvc', 0, [0xc400_0003, 1, entry, 0x77]));
  scene.note('on again', callFact(machine, 'hvc', 0, [0xc400_0003, 1, entry, 0x78]));
  const pc = hex(other.arm64.getCore().pc);
  scene.note('its pc', pc);
  const ran = other.raw.runSync({ timeoutMs: 60_000 });
  scene.note('it runs', ran.ok ? exitFact(ran.value) : ran.code);
  scene.note('info then', callFact(machine, 'hvc', 0, [0xc400_0004, 1, 0]));
};

const waiting: Scenario = (scene) => {
  const machine = new Machine(scene);
  machine.load((a) => a.wfi().mov('x9', NOWHERE).str('x9', { base: 'x9' }));
  scene.note('wfi', machine.runFact(IDLE_MS));
  scene.note('its pc', machine.pc());
  scene.note('and on', machine.runFact());
  machine.load((a) => a.wfe().yield().sev().mov('x9', NOWHERE).str('x9', { base: 'x9' }));
  scene.note('wfe', machine.runFact());
  machine.load((a) => a.mov('x0', 0x8400_0001).hvc(0).mov('x9', NOWHERE).str('x0', { base: 'x9' }));
  scene.note('CPU_SUSPEND', machine.runFact(IDLE_MS));
  scene.note('its end', machine.runFact());
  machine.load((a) => {
    const again = a.label();
    a.bind(again).add('x0', 'x0', 1).b(again);
  });
  scene.note('a loop', machine.runFact(IDLE_MS));
};

const filter: Scenario = (scene) => {
  const machine = new Machine(scene);
  const { KVM_ARM_VM_SMCCC_CTRL, KVM_ARM_VM_SMCCC_FILTER } = KVM_ARM_VM_SMCCC.value;
  const set = (base: number, functions: number, action: number, pad = 0): string => {
    const value = kvm_smccc_filter.encode({ base, nr_functions: functions, action });
    value[9] = pad;
    const attr = kvm_device_attr.encode({ group: KVM_ARM_VM_SMCCC_CTRL, attr: KVM_ARM_VM_SMCCC_FILTER });
    return verdict(machine.vm.raw.ioctl(KVM_SET_DEVICE_ATTR, attr, [[kvm_device_attr.offsets.addr, value]]));
  };
  scene.note('no functions', set(0xc600_0000, 0, 2));
  scene.note('around the end', set(0xffff_ffff, 2, 2));
  scene.note('unknown action', set(0xc600_0000, 1, 3));
  scene.note('padding', set(0xc600_0000, 1, 2, 1));
  scene.note('forward', set(0xc600_0010, 16, 2));
  scene.note('overlap', set(0xc600_0018, 1, 1));
  scene.note('architecture calls', set(0x8000_0000, 1, 2));
  scene.note('deny', set(0x8400_0000, 1, 1));
  machine.load((a) => a.mov('x0', 0xc600_0012).mov('x1', 0x1234).hvc(0).mov('x9', NOWHERE).str('x0', { base: 'x9' }));
  scene.note('forwarded', machine.runFact());
  scene.note('its pc', machine.pc());
  scene.note('and on', machine.runFact());
  scene.note('denied', callFact(machine, 'hvc', 0, [0x8400_0000]));
  machine.load((a) => a.mov('x0', 0xc600_0012).smc(0));
  scene.note('forwarded smc', machine.runFact());
  scene.note('after a run', set(0xc600_0100, 1, 1));
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
  'firmware calls': calls,
  'older PSCI': oldPsci,
  'system events': systemEvents,
  'other vCPUs': otherVcpus,
  waiting,
  'filter of calls': filter,
};
