/**
 * What authors of VMMs get wrong, five for each technology: the sequence as they would write it, and the error that they see. The errors are the
 * kernel's; what a row names is the part of the message that must lead out of it.
 */
import { KernelError } from '../../../lib/kernel/errors.ts';
import type { Sys } from '../../../lib/kernel/sys.ts';
import type { Kvm } from '../../../lib/kvm/kvm.ts';
import { Sev } from '../../../lib/kvm/sev.ts';
import { Tdx } from '../../../lib/kvm/tdx.ts';
import type { Vm } from '../../../lib/kvm/vm.ts';
import { Mapping } from '../../../lib/memory/mapping.ts';
import { KVM_MEM, KVM_SEV } from '../../../lib/uapi/index.ts';

const PAGE = 4096;
const GPA = 0x20_0000;
const SNP_POLICY = 0x3_0000n;
const ARM_PROTECTED = 2 ** 31;

export interface Mistake {
  readonly technology: string;
  readonly mistake: string;
  /** In the message: the errno or the signal, and what tells the next step. */
  readonly shown: readonly RegExp[];
  /** Throws, or rejects with, what the user sees. */
  readonly make: (world: World) => unknown;
}

export interface World {
  readonly sys: Sys;
  readonly kvm: Kvm;
}

const anonymous = ({ sys }: World, pages = 1): Mapping => Mapping.anonymous(sys, pages * PAGE);

const row = (technology: string, mistake: string, shown: readonly RegExp[], make: Mistake['make']): Mistake => ({
  ...{ technology, mistake, shown, make },
});

function slotWithFile(world: World, vm: Vm, pages = 1): { shared: Mapping } {
  const shared = anonymous(world, pages);
  const guestMemfd = vm.createGuestMemfd(pages * PAGE);
  vm.addMemslot({ slot: 0, gpa: GPA, size: pages * PAGE, backing: shared, guestMemfd });
  return { shared };
}

const NONE: readonly Mistake[] = [
  row(
    'none',
    'a guest_memfd whose size is no whole number of pages',
    [/EINVAL/, /multiple of the page size/],
    ({ kvm }) => kvm.createVm().createGuestMemfd(100),
  ),
  row('none', 'mapping a guest_memfd that was made without the flag', [/ENODEV/, /GUEST_MEMFD_FLAG_MMAP/], ({ kvm }) =>
    kvm.createVm().createGuestMemfd(PAGE).map(),
  ),
  row('none', 'a slot that is larger than its file', [/EINVAL/, /hold the whole range/], (world) => {
    const vm = world.kvm.createVm();
    const guestMemfd = vm.createGuestMemfd(PAGE);
    vm.addMemslot({ slot: 0, gpa: GPA, size: 2 * PAGE, backing: anonymous(world, 2), guestMemfd });
  }),
  row('none', 'the file of one VM in a slot of another', [/EINVAL/, /must belong to this VM/], (world) => {
    const guestMemfd = world.kvm.createVm().createGuestMemfd(PAGE);
    world.kvm.createVm().addMemslot({ slot: 0, gpa: GPA, size: PAGE, backing: anonymous(world), guestMemfd });
  }),
  row('none', 'reading a private page through a mapping', [/SIGBUS/, /private/], ({ kvm }) =>
    kvm.createVm().createGuestMemfd(PAGE, { mmap: true }).map().readU64(0),
  ),
];

const SW: readonly Mistake[] = [
  row('sw-protected', 'a file that starts shared', [/EINVAL/, /KVM_CAP_GUEST_MEMFD_FLAGS/], ({ kvm }) =>
    kvm.createVm(1).createGuestMemfd(PAGE, { mmap: true, initShared: true }),
  ),
  row('sw-protected', 'filling the private side with write(2)', [/EINVAL/, /guest_memfd/], ({ kvm }) =>
    kvm.createVm(1).createGuestMemfd(PAGE).write(new Uint8Array(8)),
  ),
  row('sw-protected', 'converting half a page', [/EINVAL/, /multiples of the page size/], ({ kvm }) =>
    kvm.createVm(1).setPrivate(GPA, PAGE / 2),
  ),
  row(
    'sw-protected',
    'logging dirty pages of a slot with a file',
    [/EINVAL/, /never changed|only be deleted/],
    (world) => {
      const vm = world.kvm.createVm(1);
      const file = vm.createGuestMemfd(PAGE);
      vm.setUserMemoryRegion2({
        ...{ slot: 0, guest_phys_addr: GPA, memory_size: PAGE, userspace_addr: anonymous(world).hva },
        ...{ guest_memfd: file.fd, flags: KVM_MEM.value.KVM_MEM_GUEST_MEMFD | KVM_MEM.value.KVM_MEM_LOG_DIRTY_PAGES },
      });
    },
  ),
  row('sw-protected', 'opting in to hypercalls that KVM does not hand out', [/EINVAL/, /MAP_GPA_RANGE/], ({ kvm }) =>
    kvm.createVm(1).enableExitHypercall(1),
  ),
];

