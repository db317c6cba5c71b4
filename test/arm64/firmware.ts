/** What guests ask of the firmware, and what processors do that nobody has started or that wait. */
import type { Vcpu } from 'privmem';
import {
  KVM_ARM_VM_SMCCC,
  KVM_CAP,
  KVM_GET_MP_STATE,
  KVM_REG_ARM,
  KVM_SET_DEVICE_ATTR,
  KVM_SET_MP_STATE,
  kvm_device_attr,
  kvm_mp_state,
  kvm_smccc_filter,
} from 'privmem/uapi';
import { CODE, DATA, Machine, NOWHERE } from './machine.ts';
import { exitFact, type Fact, hex, type Scenario, verdict } from './recording.ts';

/** How long a guest that does nothing is left alone. */
const IDLE_MS = 300;

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

export const FIRMWARE: Readonly<Record<string, Scenario>> = {
  'firmware calls': calls,
  'older PSCI': oldPsci,
  'system events': systemEvents,
  'other vCPUs': otherVcpus,
  waiting,
  'filter of calls': filter,
};
