/**
 * A range of this process's address space: mapped once, unmapped once, touched without risk. Closing it while a memslot uses it ends the
 * host's access at once; the range itself goes with the slot.
 */
import { StateError } from '../kernel/errors.ts';
import { FAULT_LENGTH, type Int, type Kernel } from '../kernel/kernel.ts';
import { Owner } from '../kernel/owner.ts';
import type { Sys } from '../kernel/sys.ts';
import { MPOL_F } from '../uapi/mempolicy.ts';
import { MAP, PROT } from '../uapi/mman.ts';
import { throwOnFault } from './fault.ts';
import { MAX_NODES, type MemoryPolicy, nodemaskOf, nodesOf } from './nodes.ts';

/** Base page size of x86-64, and of arm64 kernels built with 4 KiB pages, in bytes. */
export const PAGE_SIZE = 4096;

export interface MapOptions {
  /** Offset into the file in bytes; a multiple of the page size. Default 0. */
  readonly offset?: Int;
  /** Bytes. Default: from `offset` to the end of the file. */
  readonly length?: Int;
  /** PROT bits. Default PROT_READ|PROT_WRITE. */
  readonly prot?: number;
  /** MAP bits. Default MAP_SHARED. */
  readonly flags?: number;
  /** Where to map, for MAP_FIXED and hints. Default 0: the kernel chooses. */
  readonly address?: Int;
}

/** Start and length of a part of a mapping, in bytes. Default: all of it. */
export interface Part {
  readonly offset?: number;
  readonly length?: number;
}

/**
 * Unmaps once nobody needs the range any more. A memslot is left with bare addresses when its mapping goes: the guest would read and write
 * whatever this process puts there next. So the range stays reserved until the last slot over it is deleted.
 */
class Range {
  readonly #kernel: Kernel;
  readonly #hva: number;
  readonly #length: number;
  #users = 1;
  #settled = false;

  constructor(kernel: Kernel, hva: number, length: number) {
    this.#kernel = kernel;
    this.#hva = hva;
    this.#length = length;
  }

  use(): void {
    this.#users++;
  }

  get shared(): boolean {
    return this.#users > 1;
  }

  /** The last user's munmap is done: `release` has nothing left to do. */
  settle(): void {
    this.#settled = true;
  }

  readonly release = (): void => {
    this.#users--;
    if (this.#users === 0 && !this.#settled) this.#kernel.munmap(this.#hva, this.#length);
  };
}

export class Mapping extends Owner {
  /** First byte, as a host virtual address. */
  readonly #hva: number;
  /** Bytes. */
  readonly length: number;
  readonly #range: Range;
  readonly #fault = new BigInt64Array(FAULT_LENGTH);

  private constructor(sys: Sys, hva: number, length: number) {
    const range = new Range(sys.kernel, hva, length);
    super(sys, undefined, `mapping of 0x${length.toString(16)} bytes at 0x${hva.toString(16)}`, range.release);
    this.#hva = hva;
    this.length = length;
    this.#range = range;
  }

  /** Not for users: keeps the range mapped, whatever happens to this object, until the function that it returns is called. */
  retain(): () => void {
    this.assertOpen();
    this.#range.use();
    return this.#range.release;
  }

