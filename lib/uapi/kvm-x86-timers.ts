/** The interval timer that KVM emulates for x86, and the paravirtual clock. Sources: asm/kvm.h of x86, include/uapi/linux/kvm.h. */
import { array, bytes, named, s64, u8, u16, u32, u64 } from './fields.ts';
import { struct } from './layout.ts';
import { defineIoctl, defineNames } from './registry.ts';

const x86 = { arch: 'x86', source: 'arch/x86/include/uapi/asm/kvm.h' } as const;
const arch = 'x86';

export const kvm_pit_channel_state = struct(
  'kvm_pit_channel_state',
  {
    /** May be 65536. */
    count: u32,
    latched_count: u16,
    count_latched: u8,
    status_latched: u8,
    status: u8,
    read_state: u8,
    write_state: u8,
    write_latch: u8,
    rw_mode: u8,
    mode: u8,
    bcd: u8,
    gate: u8,
    /** In ns. */
    count_load_time: s64,
  },
  x86,
);

export const KVM_PIT_FLAGS = defineNames(
  'KVM_PIT_FLAGS',
  'bits',
  { KVM_PIT_FLAGS_HPET_LEGACY: 0x1, KVM_PIT_FLAGS_SPEAKER_DATA_ON: 0x2 },
  arch,
);

export const kvm_pit_state2 = struct(
  'kvm_pit_state2',
  { channels: array(kvm_pit_channel_state, 3), flags: named.u32(KVM_PIT_FLAGS), reserved: array(u32, 9) },
  x86,
);

/** As kvm_pit_state2, without flags. */
export const kvm_pit_state = struct('kvm_pit_state', { channels: array(kvm_pit_channel_state, 3) }, x86);
export const KVM_GET_PIT = defineIoctl('KVM_GET_PIT', {
  nr: 0x65,
  direction: 'read-write',
  on: 'vm',
  arg: kvm_pit_state,
  arch,
  since: '2.6.26',
});
/** Declared as travelling out of the kernel; it travels in. */
export const KVM_SET_PIT = defineIoctl('KVM_SET_PIT', {
  nr: 0x66,
  direction: 'read',
  on: 'vm',
  arg: kvm_pit_state,
  travels: 'in',
  arch,
  since: '2.6.26',
});

export const KVM_GET_PIT2 = defineIoctl('KVM_GET_PIT2', {
  nr: 0x9f,
  direction: 'read',
  on: 'vm',
  arg: kvm_pit_state2,
  arch,
  since: '2.6.32',
});
export const KVM_SET_PIT2 = defineIoctl('KVM_SET_PIT2', {
  nr: 0xa0,
  direction: 'write',
  on: 'vm',
  arg: kvm_pit_state2,
  arch,
  since: '2.6.32',
});

export const KVM_PIT_CONFIG = defineNames('KVM_PIT_CONFIG', 'bits', { KVM_PIT_SPEAKER_DUMMY: 0x1 });
export const kvm_pit_config = struct(
  'kvm_pit_config',
  { flags: named.u32(KVM_PIT_CONFIG), pad: array(u32, 15) },
  { source: 'include/uapi/linux/kvm.h' },
);

export const KVM_CREATE_PIT = defineIoctl('KVM_CREATE_PIT', {
  nr: 0x64,
  direction: 'none',
  on: 'vm',
  arch,
  since: '2.6.26',
});
export const KVM_CREATE_PIT2 = defineIoctl('KVM_CREATE_PIT2', {
  nr: 0x77,
  direction: 'write',
  on: 'vm',
  arg: kvm_pit_config,
  arch,
  since: '2.6.31',
});

/** Passed by address although the number says nothing of it: 32 bytes. */
export const kvm_reinject_control = struct('kvm_reinject_control', { pit_reinject: u8, reserved: bytes(31) }, x86);

export const KVM_REINJECT_CONTROL = defineIoctl('KVM_REINJECT_CONTROL', {
  nr: 0x71,
  direction: 'none',
  on: 'vm',
  arg: kvm_reinject_control,
  encodedSize: 0,
  realLength: () => kvm_reinject_control.size,
  arch,
  since: '2.6.29',
});

export const KVM_CLOCK = defineNames('KVM_CLOCK', 'bits', {
  KVM_CLOCK_TSC_STABLE: 0x2,
  KVM_CLOCK_REALTIME: 0x4,
  KVM_CLOCK_HOST_TSC: 0x8,
});

/** Times in ns. */
export const kvm_clock_data = struct(
  'kvm_clock_data',
  { clock: u64, flags: named.u32(KVM_CLOCK), pad0: u32, realtime: u64, host_tsc: u64, pad: array(u32, 4) },
  { source: 'include/uapi/linux/kvm.h' },
);

export const KVM_SET_CLOCK = defineIoctl('KVM_SET_CLOCK', {
  nr: 0x7b,
  direction: 'write',
  on: 'vm',
  arg: kvm_clock_data,
  arch,
  since: '2.6.33',
});
export const KVM_GET_CLOCK = defineIoctl('KVM_GET_CLOCK', {
  nr: 0x7c,
  direction: 'read',
  on: 'vm',
  arg: kvm_clock_data,
  arch,
  since: '2.6.33',
});

/** Tells the guest's watchdog that it was stopped. */
export const KVM_KVMCLOCK_CTRL = defineIoctl('KVM_KVMCLOCK_CTRL', {
  nr: 0xad,
  direction: 'none',
  on: 'vcpu',
  arch,
  since: '3.5',
});
