/** /dev/kvm. virt/kvm/kvm_main.c, kvm_dev_ioctl */
import { KVM_CHECK_EXTENSION, KVM_CREATE_VM, KVM_GET_API_VERSION, KVM_GET_VCPU_MMAP_SIZE } from '../../uapi/index.ts';
import { EINVAL, EPERM } from '../errno.ts';
import { type FileStat, SimFile } from '../file.ts';
import { PAGE_SIZE } from '../page.ts';
import type { Process } from '../process.ts';
import { checkExtension } from './capabilities.ts';
import type { KvmMachine } from './machine.ts';
import type { Runner } from './runner.ts';
import { VcpuFile } from './vcpu-file.ts';
import { VmFile } from './vm-file.ts';

const API_VERSION = 12;
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
    const { machine, process } = this.#parts;
    switch (request) {
      case KVM_GET_API_VERSION.request:
        return arg === 0n ? API_VERSION : -EINVAL;
      case KVM_CREATE_VM.request:
        return this.#createVm(arg);
      case KVM_CHECK_EXTENSION.request:
        return checkExtension(machine, arg);
      case KVM_GET_VCPU_MMAP_SIZE.request:
        return arg === 0n ? machine.limits.runPages * PAGE_SIZE : -EINVAL;
      default:
        return machine.deviceRequest(process, request, arg) ?? -EINVAL;
    }
  }

  /** The descriptor comes first: without one, nobody looks at the type. */
  #createVm(type: bigint): number {
    const { machine, process, runner, anonymous } = this.#parts;
    const reserved = process.fds.next();
    if (reserved < 0) return reserved;
    const refused = machine.judgeType(type);
    if (refused !== 0) return refused;
    const vm = machine.createVm(process, Number(type));
    const file = new VmFile(vm, anonymous, (id) => new VcpuFile(machine.createVcpu(vm, id), anonymous, runner));
    return process.fds.install(file, true);
  }
}