  /** munmap(2). Like `close`, but a refusal is a KernelError, and a StateError says that a memslot still uses the range. */
  unmap(): void {
    if (this.#range.shared) throw new StateError(`${this} is still used by a memslot`);
    this.sys.munmap(this.hva, this.length);
    this.#range.settle();
    this.close();
  }

  /** mmap(2) of a descriptor. Throws KernelError: the errnos are the file's, see the classes that map. */
  static ofFile(sys: Sys, fd: number, length: Int, options: Omit<MapOptions, 'length'> = {}): Mapping {
    const { offset = 0, address = 0, prot = PROT.value.PROT_READ | PROT.value.PROT_WRITE } = options;
    const { flags = MAP.value.MAP_SHARED } = options;
    const hva = sys.mmap(address, length, prot, flags, fd, offset);
    return new Mapping(sys, hva, Number(length));
  }

  /** Anonymous memory, zeroed. `shared` memory can be seen by children that inherit it. ENOMEM when the limits say so. */
  static anonymous(sys: Sys, length: Int, options: { shared?: boolean; prot?: number; flags?: number } = {}): Mapping {
    const { shared = true, prot = PROT.value.PROT_READ | PROT.value.PROT_WRITE, flags = 0 } = options;
    const type = shared ? MAP.value.MAP_SHARED : MAP.value.MAP_PRIVATE;
    const hva = sys.mmap(0, length, prot, type | MAP.value.MAP_ANONYMOUS | flags, -1, 0);
    return new Mapping(sys, hva, Number(length));
  }

  /** Host virtual address of the first byte. DisposedError once unmapped. */
  get hva(): number {
    this.assertOpen();
    return this.#hva;
  }

  #at(offset: number, length: number): number {
    if (!Number.isSafeInteger(offset) || offset < 0)
      throw new RangeError(`offset must be an integer of at least 0, got ${offset}`);
    if (!Number.isSafeInteger(length) || length < 0)
      throw new RangeError(`length must be an integer of at least 0, got ${length}`);
    if (offset + length > this.length) {
      throw new RangeError(`offset ${offset} + length ${length} is beyond the mapping's ${this.length} bytes`);
    }
    return this.hva + offset;
  }

  /** Copies bytes out. MemoryFaultError where the host cannot reach them; `readInto` keeps what came before. */
  read(offset: number, length: number): Uint8Array {
    this.#at(offset, length);
    const into = new Uint8Array(length);
    this.readInto(offset, into);
    return into;
  }

