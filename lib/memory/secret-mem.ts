/** memfd_secret(2): memory that the kernel itself keeps out of its direct map. */
import type { Int } from '../kernel/kernel.ts';
import type { Sys } from '../kernel/sys.ts';
import { O } from '../uapi/mman.ts';
import { MemFile } from './mem-file.ts';

export class SecretMem extends MemFile {
  private constructor(sys: Sys, fd: number) {
    super(sys, undefined, 'file', fd);
  }

  /**
   * memfd_secret(2), then ftruncate(2) to `size` bytes: it takes its size once. ENOSYS where it is off (boot with secretmem.enable=1
   * before Linux 6.5). Faults beyond RLIMIT_MEMLOCK are SIGBUS since 7.3; mmap beyond it is EAGAIN before.
   */
  static create(sys: Sys, size: Int = 0): SecretMem {
    const file = new SecretMem(sys, sys.memfdSecret(O.value.O_CLOEXEC));
    if (size !== 0 && size !== 0n) {
      try {
        file.truncate(size);
      } catch (error) {
        file.close();
        throw error;
      }
    }
    return file;
  }
}
