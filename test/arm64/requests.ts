/** Requests to KVM, refused and granted, without running a guest. */
import { Mapping, Memfd, type Vm } from 'privmem';
import {
  ARM64_SYS_REG,
  KVM_ARM_VCPU_GRP,
  KVM_ARM_VM_SMCCC,
  KVM_CAP,
  KVM_GET_DEVICE_ATTR,
  KVM_HAS_DEVICE_ATTR,
  KVM_MEM,
  KVM_PRE_FAULT_MEMORY,
  KVM_REG_ARM,
  KVM_REG_ARM64_FPCR,
  KVM_REG_ARM64_FPSR,
  KVM_REG_ARM64_PC,
  KVM_REG_ARM64_PSTATE,
  KVM_REG_ARM64_SPSR,
  KVM_REG_ARM64_V,
  KVM_REG_ARM64_X,
  KVM_SET_DEVICE_ATTR,
  KVM_SET_MEMORY_ATTRIBUTES,
  kvm_device_attr,
  kvm_memory_attributes,
  kvm_pre_fault_memory,
} from 'privmem/uapi';
import { hex, outcome, type Scenario, type Scene, verdict } from './recording.ts';

const C = KVM_CAP.value;
/** What the simulation claims to have, and what it claims to lack although arm64 could have it. */
const CAPS = [
  ...(['USER_MEMORY', 'USER_MEMORY2', 'SYNC_MMU', 'NR_MEMSLOTS', 'NR_VCPUS', 'MAX_VCPUS', 'MAX_VCPU_ID'] as const),
  ...(['ONE_REG', 'ARM_PSCI', 'ARM_PSCI_0_2', 'READONLY_MEM', 'MP_STATE', 'IMMEDIATE_EXIT', 'HLT'] as const),
  ...(['ARM_NISV_TO_USER', 'ARM_SYSTEM_SUSPEND', 'ARM_VM_IPA_SIZE', 'SYSTEM_EVENT_DATA', 'VCPU_ATTRIBUTES'] as const),
  ...(['MEMORY_ATTRIBUTES', 'GUEST_MEMFD', 'GUEST_MEMFD_FLAGS', 'MEMORY_FAULT_INFO', 'PRE_FAULT_MEMORY'] as const),
  ...(['VM_TYPES', 'EXIT_HYPERCALL', 'MULTI_ADDRESS_SPACE', 'CHECK_EXTENSION_VM', 'ENABLE_CAP_VM'] as const),
  ...(['DESTROY_MEMORY_REGION_WORKS', 'JOIN_MEMORY_REGIONS_WORKS', 'INTERNAL_ERROR_DATA', 'EXT_CPUID'] as const),
  'MSI_DEVID',
] as const;

export function capabilityFacts({ kvm, note }: Scene, vm: Vm): void {
  for (const name of CAPS) {
    const number = C[`KVM_CAP_${name}`];
    note(`${name} of the system`, outcome(kvm.raw.checkExtension(number)));
    note(`${name} of the VM`, outcome(vm.raw.checkExtension(number)));
  }
}

const capabilities: Scenario = (scene) => capabilityFacts(scene, scene.use(scene.kvm.createVm()));

const vmTypes: Scenario = ({ kvm, note }) => {
  const types = [0n, 1n, 0x1fn, 0x20n, 0x24n, 0x28n, 0x2fn, 0x30n, 0x34n, 0x35n, 0x40n, 0xffn, 0x100n, 0x128n];
  for (const type of [...types, 1n << 30n, 1n << 31n, (1n << 31n) | 0x28n, 1n << 32n, 1n << 63n]) {
    const made = kvm.raw.createVm(type);
    note(hex(type), verdict(made));
    if (made.ok) made.value.close();
  }
  note('bytes to map of a vCPU', kvm.vcpuMmapSize());
};

const vcpus: Scenario = ({ kvm, note, use }) => {
  const vm = use(kvm.createVm());
  const first = use(vm.createVcpu(0));
  note('the same id', verdict(vm.raw.createVcpu(0)));
  const last = vm.raw.createVcpu(511);
  note('id 511', verdict(last));
  if (last.ok) use(last.value);
  note('id 512', verdict(vm.raw.createVcpu(512)));
  note('run before init', verdict(first.raw.runSync({ timeoutMs: 1000 })));
  note('register before init', verdict(first.arm64.raw.getU64(KVM_REG_ARM64_PC)));
  note('list before init', verdict(first.arm64.raw.regList()));
  note('target', outcome(first.arm64.raw.preferredTarget()));
  note('init of target 99', verdict(first.arm64.raw.init(99, [4])));
  note('init with feature 10', verdict(first.arm64.raw.init(5, [1 << 10])));
  note('init with feature 32', verdict(first.arm64.raw.init(5, [4, 1])));
  note('init', verdict(first.arm64.raw.init(5, [4])));
  note('init again', verdict(first.arm64.raw.init(5, [4])));
  note('init with other features', verdict(first.arm64.raw.init(5, [0])));
  const second = use(vm.createVcpu(1));
  note('another vCPU with other features', verdict(second.arm64.raw.init(5, [0])));
  note('another vCPU', verdict(second.arm64.raw.init(5, [4])));
};

