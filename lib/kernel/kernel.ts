/**
 * The waist: the system calls that everything above is built from.
 *
 * Every call returns its value (zero or more) or a negated errno, as the system call instruction does, and throws only for what
 * cannot be expressed at all: TypeError for a wrong type, RangeError for a number out of the argument's range or for a host
 * address range that belongs to somebody else in this process. What a kernel may refuse is left to the kernel.
 *
 * Integers are taken as `number` or `bigint`. Fields that may exceed 2^53 come back in a BigInt64Array or BigUint64Array
 * handed in by the caller.
 */
export type Int = number | bigint;

/** A host virtual address (hva), in bytes. User addresses stay below 2^47 unless asked for, so a number holds them. */
export type Hva = Int;

/** Bytes placed in the kernel's argument as a pointer: at `offset` bytes into the struct goes the address of `view`. */
export type PointerPatch = readonly [offset: number, view: Uint8Array];

/** Bits of the `how` argument of {@link Kernel.ioctl}. */
export const IOCTL_MAKES_FD = 1;
/** The caller checked the buffer's length by the request's real rule (flexible array, misdeclared size). */
export const IOCTL_LENGTH_CHECKED = 2;

/** Places in the array that {@link Kernel.fstat} fills. */
export const STAT = { dev: 0, ino: 1, mode: 2, nlink: 3, size: 4, blksize: 5, blocks: 6, fsType: 7 } as const;
export const STAT_LENGTH = 8;

/** Places in the array that the fault-safe copies fill when they stop early; `signal` is 0 when they did not. */
export const FAULT = { signal: 0, code: 1, address: 2 } as const;
export const FAULT_LENGTH = 3;

/** Places in the array that {@link Kernel.cachestat} fills, all in pages. */
export const CACHESTAT = { cache: 0, dirty: 1, writeback: 2, evicted: 3, recentlyEvicted: 4 } as const;
export const CACHESTAT_LENGTH = 5;

export interface Kernel {
  /** Which kind of kernel this is. */
  readonly backend: 'kvm' | 'sim';
  /** Architecture of the guests that it runs. */
  readonly arch: 'x64' | 'arm64';
  /** Release as `uname -r` gives it. */
  readonly release: string;

  /** open(2), always with O_CLOEXEC. */
  open(path: string, flags: number, mode: number): number;
  /** close(2). A descriptor that is open but was not made here is refused with a RangeError. */
  close(fd: number): number;
  /** Takes over a descriptor made elsewhere: from now on it is close-on-exec and `close` accepts it. */
  adopt(fd: number): number;
  /**
   * fcntl(2) for commands with an integer argument: F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_SETLEASE, F_GETLEASE,
   * F_ADD_SEALS, F_GET_SEALS. That a lease is broken is told by SIGURG, which nobody dies of, in place of SIGIO.
   */
  fcntl(fd: number, command: number, arg: number): number;
  /**
   * ioctl(2). A Uint8Array goes in and comes back in place; its length must be the size that the request encodes, unless `how`
   * has IOCTL_LENGTH_CHECKED, which asks for at least that size. A number goes as it is when the request encodes no size;
   * when it encodes one, it is an address, and the range must not be memory that somebody else mapped in this process.
   */
  ioctl(fd: number, request: number, arg: Int | Uint8Array, how?: number, pointers?: readonly PointerPatch[]): number;
  /** memfd_create(2), always with MFD_CLOEXEC. The name must not contain NUL. */
  memfdCreate(name: string, flags: number): number;
  /** memfd_secret(2), always with O_CLOEXEC. */
  memfdSecret(flags: number): number;
  /** eventfd2(2), always with EFD_CLOEXEC. */
  eventfd(initial: number, flags: number): number;
  ftruncate(fd: number, length: Int): number;
  fchmod(fd: number, mode: number): number;
  /** fchown(2); 0xffffffff leaves an id as it is. */
  fchown(fd: number, uid: number, gid: number): number;
  fallocate(fd: number, mode: number, offset: Int, length: Int): number;
  /** fstat(2) and fstatfs(2) into `out` (STAT_LENGTH values, indexes in STAT). */
  fstat(fd: number, out: BigInt64Array): number;
  /** lseek(2). Returns 0 and puts the new offset, in bytes, into `out[0]`. */
  lseek(fd: number, offset: Int, whence: number, out: BigInt64Array): number;
  /** readlink(2): the bytes of the name, without a zero at the end; cut short where `into` is. /proc/self/fd/N says what N refers to. */
  readlink(path: string, into: Uint8Array): number;
  read(fd: number, into: Uint8Array): number;
  write(fd: number, from: Uint8Array): number;
  pread(fd: number, into: Uint8Array, offset: Int): number;
  pwrite(fd: number, from: Uint8Array, offset: Int): number;
  /** cachestat(2), into `out` (CACHESTAT_LENGTH values). ENOSYS before Linux 6.5. */
  cachestat(fd: number, offset: Int, length: Int, out: BigUint64Array): number;
  /** flock(2), LOCK bits. Without LOCK_NB it waits for as long as another open file holds a lock that conflicts. */
  flock(fd: number, operation: number): number;
  /** poll(2) of one descriptor, without waiting: the POLL bits that hold, of those asked for and of those that nobody need ask for. */
  poll(fd: number, events: number): number;
  fsync(fd: number): number;
  fdatasync(fd: number): number;
  /** sync_file_range(2), SYNC_FILE_RANGE bits. Length 0 means to the end. */
  syncFileRange(fd: number, offset: Int, length: Int, flags: number): number;
  /** posix_fadvise(2), advice POSIX_FADV. Length 0 means to the end. */
  fadvise(fd: number, offset: Int, length: Int, advice: number): number;
  readahead(fd: number, offset: Int, count: Int): number;
  /** pipe2(2), always with O_CLOEXEC: `out[0]` is the end to read from, `out[1]` the end to write to. */
  pipe(flags: number, out: BigInt64Array): number;
  /** splice(2) at the positions of the files: bytes moved. One side must be a pipe. */
  splice(fdIn: number, fdOut: number, length: Int, flags: number): number;
  /** sendfile(2) at the position of `inFd`: bytes copied. */
  sendfile(outFd: number, inFd: number, count: Int): number;
  /** copy_file_range(2) at the positions of the files: bytes copied. */
  copyFileRange(fdIn: number, fdOut: number, length: Int, flags: number): number;

