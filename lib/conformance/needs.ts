/** What a scenario needs of the kernel, and the words for what is missing. A need that is not met is a skip, never a pass. */
import { readdirSync } from 'node:fs';
import { KernelError, UnsupportedError } from '../kernel/errors.ts';
import type { Sys } from '../kernel/sys.ts';
import type { CpuidEntry } from '../kvm/growing.ts';
import { Kvm } from '../kvm/kvm.ts';
import { KVM_CAP, KVM_VM_TYPE } from '../uapi/index.ts';

export type Release = readonly [major: number, minor: number];
export type CapName = keyof typeof KVM_CAP.value;
type Caps = Readonly<Partial<Record<CapName, number>>>;

/** VM types by the words of this suite. */
export const VM_TYPES = {
  default: KVM_VM_TYPE.value.KVM_X86_DEFAULT_VM,
  'sw-protected': KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM,
} as const;
export type VmType = keyof typeof VM_TYPES;

export interface Needs {
  /** false: system calls are enough. */
  readonly kvm?: false;
  readonly arch?: 'x64' | 'arm64';
  /** The type of the VMs that the scenario makes; `context.vm()` makes it. Default: `default`. */
  readonly vmType?: VmType;
  /** Bits that KVM_CHECK_EXTENSION must answer at system scope. */
  readonly caps?: Caps;
  /** The same, asked of a VM of `vmType`. */
  readonly vmCaps?: Caps;
  /** First release that has what is tried. For behaviour that changed see {@link Context.differs}. */
  readonly release?: Release;
  /** First release that no longer has it. */
  readonly before?: Release;
  /** The kernel is built with cachestat(2). */
  readonly cachestat?: true;
  /** A guest runs. */
  readonly guest?: true;
  /** The guest's memory accesses go through KVM's MMU and its hypercalls exit: not so where a software layer below KVM emulates each instruction. */
  readonly mmu?: true;
  /** Child processes or `/proc` of the kernel under test: not in a simulation. */
  readonly real?: true;
  /** A further condition: the words for what is missing, or undefined when it holds. */
  readonly also?: (environment: Environment) => string | undefined;
}

/** The kernel under test, opened once. */
export class Environment {
  readonly sys: Sys;
  readonly #kvm: Kvm | string;
  readonly #vmCaps = new Map<string, number | string>();
  #modules: readonly string[] | undefined;
  #cpuid: readonly CpuidEntry[] | undefined;

  constructor(sys: Sys) {
    this.sys = sys;
    this.#kvm = openKvm(sys);
  }

  /** /dev/kvm. Only for scenarios that need KVM. */
  get kvm(): Kvm {
    if (typeof this.#kvm === 'string') throw new Error(`KVM is not there: ${this.#kvm}`);
    return this.#kvm;
  }

  /** Why there is no KVM. */
  get noKvm(): string | undefined {
    return typeof this.#kvm === 'string' ? this.#kvm : undefined;
  }

  get release(): Release {
    const [major = 0, minor = 0] = this.sys.kernel.release.split('.').map((part) => Number.parseInt(part, 10));
    return [major, minor];
  }

  /** Whether this is release `from` or a later one of a series: 6.12.114 of 6.12. */
  isOf([major, minor, from]: readonly [major: number, minor: number, from: number]): boolean {
    const [ours, minorOurs] = this.release;
    const patch = Number.parseInt(this.sys.kernel.release.split('.')[2] ?? '0', 10);
    return ours === major && minorOurs === minor && patch >= from;
  }

  isAtLeast([major, minor]: Release): boolean {
    const [ours, minorOurs] = this.release;
    return ours > major || (ours === major && minorOurs >= minor);
  }

  /** A capability as a VM of this type answers it; words when there can be no such VM. */
  vmCap(type: VmType, name: CapName): number | string {
    const key = `${type} ${name}`;
    let answer = this.#vmCaps.get(key);
    if (answer === undefined) {
      answer = this.#askVm(type, name);
      this.#vmCaps.set(key, answer);
    }
    return answer;
  }

  #askVm(type: VmType, name: CapName): number | string {
    const created = this.kvm.raw.createVm(VM_TYPES[type]);
    if (!created.ok) return `KVM_CREATE_VM refuses a VM of type ${type} (${created.code})`;
    using vm = created.value;
    return vm.checkExtension(KVM_CAP.value[name]);
  }