/** An initialised VM of SEV or SEV-ES, started or not, with a page of memory. */
function launch(world: World, type: 2 | 3, started: boolean): { vm: Vm; sev: Sev; page: Mapping } {
  const vm = world.kvm.createVm(type);
  const sev = Sev.open(vm);
  sev.init2();
  const page = anonymous(world);
  if (started) sev.launchStart(type === 3 ? 4 : 0);
  return { vm, sev, page };
}

const SEV: readonly Mistake[] = [
  row('sev', 'INIT2 after the first vCPU', [/EINVAL/, /INIT2 comes right after KVM_CREATE_VM/], ({ kvm }) => {
    const vm = kvm.createVm(2);
    vm.createVcpu();
    Sev.open(vm).init2();
  }),
  row('sev', 'encrypting before LAUNCH_START', [/EBADF/, /LAUNCH_START comes first/], (world) => {
    const { sev, page } = launch(world, 2, false);
    sev.launchUpdateData(page.hva, PAGE);
  }),
  row(
    'sev',
    'LAUNCH_FINISH without LAUNCH_MEASURE',
    [/EIO/, /INVALID_GUEST_STATE/, /LAUNCH_MEASURE comes before/],
    (world) => launch(world, 2, true).sev.launchFinish(),
  ),
  row('sev', 'encrypting more after LAUNCH_MEASURE', [/EIO/, /the launch is past it/], (world) => {
    const { sev, page } = launch(world, 2, true);
    sev.launchMeasure(anonymous(world).hva);
    sev.launchUpdateData(page.hva, PAGE);
  }),
  row('sev', 'unregistering a part of a region', [/EINVAL/, /exactly/], (world) => {
    const { sev } = launch(world, 2, true);
    const two = anonymous(world, 2);
    sev.registerRegion(two.hva, 2 * PAGE);
    sev.unregisterRegion(two.hva, PAGE);
  }),
];

const ES: readonly Mistake[] = [
  row('sev-es', 'setting registers after the launch', [/EINVAL/, /sealed/], (world) => {
    const { vm, sev } = launch(world, 3, true);
    const vcpu = vm.createVcpu();
    sev.launchUpdateVmsa();
    vcpu.x64.setRegs({ rip: 0n });
  }),
  row('sev-es', 'sealing the vCPUs twice', [/EINVAL/, /once/], (world) => {
    const { vm, sev } = launch(world, 3, true);
    vm.createVcpu();
    sev.launchUpdateVmsa();
    sev.launchUpdateVmsa();
  }),
  row('sev-es', 'encrypting a length that is no multiple of 16', [/EIO/, /multiples of 16/], (world) => {
    const { sev, page } = launch(world, 3, true);
    sev.launchUpdateData(page.hva, 24);
  }),
  row('sev-es', 'a version of the GHCB protocol that does not exist', [/EINVAL/, /not offered/], ({ kvm }) =>
    Sev.open(kvm.createVm(3)).init2({ ghcb_version: 3 }),
  ),
  row('sev-es', 'sealing before LAUNCH_START', [/EBADF/, /LAUNCH_START comes first/], (world) => {
    const { vm, sev } = launch(world, 3, false);
    vm.createVcpu();
    sev.launchUpdateVmsa();
  }),
];

function snp(world: World, started = true): { vm: Vm; sev: Sev; shared: Mapping } {
  const vm = world.kvm.createVm(4);
  const sev = Sev.open(vm);
  sev.init2();
  if (started) sev.snpLaunchStart(SNP_POLICY);
  return { vm, sev, ...slotWithFile(world, vm) };
}

const SNP: readonly Mistake[] = [
  row('sev-snp', 'a policy without bit 17', [/EINVAL/, /bit 17/], ({ kvm }) => {
    const sev = Sev.open(kvm.createVm(4));
    sev.init2();
    sev.snpLaunchStart(0x1_0000n);
  }),
  row('sev-snp', 'a page before SNP_LAUNCH_START', [/EINVAL/, /SNP_LAUNCH_START comes first/], (world) => {
    const { vm, sev, shared } = snp(world, false);
    vm.setPrivate(GPA, PAGE);
    sev.snpLaunchUpdateAll(GPA, shared.hva, PAGE);
  }),
  row('sev-snp', 'a page whose attribute is not PRIVATE', [/EIO/, /attribute is not PRIVATE/], (world) => {
    const { sev, shared } = snp(world);
    sev.snpLaunchUpdateAll(GPA, shared.hva, PAGE);
  }),
  row('sev-snp', 'the same page twice', [/EIO/, /added before/], (world) => {
    const { vm, sev, shared } = snp(world);
    vm.setPrivate(GPA, PAGE);
    sev.snpLaunchUpdateAll(GPA, shared.hva, PAGE);
    sev.snpLaunchUpdateAll(GPA, shared.hva, PAGE);
  }),
  row('sev-snp', 'the launch commands of SEV', [/EPERM/, /SNP_LAUNCH/], (world) =>
    snp(world, false).sev.command(KVM_SEV.value.KVM_SEV_LAUNCH_START),
  ),
];

