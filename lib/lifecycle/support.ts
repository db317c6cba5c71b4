/**
 * What the kernel at hand can do, found out by doing it. Numbers of unmerged series mean something else in merged kernels (flag 8 of
 * memfd_create, bit 2 of a memslot), so a design's presence is shown by how the kernel behaves, never by a number that it accepts.
 */
import { UnsupportedError } from '../kernel/errors.ts';
import type { Sys } from '../kernel/sys.ts';
import type { Kvm } from '../kvm/kvm.ts';
import { Memfd } from '../memory/memfd.ts';
import {
  declareMemoryAttributes2,
  GUEST_MEMFD_FLAG,
  KVM_CAP,
  KVM_MEM,
  KVM_VM_TYPE,
  kvm_memory_attributes2,
} from '../uapi/index.ts';
import type { Design } from './designs/index.ts';
import type { Technology } from './technologies/index.ts';

export interface Support {
  readonly supported: boolean;
  readonly reason?: string;
  /** What the user can do about it. */
  readonly nextStep?: string;
}

const yes: Support = { supported: true };
const no = (reason: string, nextStep: string): Support => ({ supported: false, reason, nextStep });

const PAGE = 4096;
const MFD_INACCESSIBLE = 8;
const ARM_PROTECTED_VM = 0x80000000;
const TEST_KERNEL =
  'run a kernel built with CONFIG_KVM_SW_PROTECTED_VM, on a CPU with two-dimensional paging or an emulated one';

/** The VM types that KVM_CREATE_VM takes, by number. Before Linux 6.8 the capability is absent and only type 0 exists. */
export function vmTypeMask(kvm: Kvm): number {
  return kvm.checkExtension(KVM_CAP.value.KVM_CAP_VM_TYPES) || 1;
}

const T = KVM_VM_TYPE.value;

function x64Type(kvm: Kvm, type: number, missing: string, nextStep: string): Support {
  if (kvm.sys.kernel.arch !== 'x64') return no('it is a technology of x86-64', 'use an x86-64 host');
  if ((vmTypeMask(kvm) & (1 << type)) !== 0) return yes;
  return no(`KVM_CAP_VM_TYPES does not offer ${missing}`, nextStep);
}

function pkvm(kvm: Kvm): Support {
  if (kvm.sys.kernel.arch !== 'arm64') return no('it is a technology of arm64', 'use an arm64 host');
  const vm = kvm.raw.createVm(ARM_PROTECTED_VM);
  if (!vm.ok)
    return no(`KVM_CREATE_VM with the protected type: ${vm.code}`, 'boot with kvm-arm.mode=protected (Linux 7.3)');
  vm.value.close();
  return yes;
}

/** Each technology, by whether this host's KVM can make such a VM. */
export function technologySupport(kvm: Kvm): Record<string, Support> {
  return {
    none: yes,
    'sw-protected': x64Type(kvm, T.KVM_X86_SW_PROTECTED_VM, 'KVM_X86_SW_PROTECTED_VM', TEST_KERNEL),
    sev: x64Type(
      kvm,
      T.KVM_X86_SEV_VM,
      'KVM_X86_SEV_VM',
      'use an AMD host with SEV enabled in firmware and kvm_amd (sev=1)',
    ),
    'sev-es': x64Type(
      kvm,
      T.KVM_X86_SEV_ES_VM,
      'KVM_X86_SEV_ES_VM',
      'use an AMD host with SEV-ES enabled in firmware and kvm_amd (sev_es=1)',
    ),
    'sev-snp': x64Type(
      kvm,
      T.KVM_X86_SNP_VM,
      'KVM_X86_SNP_VM',
      'use an AMD host with SEV-SNP enabled in firmware and kvm_amd (sev_snp=1)',
    ),
    tdx: x64Type(
      kvm,
      T.KVM_X86_TDX_VM,
      'KVM_X86_TDX_VM',
      'use an Intel host with TDX enabled in firmware and kvm_intel (tdx=1)',
    ),
    pkvm: pkvm(kvm),
  };
}

