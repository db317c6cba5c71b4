/** /dev/sev: what SEV commands are issued through. Of its own requests there is the platform's status. drivers/crypto/ccp/sev-dev.c */
import { EFAULT, EINVAL, EPERM } from '../errno.ts';
import { type FileStat, SimFile } from '../file.ts';
import type { Process } from '../process.ts';
import { FIRMWARE, type SevPlatform } from './platform.ts';

const DEVTMPFS_MAGIC = 0x01021994;
const O_LARGEFILE = 0x8000;
const O_ONLY_OPEN = 0x803c0;
/** _IOWR('S', 0, struct sev_issue_cmd), which is packed: cmd, data, error. */
const SEV_ISSUE_CMD = 0xc010_5300;
const ISSUE = { size: 16, data: 4, error: 12 } as const;
const SEV_MAX = 13;
const SEV_PLATFORM_STATUS = 1;
const STATUS_SIZE = 12;
const PLATFORM_WORKING = 2;
const PLATFORM_INIT = 1;

export class SevDeviceFile extends SimFile {
  readonly #process: Process;
  readonly #platform: SevPlatform;
  readonly #inode: bigint;
  override readonly noexec = false;

  constructor(flags: number, process: Process, platform: SevPlatform, inode: bigint) {
    super((flags & ~O_ONLY_OPEN) | O_LARGEFILE);
    this.#process = process;
    this.#platform = platform;
    this.#inode = inode;
  }

  override reopen(flags: number): SimFile {
    return new SevDeviceFile(flags, this.#process, this.#platform, this.#inode);
  }

  /** The node belongs to root. */
  override chmod(): number {
    return -EPERM;
  }

  override linkName(): string {
    return '/dev/sev';
  }

  stat(): FileStat {
    return { ino: this.#inode, mode: 0o020600, nlink: 1, size: 0n, blksize: 4096, blocks: 0n, fsType: DEVTMPFS_MAGIC };
  }

  override ioctl(request: number, arg: bigint): number {
    const { user } = this.#process;
    if (request !== SEV_ISSUE_CMD) return -EINVAL;
    const bytes = user.read(arg, ISSUE.size);
    if (bytes === undefined) return -EFAULT;
    const issue = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const command = issue.getUint32(0, true);
    // Certificates and keys of the platform are not imitated: they are refused like commands that do not exist.
    if (command > SEV_MAX || command !== SEV_PLATFORM_STATUS) return -EINVAL;
    const status = new Uint8Array(STATUS_SIZE);
    const { guests } = this.#platform;
    status.set([FIRMWARE.apiMajor, FIRMWARE.apiMinor, guests.size > 0 ? PLATFORM_WORKING : PLATFORM_INIT]);
    const view = new DataView(status.buffer);
    view.setUint8(7, FIRMWARE.build);
    view.setUint32(8, guests.size, true);
    if (!user.write(issue.getBigUint64(ISSUE.data, true), status)) return -EFAULT;
    issue.setUint32(ISSUE.error, 0, true);
    return user.write(arg, bytes) ? 0 : -EFAULT;
  }
}
