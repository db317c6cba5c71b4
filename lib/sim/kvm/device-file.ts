/** /dev/kvm. virt/kvm/kvm_main.c, kvm_dev_ioctl; arch/x86/kvm/x86.c, kvm_arch_dev_ioctl */
import {
  KVM_CHECK_EXTENSION,
  KVM_CREATE_VM,
  KVM_GET_API_VERSION,
  KVM_GET_DEVICE_ATTR,
  KVM_GET_MSR_INDEX_LIST,
  KVM_GET_SUPPORTED_CPUID,
  KVM_GET_VCPU_MMAP_SIZE,
  KVM_HAS_DEVICE_ATTR,
} from '../../uapi/index.ts';
import { E2BIG, EFAULT, EINVAL, EPERM } from '../errno.ts';
import { type FileStat, SimFile } from '../file.ts';
import { PAGE_SIZE } from '../page.ts';
import type { Process } from '../process.ts';
import { checkExtension, isVmType } from './capabilities.ts';
import { supportedCpuid, supportedMsrs } from './features.ts';
import { API_VERSION, MAX_CPUID_ENTRIES, VCPU_PAGES } from './limits.ts';
import type { KvmMachine } from './machine.ts';
import type { Runner } from './runner.ts';
import { getSystemAttr, hasSystemAttr } from './system-attr.ts';
import { Vcpu } from './vcpu.ts';
import { VcpuFile } from './vcpu-file.ts';
import { Vm } from './vm.ts';
import { VmFile } from './vm-file.ts';

const DEVTMPFS_MAGIC = 0x01021994;
const O_LARGEFILE = 0x8000;
/** What open(2) does not keep: O_CREAT, O_EXCL, O_NOCTTY, O_TRUNC, O_CLOEXEC. */
const O_ONLY_OPEN = 0x803c0;

export interface DeviceParts {
  readonly machine: KvmMachine;
  readonly process: Process;
  readonly runner: Runner;
  /** Of open(2). */
  readonly flags: number;
  readonly inode: bigint;
  /** The inode that all anonymous files share. */
  readonly anonymous: bigint;
}

export class DeviceFile extends SimFile {
  readonly #parts: DeviceParts;
  override readonly seekable = true;
  override readonly positioned = true;
  override readonly noexec = false;

  constructor(parts: DeviceParts) {
    super((parts.flags & ~O_ONLY_OPEN) | O_LARGEFILE);
    this.#parts = parts;
  }

  override reopen(flags: number): SimFile {
    return new DeviceFile({ ...this.#parts, flags });
  }

  /** noop_llseek: nothing moves, and nothing is wrong. */
  override seek(): bigint {
    return this.position;
  }

  /** The node belongs to root. */
  override chmod(): number {
    return -EPERM;
  }

  override chown(): number {
    return -EPERM;
  }

  override linkName(): string {
    return '/dev/kvm';
  }

  stat(): FileStat {
    const { inode } = this.#parts;
    return { ino: inode, mode: 0o020666, nlink: 1, size: 0n, blksize: 4096, blocks: 0n, fsType: DEVTMPFS_MAGIC };
  }

  override ioctl(request: number, arg: bigint): number {
    const { machine } = this.#parts;
    switch (request) {
      case KVM_GET_API_VERSION.request:
        return arg === 0n ? API_VERSION : -EINVAL;
      case KVM_CREATE_VM.request:
        return this.#createVm(arg);
      case KVM_CHECK_EXTENSION.request:
        return checkExtension(machine, arg);
      case KVM_GET_VCPU_MMAP_SIZE.request:
        return arg === 0n ? VCPU_PAGES * PAGE_SIZE : -EINVAL;
      case KVM_GET_SUPPORTED_CPUID.request:
        return this.#supportedCpuid(arg);
      case KVM_GET_MSR_INDEX_LIST.request:
        return this.#msrIndexList(arg);
      case KVM_GET_DEVICE_ATTR.request:
        return getSystemAttr(machine, this.#parts.process, arg);
      case KVM_HAS_DEVICE_ATTR.request:
        return hasSystemAttr(machine, this.#parts.process, arg);
      default:
        return -EINVAL;
    }
  }

  /** The descriptor comes first: without one, nobody looks at the type. */
  #createVm(type: bigint): number {
    const { machine, process, runner, anonymous } = this.#parts;
    const reserved = process.fds.next();
    if (reserved < 0) return reserved;
    if (!isVmType(machine, type)) return -EINVAL;
    const vm = new Vm(machine, process, Number(type));
    const file = new VmFile(vm, anonymous, (id) => new VcpuFile(new Vcpu(vm, id), anonymous, runner));
    return process.fds.install(file, true);
  }

  #supportedCpuid(arg: bigint): number {
    const { user } = this.#parts.process;
    const header = user.read(arg, 8);
    if (header === undefined) return -EFAULT;
    const view = new DataView(header.buffer, header.byteOffset, 8);
    const room = Math.min(view.getUint32(0, true), MAX_CPUID_ENTRIES);
    const { bytes, count } = supportedCpuid(this.#parts.machine);
    if (room < count) return -E2BIG;
    view.setUint32(0, count, true);
    return user.write(arg + 8n, bytes) && user.write(arg, header) ? 0 : -EFAULT;
  }

  /** The number is told also when there is no room. */
  #msrIndexList(arg: bigint): number {
    const { user } = this.#parts.process;
    const header = user.read(arg, 4);
    if (header === undefined) return -EFAULT;
    const view = new DataView(header.buffer, header.byteOffset, 4);
    const room = view.getUint32(0, true);
    const indices = supportedMsrs();
    view.setUint32(0, indices.length, true);
    if (!user.write(arg, header)) return -EFAULT;
    if (room < indices.length) return -E2BIG;
    return user.write(arg + 4n, new Uint8Array(indices.buffer)) ? 0 : -EFAULT;
  }
}
