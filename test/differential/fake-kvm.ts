/** Just enough of KVM to make guest_memfds in the simulation: the files are what is compared, not the VM. */
import { EFAULT, EINVAL, ENOTTY } from '../../lib/sim/errno.ts';
import { type FileStat, O_RDWR, SimFile } from '../../lib/sim/file.ts';
import { GuestMemfdFile } from '../../lib/sim/files/guest-memfd.ts';
import { O_LARGEFILE } from '../../lib/sim/files/memfd.ts';
import type { KvmFactory } from '../../lib/sim/kvm-host.ts';
import type { Process } from '../../lib/sim/process.ts';

const KVM_CREATE_VM = 0xae01;
const KVM_CREATE_GUEST_MEMFD = 0xc040aed4;
const FLAGS = 3n;
const ANON_INODE_FS_MAGIC = 0x09041934;

abstract class FakeFile extends SimFile {
  readonly process: Process;

  constructor(process: Process, flags: number) {
    super(flags);
    this.process = process;
  }

  override readonly seekable = true;

  /** noop_llseek. */
  override seek(): bigint {
    return this.position;
  }

  stat(): FileStat {
    return { ino: 0n, mode: 0o600, nlink: 1, size: 0n, blksize: 4096, blocks: 0n, fsType: ANON_INODE_FS_MAGIC };
  }
}

class FakeSystem extends FakeFile {
  override readonly positioned = true;
  override readonly noexec = false;

  override ioctl(request: number): number {
    if (request !== KVM_CREATE_VM) return -EINVAL;
    return this.process.fds.install(new FakeVm(this.process, O_RDWR), true);
  }
}

class FakeVm extends FakeFile {
  override ioctl(request: number, arg: bigint): number {
    if (request !== KVM_CREATE_GUEST_MEMFD) return -ENOTTY;
    const { user, profile, fds } = this.process;
    const size = user.readU64(arg);
    const flags = user.readU64(arg + 8n);
    if (size === undefined || flags === undefined) return -EFAULT;
    if ((flags & ~FLAGS) !== 0n) return -EINVAL;
    if (size === 0n || size >= 2n ** 63n || size % 4096n !== 0n) return -EINVAL;
    const reserved = fds.next();
    if (reserved < 0) return reserved;
    const file = new GuestMemfdFile({ profile, ino: this.process.nextInode(), size, flags: Number(flags) });
    return fds.install(file, false);
  }
}

const none = (): number => -EINVAL;

export const fakeKvm: KvmFactory = (process) => ({
  vcpus: { attach: none, run: none, start: none, kick: none, detach: none },
  open: (flags) => new FakeSystem(process, flags | O_LARGEFILE[process.profile.arch]),
});
