/**
 * What the kernel at hand can do, found out by doing it. Numbers of unmerged series mean something else in merged kernels (flag 8 of
 * memfd_create, bit 2 of a memslot), so a design's presence is shown by how the kernel behaves, never by a number that it accepts.
 */
import { UnsupportedError } from '../kernel/errors.ts';
import type { Kvm } from '../kvm/kvm.ts';
import { KVM_CAP, KVM_VM_TYPE } from '../uapi/index.ts';
import { DESIGNS, type Design } from './designs/index.ts';
import type { Technology } from './technologies/index.ts';
import { ARM_PROTECTED_VM } from './technologies/pkvm.ts';

export interface Support {
  readonly supported: boolean;
  readonly reason?: string;
  /** What the user can do about it. */
  readonly nextStep?: string;
}

const yes: Support = { supported: true };
const no = (reason: string, nextStep: string): Support => ({ supported: false, reason, nextStep });

const TEST_KERNEL =
  'run a kernel built with CONFIG_KVM_SW_PROTECTED_VM, on a CPU with two-dimensional paging or an emulated one';

/** The VM types that KVM_CREATE_VM takes, by number. Before Linux 6.8 the capability is absent and only type 0 exists. */
export function vmTypeMask(kvm: Kvm): number {
  return kvm.checkExtension(KVM_CAP.value.KVM_CAP_VM_TYPES) || 1;
}

const T = KVM_VM_TYPE.value;

function x64Type(kvm: Kvm, type: number, missing: string, nextStep: string): Support {
  if (kvm.sys.kernel.arch !== 'x64') return no('it is a technology of x86-64', 'use an x86-64 host');
  // Not asked of the capability: a series of 2022 has the type without it.
  const made = kvm.raw.createVm(type);
  if (made.ok) {
    made.value.close();
    return yes;
  }
  if ((vmTypeMask(kvm) & (1 << type)) === 0) return no(`KVM_CAP_VM_TYPES does not offer ${missing}`, nextStep);
  return no(`KVM_CREATE_VM, ${missing}: ${made.code}, though KVM_CAP_VM_TYPES offers it`, nextStep);
}

function defaultVm(kvm: Kvm): Support {
  const made = kvm.raw.createVm();
  if (!made.ok)
    return no(`KVM_CREATE_VM: ${made.code}`, 'see what the kernel log says of KVM, and what limits this process');
  made.value.close();
  return yes;
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
    none: defaultVm(kvm),
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

/** Each design, by how this host's kernel behaves. */
export function designSupport(kvm: Kvm): Record<string, Support> {
  return Object.fromEntries(
    DESIGNS.map((design) => {
      const missing = design.missing(kvm);
      return [design.name, missing === undefined ? yes : no(missing.reason, missing.nextStep)];
    }),
  );
}

/** Throws UnsupportedError, naming `what`, for what is not supported. */
export function requireSupport(what: string, support: Support | undefined): void {
  if (support === undefined) throw new RangeError(`unknown: ${what}`);
  if (!support.supported)
    throw new UnsupportedError(what, support.reason ?? 'not supported', support.nextStep ?? 'none is known');
}

/** Whether this kernel carries out a design with a technology: asked of a VM of that technology. Both must be supported by themselves. */
export function pairObstacle(kvm: Kvm, design: Design, technology: Technology): string | undefined {
  const made = technology.open(kvm);
  try {
    return design.obstacle(made.vm, technology);
  } finally {
    made.close();
  }
}