  /** mmap(2). Returns the hva. MAP_FIXED onto memory that somebody else mapped is refused with a RangeError. */
  mmap(address: Hva, length: Int, prot: number, flags: number, fd: number, offset: Int): number;
  munmap(address: Hva, length: Int): number;
  mprotect(address: Hva, length: Int, prot: number): number;
  madvise(address: Hva, length: Int, advice: number): number;
  /** mincore(2): one byte per page in `vec`, bit 0 set when resident. `vec` must hold one byte for each page of the range. */
  mincore(address: Hva, length: Int, vec: Uint8Array): number;
  /** mlock2(2), MLOCK bits. */
  mlock(address: Hva, length: Int, flags: number): number;
  munlock(address: Hva, length: Int): number;
  /** msync(2), MS bits. */
  msync(address: Hva, length: Int, flags: number): number;
  /**
   * mbind(2): mode MPOL with its MPOL_F flags, flags MPOL_MF. `nodemask` has one bit for each node, lowest first, and counts in whole words
   * of 8 bytes; none at all is a null pointer.
   */
  mbind(address: Hva, length: Int, mode: number, nodemask: Uint8Array, flags: number): number;
  /** get_mempolicy(2), MPOL_F bits: `out[0]` becomes the mode (with MPOL_F_NODE the node), `nodemask` the nodes, as for `mbind`. */
  getMempolicy(out: BigInt64Array, nodemask: Uint8Array, address: Hva, flags: number): number;
  /**
   * vmsplice(2) of memory mapped here: its pages go into a pipe, or from the other end of a pipe bytes go into the memory. The kernel
   * pins the pages for it, as for direct I/O.
   */
  vmsplice(fd: number, address: Hva, length: Int, flags: number): number;
  /** process_vm_readv(2) of this process, memory mapped here: the kernel pins the pages, as a debugger or a device would have it. */
  processVmReadv(address: Hva, into: Uint8Array): number;
  processVmWritev(address: Hva, from: Uint8Array): number;

  /**
   * The fault-safe copies. They return the number of bytes done before the first byte that could not be reached, exact to the
   * byte, and fill `fault` (FAULT_LENGTH values): signal number, si_code, faulting hva. The process survives.
   */
  copyOut(address: Hva, into: Uint8Array, fault?: BigInt64Array): number;
  copyIn(address: Hva, from: Uint8Array, fault?: BigInt64Array): number;
  fill(address: Hva, length: Int, byte: number, fault?: BigInt64Array): number;
  /** Returns the index of the first byte that differs, or the length when none does. */
  compare(address: Hva, expected: Uint8Array, fault?: BigInt64Array): number;

  /**
   * Aliases `length` bytes at `address`, all inside one mapping made here, or gives a negated errno. The buffer is detached when any part
   * of the range is unmapped. Touching a page that cannot be reached kills the process: that is what the copies are for.
   */
  view(address: Hva, length: number): ArrayBuffer | number;

  /**
   * Ties a vCPU descriptor to its kvm_run page, mapped from it in the same environment (EBUSY otherwise, and when it is attached). Returns a
   * handle for the next four calls. The page cannot be unmapped until `vcpuDetach`.
   */
  vcpuAttach(fd: number, runPage: Hva): number;
  /**
   * KVM_RUN on the caller's thread. `timeoutMs` > 0 kicks the vCPU after that many milliseconds (-EINTR); 0 means no limit.
   * EBUSY while `vcpuStart` is under way.
   */
  vcpuRun(vcpu: number, timeoutMs: number): number;
  /** KVM_RUN on the vCPU's own thread, which is made at the first start; `done` gets 0 or a negated errno. EBUSY while one is under way. */
  vcpuStart(vcpu: number, done: (result: number) => void): number;
  /** Makes the run under way, or else the next one, return EINTR: sets immediate_exit and signals the thread. */
  vcpuKick(vcpu: number): number;
  /** Kicks, joins the thread, forgets the vCPU. A pending `done` still gets its result. */
  vcpuDetach(vcpu: number): number;
}
