/** The two kernels of a differential run: the real one of this host, and simulations with its profile. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import type { Kernel } from '../../lib/kernel/kernel.ts';
import { loadNative } from '../../lib/kernel/native.ts';
import { kvmFactory } from '../../lib/sim/kvm/host.ts';
import { X64Machine } from '../../lib/sim/kvm/x64/machine.ts';
import { nearestRelease, type Profile, profileOf } from '../../lib/sim/profile.ts';
import { simKernel } from '../../lib/sim/sim-kernel.ts';
import {
  KVM_CAP,
  KVM_CHECK_EXTENSION,
  KVM_CREATE_VM,
  KVM_GET_SUPPORTED_CPUID,
  kvm_cpuid_entry2,
  kvm_cpuid2,
} from '../../lib/uapi/index.ts';
import { makesHypercalls } from './kvm-guest.ts';
import { KvmWorld } from './kvm-world.ts';

const O_RDWR = 2;
const ENODEV = 19;
const ENOSYS = 38;
const FD_LIMIT = 20_000;
const MFD_HUGETLB = 4;
const HUGE_SHIFT = 26;
const HUGE_SIZES = [21, 30] as const;

export interface Vm {
  readonly kvm: number;
  readonly vm: number;
}

/** A VM, or why there is none. */
export function vmOf(kernel: Kernel): Vm | string {
  const kvm = kernel.open('/dev/kvm', O_RDWR, 0);
  if (kvm < 0) return `/dev/kvm cannot be opened: errno ${-kvm}`;
  const vm = kernel.ioctl(kvm, KVM_CREATE_VM.request, 0, 1);
  if (vm >= 0) return { kvm, vm };
  kernel.close(kvm);
  return `KVM makes no VM: errno ${-vm}`;
}

/** What this host's KVM is, as the simulation must be told. */
export interface HostKvm {
  readonly vm: Vm;
  /** Bit mask of VM types. */
  readonly types: number;
  /** Guests run on a processor: KVM does not emulate every instruction. */
  readonly hardware: boolean;
}

export interface Host {
  readonly real: Kernel;
  readonly profile: Profile;
  readonly kvm: HostKvm | undefined;
  /** Why KVM is left out; undefined when it is compared too. */
  readonly noVm: string | undefined;
  /** A fresh simulation of this host. */
  simulate(): Kernel;
}

function probeKvm(real: Kernel): HostKvm | string {
  const vm = vmOf(real);
  if (typeof vm === 'string') return vm;
  if (real.arch !== 'x64') return `guests of ${real.arch} are not compared`;
  const probe = new KvmWorld(real, 0);
  const hardware = makesHypercalls(probe);
  probe.end();
  const types = real.ioctl(vm.kvm, KVM_CHECK_EXTENSION.request, KVM_CAP.value.KVM_CAP_VM_TYPES);
  return { vm, types, hardware };
}

/** KVM asks the processor itself; the kernel tells what it found. */
function processor(): {
  readonly physicalBits: number;
  readonly processor: 'intel' | 'amd';
  readonly fiveLevels: boolean;
} {
  const text = readFileSync('/proc/cpuinfo', 'utf8');
  const bits = /^address sizes\s*:\s*(\d+) bits physical/m.exec(text);
  const has = (flag: string): boolean => new RegExp(`^flags\\s*:.*\\b${flag}\\b`, 'm').test(text);
  // la57 is shown where the kernel makes use of it.
  return { physicalBits: Number(bits?.[1] ?? 48), processor: has('svm') ? 'amd' : 'intel', fiveLevels: has('la57') };
}

const LEAF_7 = 7;
const LA57 = 1 << 16;
const MOST_LEAVES = 256;
const IOCTL_LENGTH_CHECKED = 2;

