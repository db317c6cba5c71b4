/** The vCPU calls of the waist: checks of arguments and the pinning of run pages; the rest is KVM's. native/vcpu.cc */

import * as take from '../kernel/arguments.ts';
import { isPage } from './address-space.ts';
import { EBADF, EBUSY, EFAULT } from './errno.ts';
import type { VcpuHost } from './kvm-host.ts';
import { PAGE_SIZE } from './page.ts';
import type { Process } from './process.ts';

export class VcpuCalls {
  readonly #process: Process;
  readonly #host: VcpuHost | undefined;
  /** Pinned page of each handle. */
  readonly #pages = new Map<number, number>();

  constructor(process: Process, host: VcpuHost | undefined) {
    this.#process = process;
    this.#host = host;
  }

  attach(givenFd: unknown, givenPage: unknown): number {
    const fd = take.int32(givenFd, 'fd');
    const runPage = take.u64(givenPage, 'runPage');
    const { space } = this.#process;
    const page = Number(runPage >> 12n);
    const vma = (runPage & 4095n) === 0n && page < space.endPage ? space.vmas.get(page) : undefined;
    if (vma === undefined) throw new RangeError('runPage must be the start of memory that is mapped');
    if (vma.file?.regular === true) {
      throw new RangeError("runPage must be mapped from the vCPU: a file's page could be truncated away under a kick");
    }
    if (space.hasPinned(page, page + 1)) return -EBUSY;
    if (!isPage(space.resolve(page, true))) return -EFAULT;
    if (this.#host === undefined) return -EBADF;
    const handle = this.#host.attach(fd, page * PAGE_SIZE);
    if (handle < 0) return handle;
    space.pin(page);
    this.#pages.set(handle, page);
    return handle;
  }

  run(vcpu: unknown, timeoutMs: unknown): number {
    const handle = take.int32(vcpu, 'vcpu');
    const limit = take.int32(timeoutMs, 'timeoutMs');
    return this.#of(handle)?.run(handle, limit) ?? -EBADF;
  }

  start(vcpu: unknown, done: (result: number) => void): number {
    const handle = take.int32(vcpu, 'vcpu');
    take.callback(done, 'done');
    return this.#of(handle)?.start(handle, done) ?? -EBADF;
  }

  kick(vcpu: unknown): number {
    const handle = take.int32(vcpu, 'vcpu');
    return this.#of(handle)?.kick(handle) ?? -EBADF;
  }

  detach(vcpu: unknown): number {
    const handle = take.int32(vcpu, 'vcpu');
    const result = this.#of(handle)?.detach(handle) ?? -EBADF;
    const page = this.#pages.get(handle);
    if (result < 0 || page === undefined) return result;
    this.#pages.delete(handle);
    this.#process.space.unpin(page);
    return result;
  }

  #of(handle: number): VcpuHost | undefined {
    return this.#pages.has(handle) ? this.#host : undefined;
  }
}