function domain(world: World) {
  const vm = world.kvm.createVm(5);
  const tdx = new Tdx(vm);
  tdx.splitIrqchip();
  tdx.initVm();
  const vcpu = vm.createVcpu();
  vcpu.x64.setCpuid(tdx.cpuid(vcpu));
  tdx.initVcpu(vcpu);
  return { vm, tdx, vcpu, ...slotWithFile(world, vm) };
}

const TDX: readonly Mistake[] = [
  row('tdx', 'a vCPU before INIT_VM', [/EIO/, /KVM_TDX_INIT_VM/], ({ kvm }) => {
    const vm = kvm.createVm(5);
    new Tdx(vm).splitIrqchip();
    vm.createVcpu();
  }),
  row('tdx', 'a page whose attribute is not PRIVATE', [/EINVAL/, /attribute PRIVATE/], (world) => {
    const { tdx, vcpu, shared } = domain(world);
    tdx.initMemRegion(vcpu, { source_addr: shared.hva, gpa: GPA, nr_pages: 1 });
  }),
  row('tdx', 'the same page twice', [/EIO/, /once/], (world) => {
    const { vm, tdx, vcpu, shared } = domain(world);
    vm.setPrivate(GPA, PAGE);
    for (let i = 0; i < 2; i++) tdx.initMemRegion(vcpu, { source_addr: shared.hva, gpa: GPA, nr_pages: 1 });
  }),
  row('tdx', 'running before FINALIZE_VM', [/EINVAL/, /FINALIZE_VM/], (world) => domain(world).vcpu.runSync()),
  row('tdx', 'setting registers', [/EINVAL/, /sealed/], (world) => domain(world).vcpu.x64.setRegs({ rip: 0n })),
];

/** A protected guest that has run once: it reads its first page, which holds zeros, and takes an exception there. */
function pvm(world: World) {
  const vm = world.kvm.createVm(ARM_PROTECTED);
  const memory = anonymous(world, 4);
  const slot = vm.addMemslot({ slot: 0, gpa: 0, size: 4 * PAGE, backing: memory });
  const vcpu = vm.createVcpu();
  vcpu.arm64.init(undefined, [4]);
  // b . : the first page is given to the guest, and the run ends by its time limit.
  memory.write(0, Uint8Array.of(0, 0, 0, 0x14));
  vcpu.runSync({ timeoutMs: 20 });
  return { vm, memory, slot, vcpu };
}

const PKVM: readonly Mistake[] = [
  row('pkvm', 'deleting a slot after the first run', [/EPERM/, /first KVM_RUN/], (world) => pvm(world).slot.delete()),
  row('pkvm', 'a read-only slot', [/EPERM/, /protected/], (world) => {
    const vm = world.kvm.createVm(ARM_PROTECTED);
    const backing = anonymous(world);
    vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing, flags: KVM_MEM.value.KVM_MEM_READONLY });
  }),
  row('pkvm', 'reading a page that the guest has', [/SIGSEGV/, /no right to it/], (world) =>
    pvm(world).memory.readU64(0),
  ),
  row('pkvm', 'memory from a guest_memfd', [/EIO/, /guest_memfd/], (world) => {
    const vm = world.kvm.createVm(ARM_PROTECTED);
    const guestMemfd = vm.createGuestMemfd(PAGE, { mmap: true, initShared: true });
    vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing: guestMemfd.map(), guestMemfd });
    const vcpu = vm.createVcpu();
    vcpu.arm64.init(undefined, [4]);
    vcpu.runSync({ timeoutMs: 1000 });
  }),
  row('pkvm', 'memory attributes', [/ENOTTY|EINVAL/, /./], (world) => pvm(world).vm.setPrivate(0, PAGE)),
];

export const MISTAKES: readonly Mistake[] = [...NONE, ...SW, ...SEV, ...ES, ...SNP, ...TDX, ...PKVM];

/** What the user sees of a mistake: the whole message, hint included; undefined when nothing is refused. */
export async function messageOf({ make }: Mistake, world: World): Promise<string | undefined> {
  try {
    await make(world);
    return undefined;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return error instanceof KernelError && error.hint === undefined ? `${error.message} (no hint)` : error.message;
  }
}