/** KVM knows it also of a processor whose host does without. */
function hasLa57(kernel: Kernel, kvm: number): boolean {
  const bytes = new Uint8Array(kvm_cpuid2.size + MOST_LEAVES * kvm_cpuid_entry2.size);
  bytes.set(kvm_cpuid2.encode({ nent: MOST_LEAVES }));
  if (kernel.ioctl(kvm, KVM_GET_SUPPORTED_CPUID.request, bytes, IOCTL_LENGTH_CHECKED) < 0) return false;
  const { nent } = kvm_cpuid2.decode(bytes);
  return Array.from({ length: nent }, (_, i) =>
    kvm_cpuid_entry2.decode(bytes, kvm_cpuid2.size + i * kvm_cpuid_entry2.size),
  ).some(({ function: leaf, index, ecx }) => leaf === LEAF_7 && index === 0 && (ecx & LA57) !== 0);
}

const PAGE = 4096;
const PRIVATE_ANONYMOUS = 0x22;
const MADV_WILLNEED = 3;
const MADV_UNMERGEABLE = 13;

/** Whether an advice is taken for anonymous memory. */
function knows(kernel: Kernel, advice: number): boolean {
  const at = kernel.mmap(0, PAGE, 0, PRIVATE_ANONYMOUS, -1, 0);
  const known = kernel.madvise(at, PAGE, advice) === 0;
  kernel.munmap(at, PAGE);
  return known;
}

function machineOf(real: Kernel, profile: Profile, { vm, types, hardware }: HostKvm): X64Machine {
  const ask = (name: keyof typeof KVM_CAP.value): number =>
    real.ioctl(vm.kvm, KVM_CHECK_EXTENSION.request, KVM_CAP.value[name]);
  return new X64Machine(profile, {
    technologies: (types & 2) === 0 ? [] : ['sw-protected'],
    twoDimensionalPaging: ask('KVM_CAP_PRE_FAULT_MEMORY') !== 0,
    cpus: ask('KVM_CAP_NR_VCPUS'),
    systemManagement: ask('KVM_CAP_MULTI_ADDRESS_SPACE') > 1,
    linearBits: hasLa57(real, vm.kvm) ? 57 : 48,
    ...processor(),
    emulatesGuests: !hardware,
  });
}

/** Whether a call is there at all: what a configuration may leave out. */
function has(result: number, kernel: Kernel): boolean {
  if (result >= 0) kernel.close(result);
  return result !== -ENOSYS;
}

/** The real kernel, or why it cannot be had here. */
export function openHost(): Host | string {
  let real: Kernel;
  try {
    real = loadNative();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const cachestat = real.cachestat(-1, 0, 0, new BigUint64Array(5)) !== -ENOSYS;
  const profile: Profile = {
    ...profileOf(nearestRelease(os.release()), real.arch),
    cachestat,
    ksm: knows(real, MADV_UNMERGEABLE),
    swap: knows(real, MADV_WILLNEED),
  };
  const kvm = probeKvm(real);
  const machine = typeof kvm === 'string' ? undefined : machineOf(real, profile, kvm);
  const sizes = HUGE_SIZES.filter((shift) => {
    const fd = real.memfdCreate('huge', (MFD_HUGETLB | (shift << HUGE_SHIFT)) >>> 0);
    if (fd >= 0) real.close(fd);
    return fd !== -ENODEV;
  });
  const options = {
    profile,
    ram: os.totalmem(),
    fdLimit: FD_LIMIT,
    secretmem: has(real.memfdSecret(0), real),
    numa: real.getMempolicy(new BigInt64Array(1), new Uint8Array(0), 0, 0) !== -ENOSYS,
    hugePages: new Map(sizes.map((shift) => [2 ** shift, 0])),
  };
  return {
    real,
    profile,
    kvm: typeof kvm === 'string' ? undefined : kvm,
    noVm: typeof kvm === 'string' ? kvm : undefined,
    simulate: () => simKernel(machine === undefined ? options : { ...options, kvm: kvmFactory(machine) }),
  };
}
