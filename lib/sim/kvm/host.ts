/** /dev/kvm and the vCPU calls of the waist, as the simulated kernel takes them. */

import { KVM_RUN } from '../../uapi/kvm-vcpu.ts';
import { copyIn } from '../access.ts';
import { EBADF, EBUSY, EINTR } from '../errno.ts';
import type { SimFile } from '../file.ts';
import type { KvmFactory, KvmHost, VcpuHost } from '../kvm-host.ts';
import type { Process } from '../process.ts';
import { SevDeviceFile } from '../sev/device-file.ts';
import { platformOf } from '../sev/platform.ts';
import { DeviceFile } from './device-file.ts';
import type { KvmMachine } from './machine.ts';
import { macrotask } from './macrotask.ts';
import { type BackgroundRun, Runner } from './runner.ts';
import { VcpuFile } from './vcpu-file.ts';
import { X64Machine } from './x64/machine.ts';

/** Offset in struct kvm_run. */
const IMMEDIATE_EXIT = 1;

interface Attached {
  readonly fd: number;
  readonly runPage: number;
  /** A run is under way, in the background or not. */
  busy: boolean;
  background: BackgroundRun | undefined;
  /** A kick that no run has answered yet. */
  kicked: boolean;
}

/** native/vcpu.h has the rules of kicks. */
class VcpuHandles implements VcpuHost {
  readonly #process: Process;
  readonly #runner: Runner;
  readonly #attached = new Map<number, Attached>();
  #last = -1;

  constructor(process: Process, runner: Runner) {
    this.#process = process;
    this.#runner = runner;
  }

  attach(fd: number, runPage: number): number {
    this.#last++;
    this.#attached.set(this.#last, { fd, runPage, busy: false, background: undefined, kicked: false });
    return this.#last;
  }

  run(vcpu: number, timeoutMs: number): number {
    const attached = this.#attached.get(vcpu);
    if (attached === undefined) return -EBADF;
    if (attached.busy) return -EBUSY;
    attached.busy = true;
    const file = this.#process.fds.get(attached.fd);
    let result: number;
    if (file instanceof VcpuFile) result = this.#runner.run(file.vcpu, timeoutMs);
    else result = file?.ioctl(KVM_RUN.request, 0n) ?? -EBADF;
    this.#leave(attached, result);
    return result;
  }

  start(vcpu: number, done: (result: number) => void): number {
    const attached = this.#attached.get(vcpu);
    if (attached === undefined) return -EBADF;
    if (attached.busy) return -EBUSY;
    attached.busy = true;
    const file = this.#process.fds.get(attached.fd);
    if (file instanceof VcpuFile) {
      // The call holds the file while it is under way, whatever becomes of the descriptor.
      file.retain();
      attached.background = this.#runner.start(file.vcpu, (result) => {
        file.drop();
        this.#leave(attached, result);
        done(result);
      });
    } else {
      macrotask(() => {
        const result = file?.ioctl(KVM_RUN.request, 0n) ?? -EBADF;
        this.#leave(attached, result);
        done(result);
      });
    }
    return 0;
  }

  kick(vcpu: number): number {
    const attached = this.#attached.get(vcpu);
    if (attached === undefined) return -EBADF;
    attached.kicked = true;
    this.#setImmediateExit(attached, 1);
    attached.background?.interrupt();
    return 0;
  }

  detach(vcpu: number): number {
    const attached = this.#attached.get(vcpu);
    if (attached === undefined) return -EBADF;
    if (attached.background !== undefined) {
      this.kick(vcpu);
      attached.background.abandon();
    }
    this.#attached.delete(vcpu);
    return 0;
  }

  /** Each kick makes exactly one run return EINTR; a run that came back for another reason leaves it pending. */
  #leave(attached: Attached, result: number): void {
    attached.busy = false;
    attached.background = undefined;
    if (result !== -EINTR || !attached.kicked) return;
    attached.kicked = false;
    this.#setImmediateExit(attached, 0);
  }

  #setImmediateExit({ runPage }: Attached, value: number): void {
    copyIn(this.#process.space, runPage + IMMEDIATE_EXIT, Uint8Array.of(value));
  }
}

export const kvmFactory =
  (machine: KvmMachine): KvmFactory =>
  (process: Process): KvmHost => {
    const runner = new Runner();
    const inode = process.nextInode();
    const anonymous = process.nextInode();
    const devices = new Map<string, (flags: number) => SimFile>();
    if (machine instanceof X64Machine && machine.sev) {
      const sevInode = process.nextInode();
      devices.set('/dev/sev', (flags) => new SevDeviceFile(flags, process, platformOf(machine), sevInode));
    }
    return {
      devices,
      vcpus: new VcpuHandles(process, runner),
      open: (flags) => new DeviceFile({ machine, process, runner, flags, inode, anonymous }),
    };
  };