const CORE = 0x6030_0000_0010_0000n;

const registers: Scenario = ({ kvm, note, use }) => {
  const vm = use(kvm.createVm());
  const vcpu = use(vm.createVcpu(0x12));
  vcpu.arm64.init(undefined, [4]);
  const { arm64 } = vcpu;
  const core = arm64.getCore();
  note('core after reset', [...core.x, core.sp, core.sp_el1, core.pc, core.pstate].map(hex));
  for (const n of [0, 1, 4]) note(`spsr ${n}`, hex(arm64.getU64(KVM_REG_ARM64_SPSR(n))));
  note('v3', Buffer.from(arm64.getOneReg(KVM_REG_ARM64_V(3))).toString('hex'));
  arm64.setOneReg(KVM_REG_ARM64_V(3), new Uint8Array(16).fill(0x5a));
  note('v3 when set', Buffer.from(arm64.getOneReg(KVM_REG_ARM64_V(3))).toString('hex'));
  note('fpsr', Buffer.from(arm64.getOneReg(KVM_REG_ARM64_FPSR)).toString('hex'));
  note('fpcr', Buffer.from(arm64.getOneReg(KVM_REG_ARM64_FPCR)).toString('hex'));
  arm64.setU64(KVM_REG_ARM64_X(7), 0x1234_5678_9abc_def0n);
  note('x7 when set', hex(arm64.getU64(KVM_REG_ARM64_X(7))));
  const ids: Readonly<Record<string, bigint>> = {
    'odd index': CORE | 1n,
    'beyond the last': CORE | 0xd8n,
    'far beyond': CORE | 0xffffn,
    'x0 of 32 bits': 0x6020_0000_0010_0000n,
    'x0 of 128 bits': 0x6040_0000_0010_0000n,
    'padding before vectors': CORE | 0x52n,
    'another architecture': 0x2030_0000_0010_0000n,
    'no kind': 0x6030_0000_0000_0000n,
    'kind 15': 0x6030_0000_00f0_0000n,
    'kind 17 of 64 bits': 0x6030_0000_0011_0000n,
    'bits above the kind': 0x6030_0000_1010_0000n,
    'unknown firmware register': 0x6030_0000_0014_00ffn,
    'firmware register of 32 bits': 0x6020_0000_0014_0000n,
    'unknown system register': ARM64_SYS_REG(3, 7, 15, 15, 7),
    'system register of 32 bits': 0x6020_0000_0013_c080n,
    'sve register': 0x6080_0000_0015_0000n,
  };
  for (const [name, id] of Object.entries(ids)) {
    note(`get: ${name}`, verdict(arm64.raw.getOneReg(id)));
    note(
      `set: ${name}`,
      verdict(arm64.raw.setOneReg(id, arm64.raw.getOneReg(id).value ?? new Uint8Array(1 << Number((id >> 52n) & 15n)))),
    );
  }
  for (const pstate of [0x3c0n, 0x3c4n, 0x3c5n, 0xf000_03c5n, 0x3c9n, 0x3c8n, 0x1d3n, 0x1dfn, 0x3cdn, 0x3c6n]) {
    note(`pstate ${hex(pstate)}`, verdict(arm64.raw.setU64(KVM_REG_ARM64_PSTATE, pstate)));
  }
  note('pstate afterwards', hex(arm64.getU64(KVM_REG_ARM64_PSTATE)));
};

