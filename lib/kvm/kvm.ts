/** The system descriptor, /dev/kvm: what KVM can do on this host, and where VMs come from. */
import { Descriptor } from '../kernel/descriptor.ts';
import { KernelError, UnsupportedError } from '../kernel/errors.ts';
import type { Sys } from '../kernel/sys.ts';
import {
  KVM_CHECK_EXTENSION,
  KVM_CREATE_VM,
  KVM_GET_API_VERSION,
  KVM_GET_MSR_INDEX_LIST,
  KVM_GET_SUPPORTED_CPUID,
  KVM_GET_VCPU_MMAP_SIZE,
} from '../uapi/index.ts';
import { O } from '../uapi/mman.ts';
import { type CpuidEntry, readGrowing } from './growing.ts';
import { Vm } from './vm.ts';

/** The only version that any kernel since 2.6.22 answers; anything else is not KVM. */
const API_VERSION = 12;

export class Kvm extends Descriptor {
  private constructor(sys: Sys, fd: number) {
    super(sys, undefined, 'kvm', fd);
  }

  /**
   * Opens /dev/kvm (or `path`). UnsupportedError with the next step when there is no KVM, when the caller has no right to it, or
   * when the file is not KVM. Documentation/virt/kvm/api.rst
   */
  static open(sys: Sys, path = '/dev/kvm'): Kvm {
    const fd = openDevice(sys, path);
    const kvm = new Kvm(sys, fd);
    const version = kvm.raw.apiVersion();
    if (version.ok && version.value === API_VERSION) return kvm;
    kvm.close();
    throw new UnsupportedError(
      path,
      version.ok ? `speaks KVM API version ${version.value}, not ${API_VERSION}` : `is not KVM (${version.code})`,
      'give the path of the KVM device',
    );
  }

  /** KVM_GET_API_VERSION: 12. */
  apiVersion(): number {
    return this.ioctl(KVM_GET_API_VERSION);
  }

  /**
   * KVM_CHECK_EXTENSION at system scope: 0 when the capability is absent. Capabilities of memory differ between VMs; ask the
   * VM for MEMORY_ATTRIBUTES, GUEST_MEMFD_FLAGS, READONLY_MEM and MULTI_ADDRESS_SPACE.
   */
  checkExtension(capability: number): number {
    return this.ioctl(KVM_CHECK_EXTENSION, capability);
  }

  /** KVM_GET_VCPU_MMAP_SIZE: bytes to map from a vCPU descriptor (12288 on x86-64). */
  vcpuMmapSize(): number {
    return this.ioctl(KVM_GET_VCPU_MMAP_SIZE);
  }

  /** KVM_CREATE_VM with a VM type (x86: KVM_VM_TYPE; arm64: type and IPA bits). EINVAL for a type that is not offered. */
  createVm(type: number | bigint = 0): Vm {
    // Asked first: a failure after KVM_CREATE_VM would leave a descriptor without an owner.
    const vcpuMmapSize = this.vcpuMmapSize();
    return new Vm(this, this.ioctl(KVM_CREATE_VM, type), type, vcpuMmapSize);
  }

  /** x86: KVM_GET_SUPPORTED_CPUID, every leaf that KVM can offer on this host. */
  supportedCpuid(): CpuidEntry[] {
    return readGrowing<CpuidEntry>(this, KVM_GET_SUPPORTED_CPUID);
  }

  /** x86: KVM_GET_MSR_INDEX_LIST, the MSRs that a migration would carry. */
  msrIndexList(): number[] {
    return readGrowing<number>(this, KVM_GET_MSR_INDEX_LIST);
  }
}

function openDevice(sys: Sys, path: string): number {
  try {
    return sys.open(path, O.value.O_RDWR | O.value.O_CLOEXEC);
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    const steps: Readonly<Record<string, readonly [reason: string, step: string]>> = {
      EACCES: ['there is no right to open it', `join the group that owns it (ls -l ${path}), or run as root`],
      EPERM: ['there is no right to open it', `join the group that owns it (ls -l ${path}), or run as root`],
      ENOENT: [
        'it does not exist',
        'load kvm_intel or kvm_amd, and enable virtualisation in the firmware or the outer hypervisor',
      ],
      ENODEV: ['there is no KVM behind it', 'load kvm_intel or kvm_amd'],
    };
    const [reason, step] = steps[error.code] ?? [`open fails with ${error.code}`, 'see the cause'];
    throw new UnsupportedError(path, reason, step, { cause: error });
  }
}
