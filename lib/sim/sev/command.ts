/** One KVM_MEMORY_ENCRYPT_OP of SEV under way: its struct, and how commands reach the firmware. arch/x86/kvm/svm/sev.c */
import { kvm_sev_cmd } from '../../uapi/sev.ts';
import { EBADF, EIO } from '../errno.ts';
import type { Process } from '../process.ts';
import { SevDeviceFile } from './device-file.ts';

const AT = kvm_sev_cmd.offsets;

export class SevCommand {
  readonly id: number;
  readonly data: bigint;
  /** Of /dev/sev; negative for none. */
  readonly fd: number;
  readonly #process: Process;
  readonly #struct: DataView;

  private constructor(process: Process, bytes: Uint8Array) {
    this.#process = process;
    this.#struct = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.id = this.#struct.getUint32(AT.id, true);
    this.data = this.#struct.getBigUint64(AT.data, true);
    this.fd = this.#struct.getInt32(AT.sev_fd, true);
  }

  /** Undefined stands for EFAULT. */
  static read(process: Process, address: bigint): SevCommand | undefined {
    const bytes = process.user.read(address, kvm_sev_cmd.size);
    return bytes === undefined ? undefined : new SevCommand(process, bytes);
  }

  /** Copies the struct back, as is done also after a failure. False stands for EFAULT. */
  writeBack(address: bigint): boolean {
    const { buffer, byteOffset } = this.#struct;
    return this.#process.user.write(address, new Uint8Array(buffer, byteOffset, kvm_sev_cmd.size));
  }

  set error(code: number) {
    this.#struct.setUint32(AT.error, code, true);
  }

  /** The bytes of the command's own struct; undefined stands for EFAULT. */
  params(size: number): Uint8Array | undefined {
    return this.#process.user.read(this.data, size);
  }

  give(bytes: Uint8Array): boolean {
    return this.#process.user.write(this.data, bytes);
  }

  /** Asks the firmware through `fd`: 0, EBADF for a descriptor that is not /dev/sev, EIO with the code in `error`. */
  issue(fd: number, command: () => number): number {
    return this.issueWith(fd, command, (code) => {
      this.error = code;
    });
  }

  /** As `issue`, for a command whose code is kept elsewhere first. `told` is not called when the firmware was not asked. */
  issueWith(fd: number, command: () => number, told: (code: number) => void): number {
    if (!(this.#process.fds.get(fd) instanceof SevDeviceFile)) return -EBADF;
    const code = command();
    told(code);
    return code === 0 ? 0 : -EIO;
  }
}