const R = KVM_REG_ARM.value;
const SYSTEM = {
  mpidr_el1: ARM64_SYS_REG(3, 0, 0, 0, 5),
  sctlr_el1: ARM64_SYS_REG(3, 0, 1, 0, 0),
  ttbr0_el1: ARM64_SYS_REG(3, 0, 2, 0, 0),
  ttbr1_el1: ARM64_SYS_REG(3, 0, 2, 0, 1),
  tcr_el1: ARM64_SYS_REG(3, 0, 2, 0, 2),
  esr_el1: ARM64_SYS_REG(3, 0, 5, 2, 0),
  far_el1: ARM64_SYS_REG(3, 0, 6, 0, 0),
  mair_el1: ARM64_SYS_REG(3, 0, 10, 2, 0),
  vbar_el1: ARM64_SYS_REG(3, 0, 12, 0, 0),
  contextidr_el1: ARM64_SYS_REG(3, 0, 13, 0, 1),
  tpidr_el1: ARM64_SYS_REG(3, 0, 13, 0, 4),
  tpidr_el0: ARM64_SYS_REG(3, 3, 13, 0, 2),
  tpidrro_el0: ARM64_SYS_REG(3, 3, 13, 0, 3),
} as const;

const systemRegisters: Scenario = ({ kvm, note, use }) => {
  const vm = use(kvm.createVm());
  const vcpu = use(vm.createVcpu(0x12));
  vcpu.arm64.init(undefined, [4]);
  for (const [name, id] of Object.entries(SYSTEM)) {
    note(`${name} after reset`, hex(vcpu.arm64.getU64(id)));
    note(`${name} set`, verdict(vcpu.arm64.raw.setU64(id, 0x1111_2222_3333_4444n)));
    note(`${name} when set`, hex(vcpu.arm64.getU64(id)));
  }
  const list = new Set(vcpu.arm64.regList());
  note(
    'list has them',
    Object.values(SYSTEM).every((id) => list.has(id)),
  );
  note(
    'list has the core',
    [KVM_REG_ARM64_X(0), KVM_REG_ARM64_V(31), KVM_REG_ARM64_FPCR].every((id) => list.has(id)),
  );
  note('core registers in the list', [...list].filter((id) => (id & 0xfff_0000n) === 0x10_0000n).length);
};

const firmware: Scenario = ({ kvm, note, use }) => {
  for (const features of [4, 0]) {
    const vm = use(kvm.createVm());
    const vcpu = use(vm.createVcpu(0));
    vcpu.arm64.init(undefined, [features]);
    const of = features === 4 ? 'with PSCI 0.2' : 'with PSCI 0.1';
    note(`version ${of}`, hex(vcpu.arm64.getU64(R.KVM_REG_ARM_PSCI_VERSION)));
    for (const version of [1, 2, 0x1_0000, 0x1_0001, 0x1_0002, 0x1_0003, 0x1_0004]) {
      note(`${hex(version)} ${of}`, verdict(vcpu.arm64.raw.setU64(R.KVM_REG_ARM_PSCI_VERSION, version)));
    }
    for (const [name, id] of Object.entries({
      vendor: R.KVM_REG_ARM_VENDOR_HYP_BMAP,
      'vendor 2': R.KVM_REG_ARM_VENDOR_HYP_BMAP_2,
    })) {
      note(`${name} ${of}`, hex(vcpu.arm64.getU64(id)));
      note(`${name} beyond ${of}`, verdict(vcpu.arm64.raw.setU64(id, 4)));
      note(`${name} less ${of}`, verdict(vcpu.arm64.raw.setU64(id, 1)));
    }
  }
};

const unknown: Scenario = ({ kvm, note, use }) => {
  const vm = use(kvm.createVm());
  const vcpu = use(vm.createVcpu(0));
  vcpu.arm64.init(undefined, [4]);
  const strange = 0xae7f;
  note('of the system', verdict(kvm.raw.ioctl(strange)));
  note('of a VM', verdict(vm.raw.ioctl(strange)));
  note('of a vCPU', verdict(vcpu.raw.ioctl(strange)));
  note('KVM_RUN of a VM', verdict(vm.raw.ioctl(0xae80)));
  note('attributes', verdict(vm.raw.ioctl(KVM_SET_MEMORY_ATTRIBUTES, kvm_memory_attributes.encode({ size: 4096 }))));
  note('pre-fault', verdict(vcpu.raw.ioctl(KVM_PRE_FAULT_MEMORY, kvm_pre_fault_memory.encode({ size: 4096 }))));
  // KVM_GET_REGS with the size that the struct has on arm64.
  note('KVM_GET_REGS', verdict(vcpu.raw.ioctl(0x8360_ae81, new Uint8Array(864))));
  note('KVM_SET_TSS_ADDR', verdict(vm.raw.ioctl(0xae47, 0)));
};

