/** What this host can do, gathered: the document of `privmem probe`. */
import { UnsupportedError } from '../kernel/errors.ts';
import { kvmAccess } from '../kernel/select.ts';
import type { Sys } from '../kernel/sys.ts';
import { Kvm } from '../kvm/kvm.ts';
import { designSupport, type Support, technologySupport, vmTypeMask } from '../lifecycle/support.ts';
import { KVM_CAP, KVM_VM_TYPE } from '../uapi/index.ts';

export interface ProbeReport {
  readonly kernel: string;
  readonly arch: string;
  readonly kvm: {
    readonly available: boolean;
    readonly reason?: string;
    readonly nextStep?: string;
    /** KVM_CHECK_EXTENSION at system scope, every capability by name; 0 means absent. */
    readonly capabilities: Readonly<Record<string, number>>;
    /** VM types that KVM_CREATE_VM takes, by the kernel's names. */
    readonly vmTypes: readonly string[];
    /** The capabilities whose value depends on the VM, for each type. */
    readonly perVmType: Readonly<Record<string, Readonly<Record<string, number>>>>;
  };
  readonly technologies: Readonly<Record<string, Support>>;
  readonly designs: Readonly<Record<string, Support>>;
}

/** Capabilities that a VM answers differently from the system. */
const PER_VM = [
  'KVM_CAP_MEMORY_ATTRIBUTES',
  'KVM_CAP_GUEST_MEMFD',
  'KVM_CAP_GUEST_MEMFD_FLAGS',
  'KVM_CAP_READONLY_MEM',
  'KVM_CAP_MULTI_ADDRESS_SPACE',
] as const;

const TECHNOLOGIES = ['none', 'sw-protected', 'sev', 'sev-es', 'sev-snp', 'tdx', 'pkvm'];
const DESIGNS = [
  'inaccessible-memfd',
  'register-converts',
  'unbound-first',
  'guest-memfd',
  'guest-memfd-mmap',
  'in-place',
];

function withoutKvm(sys: Sys, reason: string, nextStep: string): ProbeReport {
  const none: Support = { supported: false, reason: `no KVM: ${reason}`, nextStep };
  const all = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, none]));
  return {
    kernel: sys.kernel.release,
    arch: sys.kernel.arch,
    kvm: { available: false, reason, nextStep, capabilities: {}, vmTypes: [], perVmType: {} },
    technologies: all(TECHNOLOGIES),
    designs: all(DESIGNS),
  };
}

function vmTypeNames(kvm: Kvm): [name: string, type: number][] {
  const mask = vmTypeMask(kvm);
  const named = Object.entries(KVM_VM_TYPE.value).map(([name, type]) => [name, Number(type)] as [string, number]);
  return Array.from({ length: 31 }, (_, type) => type)
    .filter((type) => (mask & (1 << type)) !== 0)
    .map((type) => [named.find(([, value]) => value === type)?.[0] ?? `type ${type}`, type]);
}

function perVm(kvm: Kvm, type: number): Record<string, number> {
  using vm = kvm.createVm(type);
  return Object.fromEntries(PER_VM.map((name) => [name, vm.checkExtension(KVM_CAP.value[name])]));
}

export function probe(sys: Sys): ProbeReport {
  let kvm: Kvm;
  try {
    kvm = Kvm.open(sys);
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
    return withoutKvm(sys, `${error.missing}: ${error.reason}`, error.nextStep);
  }
  try {
    // arm64 refuses a few at system scope: they mean something for a VM only.
    const capabilities = Object.entries(KVM_CAP.value).flatMap(([name, number]) => {
      const answer = kvm.raw.checkExtension(number);
      return answer.ok ? [[name, answer.value] as const] : [];
    });
    const types = vmTypeNames(kvm);
    return {
      kernel: sys.kernel.release,
      arch: sys.kernel.arch,
      kvm: {
        available: true,
        capabilities: Object.fromEntries(capabilities),
        vmTypes: types.map(([name]) => name),
        perVmType: Object.fromEntries(types.map(([name, type]) => [name, perVm(kvm, type)])),
      },
      technologies: technologySupport(kvm),
      designs: designSupport(kvm),
    };
  } finally {
    kvm.close();
  }
}

/** For hosts on which not even the addon loads. */
export function probeWithoutAddon(error: UnsupportedError): ProbeReport {
  const none: Support = { supported: false, reason: `no addon: ${error.reason}`, nextStep: error.nextStep };
  const all = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, none]));
  const reason = `${error.reason}${kvmAccess() === 'usable' ? ' (but /dev/kvm could be opened)' : ''}`;
  return {
    kernel: process.platform,
    arch: process.arch,
    kvm: { available: false, reason, nextStep: error.nextStep, capabilities: {}, vmTypes: [], perVmType: {} },
    technologies: all(TECHNOLOGIES),
    designs: all(DESIGNS),
  };
}