  /** Copies into `into`. At a MemoryFaultError its first `fault.bytesDone` bytes are valid. */
  readInto(offset: number, into: Uint8Array): void {
    const done = this.sys.kernel.copyOut(this.#at(offset, into.length), into, this.#fault);
    throwOnFault(`read of ${into.length} bytes`, this.#fault, this.#hva, done);
  }

  /** Copies bytes in. MemoryFaultError: the first `fault.bytesDone` bytes were written. */
  write(offset: number, bytes: Uint8Array): void {
    const done = this.sys.kernel.copyIn(this.#at(offset, bytes.length), bytes, this.#fault);
    throwOnFault(`write of ${bytes.length} bytes`, this.#fault, this.#hva, done);
  }

  /** Sets `length` bytes (default: the rest) to `byte`. */
  fill(byte: number, { offset = 0, length = this.length - offset }: Part = {}): void {
    const done = this.sys.kernel.fill(this.#at(offset, length), length, byte, this.#fault);
    throwOnFault(`fill of ${length} bytes`, this.#fault, this.#hva, done);
  }

  /** Index of the first byte that differs from `expected`, counted from `offset`; undefined when none does. */
  firstDifference(offset: number, expected: Uint8Array): number | undefined {
    const done = this.sys.kernel.compare(this.#at(offset, expected.length), expected, this.#fault);
    throwOnFault(`comparison of ${expected.length} bytes`, this.#fault, this.#hva, done);
    return done < expected.length ? done : undefined;
  }

  /** The little-endian 64-bit word at `offset`. */
  readU64(offset: number): bigint {
    const bytes = this.read(offset, 8);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }

  writeU64(offset: number, value: Int): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
    this.write(offset, bytes);
  }

  /**
   * The memory itself, not a copy. Unsafe: touching a page that the host cannot reach (private, punched under MAP_PRIVATE, beyond the
   * end of the file) kills the process with SIGBUS or SIGSEGV. Detached when the mapping is closed.
   */
  unsafeView({ offset = 0, length = this.length - offset }: Part = {}): Uint8Array {
    // From a page on, so that every kernel can make it.
    const hva = this.#at(offset, length);
    const within = offset % PAGE_SIZE;
    return new Uint8Array(this.sys.view(hva - within, length + within), within, length);
  }

  /** mprotect(2). ENOMEM for a hole, EACCES beyond what the file's descriptor or seals allow. */
  protect(prot: number, { offset = 0, length = this.length - offset }: Part = {}): void {
    this.sys.mprotect(this.#at(offset, length), length, prot);
  }

  /** madvise(2). EINVAL for advice that the kernel or the file does not know, EACCES for MADV_REMOVE without write access. */
  advise(advice: number, { offset = 0, length = this.length - offset }: Part = {}): void {
    this.sys.madvise(this.#at(offset, length), length, advice);
  }

  /** mincore(2): for each page of the part, whether it is resident. */
  resident({ offset = 0, length = this.length - offset }: Part = {}): boolean[] {
    const vec = new Uint8Array(Math.ceil(length / PAGE_SIZE));
    this.sys.mincore(this.#at(offset, length), length, vec);
    return Array.from(vec, (byte) => (byte & 1) === 1);
  }

  /** mlock2(2), MLOCK bits. ENOMEM where no page can be had (private, beyond the end), and over RLIMIT_MEMLOCK. */
  lock(flags = 0, { offset = 0, length = this.length - offset }: Part = {}): void {
    this.sys.mlock(this.#at(offset, length), length, flags);
  }

  /** munlock(2). */
  unlock({ offset = 0, length = this.length - offset }: Part = {}): void {
    this.sys.munlock(this.#at(offset, length), length);
  }

  /** msync(2), MS bits. EINVAL with MS_SYNC on files without write-back (guest_memfd, memfd_secret), EBUSY for MS_INVALIDATE of locked pages. */
  sync(flags: number, { offset = 0, length = this.length - offset }: Part = {}): void {
    this.sys.msync(this.#at(offset, length), length, flags);
  }

  /**
   * mbind(2): on which NUMA nodes pages are allocated. `mode` MPOL with its MPOL_F flags, `flags` MPOL_MF. EINVAL for a mode or set of nodes
   * that the kernel does not take, EIO when pages that are there already lie elsewhere (MPOL_MF_STRICT), ENOSYS without CONFIG_NUMA.
   */
  bindPolicy(mode: number, nodes: readonly number[] = [], flags = 0, part: Part = {}): void {
    const { offset = 0, length = this.length - offset } = part;
    this.sys.mbind(this.#at(offset, length), length, mode, nodemaskOf(nodes), flags);
  }

  /** get_mempolicy(2) with MPOL_F_ADDR: the policy at `offset`. ENOSYS without CONFIG_NUMA. */
  policy(offset = 0): MemoryPolicy {
    const nodemask = new Uint8Array(MAX_NODES / 8);
    const mode = this.sys.getMempolicy(this.#at(offset, 1), MPOL_F.value.MPOL_F_ADDR, nodemask);
    return { mode, nodes: nodesOf(nodemask) };
  }

  /** get_mempolicy(2) with MPOL_F_NODE|MPOL_F_ADDR: the NUMA node that the page at `offset` lies on; it is read, and so allocated, for that. */
  nodeAt(offset = 0): number {
    return this.sys.getMempolicy(this.#at(offset, 1), MPOL_F.value.MPOL_F_ADDR | MPOL_F.value.MPOL_F_NODE);
  }

  /**
   * process_vm_readv(2) of this process: reads as a debugger or a device would, by pinning the pages. Bytes read, which end at the first page
   * that cannot be pinned; EFAULT when that is the first of all: private pages, and every page of memfd_secret.
   */
  readPinned(offset: number, into: Uint8Array): number {
    return this.sys.processVmReadv(this.#at(offset, into.length), into);
  }

  /** process_vm_writev(2) of this process, as readPinned. */
  writePinned(offset: number, from: Uint8Array): number {
    return this.sys.processVmWritev(this.#at(offset, from.length), from);
  }
}