const attributes: Scenario = ({ kvm, note, use }) => {
  const vm = use(kvm.createVm());
  const vcpu = use(vm.createVcpu(0));
  vcpu.arm64.init(undefined, [4]);
  const attr = (group: number, number: number): Uint8Array => kvm_device_attr.encode({ group, attr: number });
  const { KVM_ARM_VM_SMCCC_CTRL, KVM_ARM_VM_SMCCC_FILTER } = KVM_ARM_VM_SMCCC.value;
  note(
    'VM has the filter',
    verdict(vm.raw.ioctl(KVM_HAS_DEVICE_ATTR, attr(KVM_ARM_VM_SMCCC_CTRL, KVM_ARM_VM_SMCCC_FILTER))),
  );
  note('VM has another', verdict(vm.raw.ioctl(KVM_HAS_DEVICE_ATTR, attr(KVM_ARM_VM_SMCCC_CTRL, 1))));
  note('VM has another group', verdict(vm.raw.ioctl(KVM_HAS_DEVICE_ATTR, attr(1, 0))));
  note('VM gets', verdict(vm.raw.ioctl(KVM_GET_DEVICE_ATTR, attr(0, 0))));
  note('VM sets without a struct', verdict(vm.raw.ioctl(KVM_SET_DEVICE_ATTR, attr(0, 0))));
  const { KVM_ARM_VCPU_TIMER_CTRL } = KVM_ARM_VCPU_GRP.value;
  for (const number of [0, 1, 2, 3, 4]) {
    note(`timer has ${number}`, verdict(vcpu.raw.ioctl(KVM_HAS_DEVICE_ATTR, attr(KVM_ARM_VCPU_TIMER_CTRL, number))));
  }
  note(
    'timer sets without a controller',
    verdict(vcpu.raw.ioctl(KVM_SET_DEVICE_ATTR, attr(KVM_ARM_VCPU_TIMER_CTRL, 0))),
  );
  note('PMU sets', verdict(vcpu.raw.ioctl(KVM_SET_DEVICE_ATTR, attr(0, 0))));
  note('unknown group', verdict(vcpu.raw.ioctl(KVM_HAS_DEVICE_ATTR, attr(99, 0))));
};

const M = KVM_MEM.value;

export function slotFacts({ sys, kvm, note, use }: Scene, vm: Vm): void {
  const memory = use(Mapping.anonymous(sys, 0x10_0000));
  const hva = memory.hva;
  const set = (region: Parameters<typeof vm.setUserMemoryRegion>[0]): string =>
    verdict(vm.raw.setUserMemoryRegion(region));
  const region = { slot: 1, guest_phys_addr: 0x10_0000, memory_size: 0x4000, userspace_addr: hva };
  note('first', set(region));
  note('again', set(region));
  note('overlap', set({ ...region, slot: 2, guest_phys_addr: 0x10_2000 }));
  note('unaligned gpa', set({ ...region, slot: 2, guest_phys_addr: 0x20_0800 }));
  note('unaligned hva', set({ ...region, slot: 2, guest_phys_addr: 0x20_0000, userspace_addr: hva + 1 }));
  note('unaligned size', set({ ...region, slot: 2, guest_phys_addr: 0x20_0000, memory_size: 0x1800 }));
  note(
    'kernel address',
    set({ ...region, slot: 2, guest_phys_addr: 0x20_0000, userspace_addr: 0xffff_0000_0000_0000n }),
  );
  note(
    'end of user addresses',
    set({ ...region, slot: 2, guest_phys_addr: 0x20_0000, userspace_addr: (1n << 48n) - 0x4000n }),
  );
  note(
    'beyond user addresses',
    set({ ...region, slot: 3, guest_phys_addr: 0x30_0000, userspace_addr: (1n << 48n) - 0x3000n }),
  );
  note('nothing mapped', set({ ...region, slot: 3, guest_phys_addr: 0x30_0000, userspace_addr: 0x1000 }));
  note('address space 1', set({ ...region, slot: 0x1_0004, guest_phys_addr: 0x40_0000 }));
  note('last id', set({ ...region, slot: 32766, guest_phys_addr: 0x50_0000 }));
  note('beyond the last id', set({ ...region, slot: 32767, guest_phys_addr: 0x60_0000 }));
  note('end of the space', set({ ...region, slot: 6, guest_phys_addr: (1n << 40n) - 0x4000n }));
  note('over the end of the space', set({ ...region, slot: 7, guest_phys_addr: (1n << 40n) - 0x1000n }));
  note('beyond the space', set({ ...region, slot: 7, guest_phys_addr: 1n << 40n }));
  note('far beyond the space', set({ ...region, slot: 7, guest_phys_addr: 1n << 52n }));
  note('dirty log', set({ ...region, slot: 8, guest_phys_addr: 0x70_0000, flags: M.KVM_MEM_LOG_DIRTY_PAGES }));
  note('read-only', set({ ...region, slot: 9, guest_phys_addr: 0x80_0000, flags: M.KVM_MEM_READONLY }));
  note('unknown flag', set({ ...region, slot: 10, guest_phys_addr: 0x90_0000, flags: 8 }));
  note('guest_memfd by the old request', set({ ...region, slot: 10, guest_phys_addr: 0x90_0000, flags: 4 }));
  note('size 0 of nothing', set({ ...region, slot: 10, memory_size: 0 }));
  note('other size', set({ ...region, memory_size: 0x5000 }));
  note('other hva', set({ ...region, userspace_addr: hva + 0x4000 }));
  note('move', set({ ...region, guest_phys_addr: 0xa0_0000 }));
  note('move onto another', set({ ...region, guest_phys_addr: 0x70_0000 }));
  note('move beyond the space', set({ ...region, guest_phys_addr: 1n << 40n }));
  note('log on', set({ ...region, guest_phys_addr: 0xa0_0000, flags: M.KVM_MEM_LOG_DIRTY_PAGES }));
  note('read-only later', set({ ...region, guest_phys_addr: 0xa0_0000, flags: M.KVM_MEM_READONLY }));
  note('delete', set({ ...region, memory_size: 0 }));
  fileFacts({ sys, kvm, note, use }, vm, hva);
}