  /** What KVM can offer a vCPU: without long mode in its CPUID a vCPU cannot have it (EINVAL of KVM_SET_SREGS). */
  get cpuid(): readonly CpuidEntry[] {
    this.#cpuid ??= this.kvm.supportedCpuid();
    return this.#cpuid;
  }

  /** KVM's modules on a real kernel that shows them. */
  get kvmModules(): readonly string[] {
    this.#modules ??= this.sys.kernel.backend === 'kvm' ? modulesOfKvm() : [];
    return this.#modules;
  }

  close(): void {
    if (typeof this.#kvm === 'object') this.#kvm.close();
  }
}

function openKvm(sys: Sys): Kvm | string {
  try {
    return Kvm.open(sys);
  } catch (error) {
    if (error instanceof UnsupportedError) return `${error.missing}: ${error.reason}`;
    if (error instanceof KernelError) return error.message;
    throw error;
  }
}

function modulesOfKvm(): readonly string[] {
  try {
    return readdirSync('/sys/module').filter((name) => name.startsWith('kvm'));
  } catch {
    return [];
  }
}

const asText = ([major, minor]: Release): string => `${major}.${minor}`;

function lackingCaps(caps: Caps | undefined, ask: (name: CapName) => number | string, where: string) {
  for (const [name, bits] of Object.entries(caps ?? {})) {
    const have = ask(name as CapName);
    if (typeof have === 'string') return have;
    if ((have & bits) !== bits) return `${name} is ${have} ${where}, ${bits} is needed`;
  }
  return undefined;
}

/** No descriptor: EBADF where the call exists. */
function hasCachestat(sys: Sys): boolean {
  const asked = sys.raw.cachestat(-1, 0, 0);
  return asked.ok || asked.code !== 'ENOSYS';
}

/** Why a scenario cannot run here; undefined when it can. */
export function missing(needs: Needs, environment: Environment): string | undefined {
  const { sys } = environment;
  const { arch, backend, release } = sys.kernel;
  // The numbers and programs of this suite are those of x86-64, unless a scenario says otherwise.
  const wanted = needs.arch ?? (needs.guest || needs.vmType === 'sw-protected' ? 'x64' : undefined);
  if (wanted !== undefined && wanted !== arch) return `needs ${wanted}, this is ${arch}`;
  if (needs.release !== undefined && !environment.isAtLeast(needs.release))
    return `needs Linux ${asText(needs.release)}, this is ${release}`;
  if (needs.before !== undefined && environment.isAtLeast(needs.before))
    return `needs Linux before ${asText(needs.before)}, this is ${release}`;
  if (needs.real && backend !== 'kvm') return 'needs processes of the kernel under test, a simulation has none';
  if (needs.cachestat && !hasCachestat(sys)) return 'needs cachestat(2): Linux 6.5 with CONFIG_CACHESTAT_SYSCALL';
  if (needs.kvm === false) return needs.also?.(environment);
  if (environment.noKvm !== undefined) return environment.noKvm;
  if (needs.mmu && environment.kvmModules.includes('kvm_pvm'))
    return 'needs a KVM that maps guest memory: kvm_pvm emulates each guest instruction';
  const type = needs.vmType ?? 'default';
  if (type !== 'default') {
    const made = environment.vmCap(type, 'KVM_CAP_USER_MEMORY');
    if (typeof made === 'string') return made;
  }
  const { kvm } = environment;
  return (
    lackingCaps(needs.caps, (name) => kvm.checkExtension(KVM_CAP.value[name]), 'on /dev/kvm') ??
    lackingCaps(needs.vmCaps, (name) => environment.vmCap(type, name), `on a VM of type ${type}`) ??
    needs.also?.(environment)
  );
}

/** Both, of which one may be absent. */
export const both = (a: Needs, b: Needs): Needs => ({
  ...a,
  ...b,
  caps: { ...a.caps, ...b.caps },
  vmCaps: { ...a.vmCaps, ...b.vmCaps },
});
