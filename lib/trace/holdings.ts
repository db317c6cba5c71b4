/** What a replay holds in this process, so that all of it is given back, whatever the recording does or leaves out. */
import type { Kernel } from '../kernel/kernel.ts';
import { MAP, PROT } from '../uapi/mman.ts';
import { Intervals } from './intervals.ts';

const PAGE = 4096;
/** Page sizes, in bytes, that a mapping may have. */
const HUGE = [PAGE, 2 ** 21, 2 ** 30];
const USER_END = 2 ** 47;
/** Address space that a replay may take, in bytes: a third of what there is. */
const MOST_ADDRESS_SPACE = 2 ** 45;
/** Bytes of buffers behind pointers that one call may have. */
const SCRATCH = 2 ** 20;

const { MAP_ANONYMOUS, MAP_FIXED_NOREPLACE, MAP_NORESERVE, MAP_PRIVATE } = MAP.value;
const NOWHERE_FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

const pages = (length: number): number => Math.ceil(length / PAGE) * PAGE;

export class Holdings {
  readonly #kernel: Kernel;
  readonly #fds = new Set<number>();
  readonly #vcpus = new Set<number>();
  readonly #ranges = new Intervals<true>();
  /** Ranges that a VM was told of: nobody else may get them before the VM is gone. */
  readonly #inSlots = new Intervals<true>();
  /** Mapped by the replay for itself. */
  readonly #own: [address: number, length: number][] = [];
  #scratch: number | undefined;
  #nowhere: { readonly address: number; readonly length: number } | undefined;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  addFd(fd: number): void {
    this.#fds.add(fd);
  }

  dropFd(fd: number): void {
    this.#fds.delete(fd);
  }

  addVcpu(handle: number): void {
    this.#vcpus.add(handle);
  }

  dropVcpu(handle: number): void {
    this.#vcpus.delete(handle);
  }

  addRange(address: number, length: number): void {
    this.#ranges.set(address, address + pages(length), true);
  }

  /** After a munmap. A range that a VM knows is taken at once, inaccessible: the guest must not meet what this process puts there. */
  dropRange(address: number, length: number): void {
    const end = address + pages(length);
    this.#ranges.delete(address, end);
    if (this.#kernel.backend === 'sim' || !this.#inSlots.overlaps(address, end)) return;
    this.#reserve(address, end - address, MAP_FIXED_NOREPLACE);
  }

  /** Bytes of address space, with `more`. Undefined when that is not too much. */
  tooMuch(more: number): string | undefined {
    // The kernel itself refuses more than there is.
    if (more >= USER_END) return undefined;
    const held = this.#ranges.all().reduce((sum, { from, to }) => sum + to - from, more);
    return held <= MOST_ADDRESS_SPACE ? undefined : `a replay maps at most ${MOST_ADDRESS_SPACE / 2 ** 40} TiB`;
  }

  covers(address: number, length: number): boolean {
    return this.#ranges.covers(address, address + length);
  }

  holds(address: number): boolean {
    return this.#ranges.at(address) !== undefined;
  }

  addSlot(address: number, length: number): void {
    this.#inSlots.set(address, address + length, true);
  }

  #reserve(address: number, length: number, more = 0): number {
    const { PROT_NONE } = PROT.value;
    const got = this.#kernel.mmap(address, length, PROT_NONE, NOWHERE_FLAGS | more, -1, 0);
    if (got >= 0) this.#own.push([got, length]);
    return got;
  }

  /** An address of `length` bytes that nobody can reach, for one that had no mapping in the recording. Negated errno on failure. */
  nowhere(length: number): number {
    if (this.#nowhere === undefined || this.#nowhere.length < length) {
      const size = pages(Math.max(length, PAGE));
      const address = this.#reserve(0, size);
      if (address < 0) return address;
      this.#nowhere = { address, length: size };
    }
    return this.#nowhere.address;
  }

  /**
   * Memory for the buffers behind pointers, each of which ends at a page that cannot be reached: a request that writes more than the
   * recorded buffer holds meets EFAULT, and not this process's memory. Returns their addresses, or a negated errno.
   */
  lend(buffers: readonly Uint8Array[]): number[] | number {
    const room = buffers.reduce((sum, { length }) => sum + pages(Math.max(length, 1)) + PAGE, 0);
    const E2BIG = 7;
    if (room > SCRATCH) return -E2BIG;
    if (this.#scratch === undefined) {
      const { PROT_READ, PROT_WRITE } = PROT.value;
      const got = this.#kernel.mmap(0, SCRATCH, PROT_READ | PROT_WRITE, NOWHERE_FLAGS, -1, 0);
      if (got < 0) return got;
      this.#own.push([got, SCRATCH]);
      this.#scratch = got;
    }
    const { PROT_NONE, PROT_READ, PROT_WRITE } = PROT.value;
    this.#kernel.mprotect(this.#scratch, SCRATCH, PROT_READ | PROT_WRITE);
    let end = this.#scratch;
    return buffers.map((buffer) => {
      end += pages(Math.max(buffer.length, 1));
      const address = end - buffer.length;
      if (buffer.length > 0) this.#kernel.copyIn(address, buffer);
      this.#kernel.mprotect(end, PAGE, PROT_NONE);
      end += PAGE;
      return address;
    });
  }

  /** Gives everything back. Vcpus first, so that no guest runs while its memory goes. */
  close(): void {
    const kernel = this.#kernel;
    const quietly = (act: () => void): void => {
      try {
        act();
      } catch {
        // One that cannot be given back must not keep the others.
      }
    };
    for (const vcpu of this.#vcpus) quietly(() => kernel.vcpuDetach(vcpu));
    for (const fd of [...this.#fds].reverse()) {
      // One that a request made without a word of it is not known to the addon yet.
      quietly(() => kernel.adopt(fd));
      quietly(() => kernel.close(fd));
    }
    for (const { from, to } of [...this.#ranges.all()]) {
      // Mappings of huge pages go as a whole only.
      quietly(() => HUGE.some((size) => kernel.munmap(from, Math.ceil((to - from) / size) * size) >= 0));
      this.#ranges.delete(from, to);
    }
    for (const [address, length] of this.#own) quietly(() => kernel.munmap(address, length));
    this.#vcpus.clear();
    this.#fds.clear();
    this.#own.length = 0;
  }
}