function fileFacts({ sys, kvm, note, use }: Pick<Scene, 'sys' | 'kvm' | 'note' | 'use'>, vm: Vm, hva: number): void {
  for (const flags of [0, 1, 2, 3, 4])
    note(`file with flags ${flags}`, verdict(vm.raw.createGuestMemfd(0x4000, flags)));
  for (const size of [0, 1, 0xfff, 0x1800]) note(`file of ${size} bytes`, verdict(vm.raw.createGuestMemfd(size, 1)));
  const other = use(kvm.createVm());
  const files = {
    plain: use(vm.createGuestMemfd(0x8000, 0)),
    mmap: use(vm.createGuestMemfd(0x8000, 1)),
    shared: use(vm.createGuestMemfd(0x8000, 3)),
    foreign: use(other.createGuestMemfd(0x8000, 3)),
    memfd: use(Memfd.create(sys, { size: 0x8000 })),
  };
  const at = { guest_phys_addr: 0x200_0000, memory_size: 0x4000, userspace_addr: hva, flags: M.KVM_MEM_GUEST_MEMFD };
  const set = (slot: number, fd: number, more: object = {}): string =>
    verdict(vm.raw.setUserMemoryRegion2({ ...at, slot, guest_memfd: fd, ...more }));
  for (const [name, file] of Object.entries(files)) {
    const slot = 20;
    note(`bind ${name}`, set(slot, file.fd));
    note(`unbind ${name}`, set(slot, file.fd, { memory_size: 0 }));
  }
  const { fd } = files.shared;
  note('bind with dirty log', set(21, fd, { flags: 5 }));
  note('bind read-only', set(21, fd, { flags: 6 }));
  note('bind at an odd offset', set(21, fd, { guest_memfd_offset: 0x800 }));
  note('bind beyond the file', set(21, fd, { guest_memfd_offset: 0x5000 }));
  note('bind at a huge offset', set(21, fd, { guest_memfd_offset: (1n << 63n) - 0x1000n }));
  note('bind without memory beside', set(21, fd, { userspace_addr: 0 }));
  note('bind twice', set(22, fd, { guest_phys_addr: 0x300_0000, guest_memfd_offset: 0x2000 }));
  note('bind the rest', set(22, fd, { guest_phys_addr: 0x300_0000, guest_memfd_offset: 0x4000 }));
  note('bind a closed descriptor', set(23, 999, { guest_phys_addr: 0x400_0000 }));
  note('bind beyond the space', set(23, files.mmap.fd, { guest_phys_addr: 1n << 40n }));
  note('change a bound slot', set(21, fd, { userspace_addr: 0 }));
}

const memslots: Scenario = (scene) => slotFacts(scene, scene.use(scene.kvm.createVm()));

export const REQUESTS: Readonly<Record<string, Scenario>> = {
  capabilities,
  'VM types': vmTypes,
  vCPUs: vcpus,
  registers,
  'system registers': systemRegisters,
  'firmware registers': firmware,
  'unknown requests': unknown,
  'device attributes': attributes,
  memslots,
};