/** v3 to v8 of the series of 2022: a memfd that its creator cannot touch. */
function inaccessibleMemfd(sys: Sys): Support {
  const created = sys.raw.memfdCreate('privmem-probe', MFD_INACCESSIBLE);
  if (!created.ok)
    return no(
      `memfd_create with MFD_INACCESSIBLE (8): ${created.code}`,
      'run a kernel with v3 to v8 of the series of 2022',
    );
  const fd = created.value;
  try {
    const write = sys.raw.ftruncate(fd, PAGE).ok && sys.raw.pwrite(fd, new Uint8Array(1), 0).ok;
    if (!write) return yes;
    return no(
      'flag 8 of memfd_create is MFD_NOEXEC_SEAL here: the file can be written',
      'run a kernel with v3 to v8 of the series of 2022',
    );
  } finally {
    sys.close(fd);
  }
}

/** The variant of the discussion in which registering a memslot turns an ordinary file private. No posted kernel implements it. */
function registerConverts(kvm: Kvm): Support {
  using vm = kvm.createVm();
  using file = Memfd.create(kvm.sys, { name: 'privmem-probe', size: PAGE });
  const bound = vm.raw.setUserMemoryRegion2({
    flags: KVM_MEM.value.KVM_MEM_GUEST_MEMFD,
    memory_size: PAGE,
    guest_memfd: file.fd,
  });
  if (bound.ok)
    return file.raw.map().ok
      ? no('the memslot takes an ordinary memfd, which stays mappable', 'run a kernel that implements it')
      : yes;
  return no(
    `a memslot refuses an ordinary memfd (${bound.code})`,
    'use the simulated kernel once it is built: no posted kernel does this',
  );
}

function guestMemfd(kvm: Kvm): Support {
  const { KVM_CAP_GUEST_MEMFD, KVM_CAP_MEMORY_ATTRIBUTES } = KVM_CAP.value;
  if (kvm.checkExtension(KVM_CAP_GUEST_MEMFD) === 0)
    return no('KVM_CAP_GUEST_MEMFD is absent', 'run Linux 6.8 or newer');
  if (kvm.checkExtension(KVM_CAP_MEMORY_ATTRIBUTES) === 0) {
    return no('KVM_CAP_MEMORY_ATTRIBUTES is 0: no VM type with private memory', TEST_KERNEL);
  }
  return yes;
}

function guestMemfdMmap(kvm: Kvm): Support {
  const { GUEST_MEMFD_FLAG_MMAP, GUEST_MEMFD_FLAG_INIT_SHARED } = GUEST_MEMFD_FLAG.value;
  using vm = kvm.createVm();
  const need = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
  const have = vm.guestMemfdFlags();
  if ((have & need) === need) return yes;
  return no(`KVM_CAP_GUEST_MEMFD_FLAGS is ${have}, without MMAP and INIT_SHARED (${need})`, 'run Linux 6.18 or newer');
}

/** Conversion inside one guest_memfd, under review in 2026. */
function inPlace(kvm: Kvm): Support {
  using vm = kvm.createVm();
  const file = vm.raw.createGuestMemfd(PAGE);
  if (!file.ok) return no(`KVM_CREATE_GUEST_MEMFD: ${file.code}`, 'run Linux 6.8 or newer');
  const asked = file.value.raw.ioctl(declareMemoryAttributes2(), kvm_memory_attributes2.encode());
  if (!asked.ok && asked.code === 'ENOTTY') {
    return no(
      'a guest_memfd does not know KVM_SET_MEMORY_ATTRIBUTES2 (ENOTTY)',
      'run a kernel with the in-place conversion series',
    );
  }
  return yes;
}

/** Each design, by how this host's kernel behaves. */
export function designSupport(kvm: Kvm): Record<string, Support> {
  const mmap = guestMemfdMmap(kvm);
  return {
    'inaccessible-memfd': inaccessibleMemfd(kvm.sys),
    'register-converts': registerConverts(kvm),
    // The library keeps its order on top of guest_memfd.
    'unbound-first': mmap,
    'guest-memfd': guestMemfd(kvm),
    'guest-memfd-mmap': mmap,
    'in-place': inPlace(kvm),
  };
}

/** Throws UnsupportedError, naming `what`, for what is not supported. */
export function requireSupport(what: string, support: Support | undefined): void {
  if (support === undefined) throw new RangeError(`unknown: ${what}`);
  if (!support.supported)
    throw new UnsupportedError(what, support.reason ?? 'not supported', support.nextStep ?? 'none is known');
}

/** Whether this kernel carries out a design with a technology: asked of a VM of that technology. Both must be supported by themselves. */
export function pairObstacle(kvm: Kvm, design: Design, technology: Technology): string | undefined {
  const vm = technology.createVm(kvm);
  try {
    return design.obstacle(vm);
  } finally {
    vm.close();
  }
}
