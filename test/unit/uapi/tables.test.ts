import { describe, expect, it } from 'vitest';
import * as uapi from '../../../lib/uapi/index.ts';

describe('request numbers', () => {
  const x86: readonly (readonly [string, number])[] = [
    ['KVM_GET_API_VERSION', 0xae00],
    ['KVM_CREATE_VM', 0xae01],
    ['KVM_CHECK_EXTENSION', 0xae03],
    ['KVM_GET_VCPU_MMAP_SIZE', 0xae04],
    ['KVM_GET_SUPPORTED_CPUID', 0xc008ae05],
    ['KVM_CREATE_VCPU', 0xae41],
    ['KVM_GET_DIRTY_LOG', 0x4010ae42],
    ['KVM_SET_USER_MEMORY_REGION', 0x4020ae46],
    ['KVM_SET_TSS_ADDR', 0xae47],
    ['KVM_SET_USER_MEMORY_REGION2', 0x40a0ae49],
    ['KVM_CREATE_IRQCHIP', 0xae60],
    ['KVM_RUN', 0xae80],
    ['KVM_GET_REGS', 0x8090ae81],
    ['KVM_SET_REGS', 0x4090ae82],
    ['KVM_GET_SREGS', 0x8138ae83],
    ['KVM_SET_SREGS', 0x4138ae84],
    ['KVM_SET_CPUID2', 0x4008ae90],
    ['KVM_GET_MP_STATE', 0x8004ae98],
    ['KVM_SET_MP_STATE', 0x4004ae99],
    ['KVM_ENABLE_CAP', 0x4068aea3],
    ['KVM_MEMORY_ENCRYPT_OP', 0xc008aeba],
    ['KVM_MEMORY_ENCRYPT_REG_REGION', 0x8010aebb],
    ['KVM_MEMORY_ENCRYPT_UNREG_REGION', 0x8010aebc],
    ['KVM_SET_MEMORY_ATTRIBUTES', 0x4020aed2],
    ['KVM_CREATE_GUEST_MEMFD', 0xc040aed4],
    ['KVM_PRE_FAULT_MEMORY', 0xc040aed5],
    ['KVM_CREATE_DEVICE', 0xc00caee0],
    ['KVM_SET_DEVICE_ATTR', 0x4018aee1],
    ['KVM_GET_DEVICE_ATTR', 0x4018aee2],
    ['KVM_HAS_DEVICE_ATTR', 0x4018aee3],
  ];
  it.each(x86)('%s', (name, request) => {
    expect(uapi.ioctlByName(name, 'x86')?.request).toBe(request);
    expect(uapi.findIoctl(request, undefined, 'x86')?.name).toBe(name);
  });

  it('say what they are, also without a name', () => {
    expect(uapi.decodeRequest(0xc080aed2)).toEqual({ direction: 'read-write', type: 0xae, nr: 0xd2, size: 128 });
    expect(uapi.describeRequest(0xc080aed2)).toBe('_IOWR(0xae, 0xd2, 128)');
    expect(uapi.describeRequest(0xae80)).toBe('_IO(0xae, 0x80)');
  });

  it('carry the true direction and length where the number does not', () => {
    expect(uapi.KVM_MEMORY_ENCRYPT_REG_REGION.travels).toBe('in');
    expect(uapi.KVM_CREATE_GUEST_MEMFD.travels).toBe('in');
    expect(uapi.KVM_SET_IRQCHIP.travels).toBe('in');
    expect(uapi.KVM_PRE_FAULT_MEMORY.travels).toBe('in-out');
    expect(uapi.KVM_MEMORY_ENCRYPT_OP.realLength?.(new Uint8Array(24))).toBe(24);
    expect(uapi.encodedSize(uapi.KVM_MEMORY_ENCRYPT_OP.request)).toBe(8);
    expect(uapi.KVM_REINJECT_CONTROL.realLength?.(new Uint8Array(32))).toBe(32);
    expect(uapi.KVM_CREATE_DEVICE.makesField).toBe('fd');
  });

  it('are kept apart by architecture', () => {
    expect(uapi.ioctlByName('KVM_GET_VCPU_EVENTS', 'x86')).toBe(uapi.KVM_GET_VCPU_EVENTS);
    expect(uapi.ioctlByName('KVM_GET_VCPU_EVENTS', 'arm64')).toBe(uapi.KVM_GET_VCPU_EVENTS_arm64);
    const { request } = uapi.KVM_GET_VCPU_EVENTS;
    expect(request).toBe(uapi.KVM_GET_VCPU_EVENTS_arm64.request);
    expect(uapi.findIoctl(request, 'vcpu', 'arm64')).toBe(uapi.KVM_GET_VCPU_EVENTS_arm64);
    expect(uapi.findIoctl(request, 'vcpu', 'x86')).toBe(uapi.KVM_GET_VCPU_EVENTS);
    expect(uapi.layoutByName('kvm_regs', 'arm64')?.size).toBe(864);
    expect(uapi.layoutByName('kvm_regs', 'x86')?.size).toBe(144);
    // 0x9f of a VM is another request than 0x9f of a vCPU.
    expect(uapi.findIoctl(uapi.KVM_GET_PIT2.request, 'vm', 'x86')).toBe(uapi.KVM_GET_PIT2);
  });

  it('have one meaning per descriptor and architecture', () => {
    const seen = new Map<string, string>();
    for (const ioctl of uapi.allIoctls()) {
      for (const on of ioctl.on) {
        for (const arch of ioctl.arch === undefined ? ['x86', 'arm64'] : [ioctl.arch]) {
          const key = `${arch} ${on} ${ioctl.request.toString(16)}`;
          expect(seen.get(key), `${key} is ${ioctl.name} and`).toBeUndefined();
          seen.set(key, ioctl.name);
        }
      }
    }
  });

  it('name only pointer fields that exist', () => {
    for (const ioctl of uapi.allIoctls()) {
      for (const pointer of ioctl.pointers ?? []) {
        const [field = ''] = pointer.split(/[[.]/);
        expect(ioctl.arg.kind === 'struct' && field in ioctl.arg.layout.fields, `${ioctl.name} ${pointer}`).toBe(true);
      }
    }
  });
});

describe('sizes and offsets', () => {
  const sizes: readonly (readonly [uapi.Layout, number])[] = [
    [uapi.kvm_userspace_memory_region, 32],
    [uapi.kvm_userspace_memory_region2, 160],
    [uapi.kvm_create_guest_memfd, 64],
    [uapi.kvm_memory_attributes, 32],
    [uapi.kvm_pre_fault_memory, 64],
    [uapi.kvm_enable_cap, 104],
    [uapi.kvm_enc_region, 16],
    [uapi.kvm_device_attr, 24],
    [uapi.kvm_cpuid2, 8],
    [uapi.kvm_cpuid_entry2, 40],
    [uapi.kvm_run, 2352],
    [uapi.kvm_sev_cmd, 24],
    [uapi.kvm_sev_init, 48],
    [uapi.kvm_sev_launch_start, 40],
    [uapi.kvm_sev_launch_update_data, 16],
    [uapi.kvm_sev_launch_secret, 48],
    [uapi.kvm_sev_launch_measure, 16],
    [uapi.kvm_sev_guest_status, 12],
    [uapi.kvm_sev_dbg, 24],
    [uapi.kvm_sev_snp_launch_start, 64],
    [uapi.kvm_sev_snp_launch_update, 64],
    [uapi.kvm_sev_snp_launch_finish, 88],
    [uapi.kvm_tdx_cmd, 24],
    [uapi.kvm_tdx_capabilities, 2056],
    [uapi.kvm_tdx_init_vm, 264],
    [uapi.kvm_tdx_init_mem_region, 24],
  ];
  it.each(sizes.map(([layout, size]) => [layout.name, layout, size] as const))('%s', (_name, layout, size) => {
    expect(layout.size).toBe(size);
  });

  it('of kvm_run and its payloads', () => {
    expect(uapi.kvm_run.offsets).toMatchObject({
      request_interrupt_window: 0,
      immediate_exit: 1,
      exit_reason: 8,
      ready_for_interrupt_injection: 12,
      if_flag: 13,
      flags: 14,
      cr8: 16,
      apic_base: 24,
      exit: uapi.KVM_RUN_EXIT_OFFSET,
      kvm_valid_regs: 288,
      kvm_dirty_regs: 296,
      s: 304,
    });
    const at = (layout: uapi.Layout, field: string) => uapi.KVM_RUN_EXIT_OFFSET + (layout.offsets[field] ?? Number.NaN);
    expect(at(uapi.kvm_run_memory_fault, 'gpa')).toBe(40);
    expect(at(uapi.kvm_run_hypercall, 'ret')).toBe(88);
    expect(at(uapi.kvm_run_hypercall, 'flags')).toBe(96);
    expect(at(uapi.kvm_run_mmio, 'is_write')).toBe(52);
    expect(at(uapi.kvm_run_io, 'data_offset')).toBe(40);
    expect(at(uapi.kvm_run_internal, 'data')).toBe(40);
    expect(at(uapi.kvm_run_system_event, 'ndata')).toBe(36);
    expect(at(uapi.kvm_run_fail_entry, 'cpu')).toBe(40);
    expect(at(uapi.kvm_run_tdx, 'ret')).toBe(48);
    expect(at(uapi.kvm_run_snp_req_certs, 'ret')).toBe(48);
    for (const layout of uapi.allLayouts().filter(({ name }) => name.startsWith('kvm_run.'))) {
      expect(layout.size).toBeLessThanOrEqual(256);
    }
  });

  it('decodes an exit in place', () => {
    const run = uapi.kvm_run.encode({ exit_reason: uapi.KVM_EXIT.value.KVM_EXIT_MEMORY_FAULT });
    run.set(uapi.kvm_run_memory_fault.encode({ flags: 8, gpa: 0x4000, size: 4096 }), uapi.KVM_RUN_EXIT_OFFSET);
    expect(uapi.kvm_run_memory_fault.decode(run, uapi.KVM_RUN_EXIT_OFFSET)).toEqual({
      flags: 8n,
      gpa: 0x4000,
      size: 4096,
    });
    expect(uapi.kvm_run_memory_fault.format(run, uapi.KVM_RUN_EXIT_OFFSET)).toBe(
      '{flags=KVM_MEMORY_EXIT_FLAG_PRIVATE, gpa=0x4000, size=0x1000}',
    );
  });
});

describe('arm64 register ids', () => {
  it('are those that KVM lists', () => {
    expect(uapi.KVM_REG_ARM64_X(0)).toBe(0x6030000000100000n);
    expect(uapi.KVM_REG_ARM64_X(30)).toBe(0x603000000010003cn);
    expect(uapi.KVM_REG_ARM64_PC).toBe(0x6030000000100040n);
    expect(uapi.KVM_REG_ARM64_V(0)).toBe(0x6040000000100054n);
    expect(uapi.ARM64_SYS_REG(3, 0, 0, 0, 0)).toBe(0x603000000013c000n);
    expect(uapi.KVM_REG_SIZE(uapi.KVM_REG_ARM64_V(0))).toBe(16);
    expect(uapi.KVM_REG_SIZE(uapi.KVM_REG_ARM64_FPCR)).toBe(4);
    expect(() => uapi.KVM_REG_ARM64_X(31)).toThrow('general register must be 0..30, got 31');
  });
});
