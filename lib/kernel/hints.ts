/**
 * What usually causes an errno of a call, and the next step. A hint explains the kernel's verdict; it never replaces it. Every row was
 * seen on a real kernel or follows from the kernel's source as cited.
 */
import type { CallName } from './calls.ts';

export interface HintContext {
  readonly call: CallName;
  /** Name of the ioctl request, if it is one. */
  readonly request: string | undefined;
  readonly code: string;
  readonly args: readonly unknown[];
  /** The decoded argument struct of an ioctl, where it has one. */
  readonly struct: Readonly<Record<string, unknown>> | undefined;
}

interface Row {
  /** Name of the ioctl request, or of the call of the waist. */
  readonly of: string;
  readonly code: string;
  readonly when?: (context: HintContext) => boolean;
  readonly hint: string;
}

const PAGE = 4096n;
const FALLOC_FL_PUNCH_HOLE = 2n;
const KVM_MEM_GUEST_MEMFD = 4n;
/** The kernel takes sizes as signed. */
const S64_MAX = (1n << 63n) - 1n;
const MAP_TYPE = 0xfn;
const MAP_SHARED = 1n;

const F_SETLEASE = 1024n;
const KVM_CAP_EXIT_HYPERCALL = 201n;
const SEALED =
  'the registers of a protected guest are sealed: SEV-ES and SEV-SNP by the launch, TDX from the beginning';
/** Any VM or vCPU request may end so; kept apart because it says nothing about the arguments. */
const DEAD_VM =
  'the VM was created by another process (a fork cannot use it), or KVM declared it dead: then the kernel log says why';
const PINNED =
  'the first page cannot be pinned: not mapped, without the right, private, beyond the end of the file, or of memfd_secret';

const isInt = (value: unknown): value is number | bigint => typeof value === 'number' || typeof value === 'bigint';
const big = (value: unknown): bigint => (isInt(value) ? BigInt(value) : 0n);
const unaligned = (value: unknown): boolean => big(value) % PAGE !== 0n;

const ROWS: readonly Row[] = [
  {
    of: 'KVM_CREATE_GUEST_MEMFD',
    code: 'EINVAL',
    when: ({ struct }) => unaligned(struct?.size) || big(struct?.size) === 0n || big(struct?.size) > S64_MAX,
    hint: 'the size must be a positive multiple of the page size (4096 bytes)',
  },
  {
    of: 'KVM_CREATE_GUEST_MEMFD',
    code: 'EINVAL',
    hint: 'a flag bit is outside what this VM offers: ask KVM_CHECK_EXTENSION(KVM_CAP_GUEST_MEMFD_FLAGS) on the VM descriptor (0 before Linux 6.18: only flags 0)',
  },
  {
    of: 'KVM_CREATE_GUEST_MEMFD',
    code: 'ENOTTY',
    hint: 'this kernel has no guest_memfd: it needs Linux 6.8 with CONFIG_KVM_GUEST_MEMFD',
  },
  {
    of: 'KVM_SET_MEMORY_ATTRIBUTES',
    code: 'ENOTTY',
    hint: 'this kernel has no memory attributes: it needs one of CONFIG_KVM_SW_PROTECTED_VM, SEV-SNP or TDX; a test kernel can be built with the first',
  },
  {
    of: 'KVM_SET_MEMORY_ATTRIBUTES',
    code: 'EINVAL',
    when: ({ struct }) => unaligned(struct?.address) || unaligned(struct?.size) || big(struct?.size) === 0n,
    hint: 'address and size must be multiples of the page size, and the size not zero',
  },
  {
    of: 'KVM_SET_MEMORY_ATTRIBUTES',
    code: 'EINVAL',
    hint: 'the VM does not support the attribute: ask KVM_CHECK_EXTENSION(KVM_CAP_MEMORY_ATTRIBUTES) on the VM descriptor; a default VM has no private memory',
  },
  {
    of: 'KVM_SET_USER_MEMORY_REGION2',
    code: 'EEXIST',
    hint: 'the gpa range overlaps another slot, or (Linux 7.2 and newer) this range of the guest_memfd is bound already',
  },
  {
    of: 'KVM_SET_USER_MEMORY_REGION',
    code: 'EEXIST',
    hint: 'the gpa range overlaps another slot of the same address space',
  },
  {
    of: 'KVM_SET_USER_MEMORY_REGION2',
    code: 'EBADF',
    when: ({ struct }) => (big(struct?.flags) & KVM_MEM_GUEST_MEMFD) !== 0n,
    hint: 'guest_memfd is not an open descriptor',
  },
  {
    of: 'KVM_SET_USER_MEMORY_REGION2',
    code: 'EINVAL',
    when: ({ struct }) =>
      unaligned(struct?.guest_phys_addr) ||
      unaligned(struct?.memory_size) ||
      unaligned(struct?.userspace_addr) ||
      unaligned(struct?.guest_memfd_offset),
    hint: 'guest_phys_addr, memory_size, userspace_addr and guest_memfd_offset must be multiples of the page size',
  },
  {
    of: 'KVM_SET_USER_MEMORY_REGION2',
    code: 'EINVAL',
    when: ({ struct }) => (big(struct?.flags) & KVM_MEM_GUEST_MEMFD) !== 0n,
    hint:
      'a slot with a guest_memfd can only be deleted, never changed; the file must belong to this VM and hold the whole range; ' +
      'before Linux 6.18 it needs a VM with private memory; before 7.2 a range bound already gives this errno too',
  },
  {
    of: 'KVM_SET_USER_MEMORY_REGION2',
    code: 'ENOTTY',
    hint: 'this kernel has only KVM_SET_USER_MEMORY_REGION: the second version came with Linux 6.8',
  },
  {
    of: 'KVM_CREATE_VM',
    code: 'EINVAL',
    hint: 'the VM type is not offered: ask KVM_CHECK_EXTENSION(KVM_CAP_VM_TYPES) for the mask of types',
  },
  {
    of: 'KVM_PRE_FAULT_MEMORY',
    code: 'EOPNOTSUPP',
    hint: 'pre-faulting needs two-dimensional paging, and on SNP and TDX a finished launch',
  },
  {
    of: 'KVM_PRE_FAULT_MEMORY',
    code: 'ENOENT',
    hint: 'no memslot covers the first remaining page',
  },
  {
    of: 'fallocate',
    code: 'EOPNOTSUPP',
    when: ({ args }) => (big(args[1]) & ~FALLOC_FL_PUNCH_HOLE) === 0n,
    hint: 'FALLOC_FL_KEEP_SIZE is missing: PUNCH_HOLE always needs it, and a guest_memfd, whose size is fixed, for allocation too',
  },
  {
    of: 'fallocate',
    code: 'EOPNOTSUPP',
    hint: 'only plain allocation and PUNCH_HOLE|KEEP_SIZE are known to memfd and guest_memfd; memfd_secret knows none',
  },
  {
    of: 'fallocate',
    code: 'EINVAL',
    when: ({ args }) => unaligned(args[2]) || unaligned(args[3]),
    hint: 'on a guest_memfd offset and length must be multiples of the page size, and the length not zero',
  },
  {
    of: 'fallocate',
    code: 'EINVAL',
    hint: 'a guest_memfd cannot be allocated past its size (punching there succeeds), and the length must not be zero',
  },
  {
    of: 'fallocate',
    code: 'EPERM',
    hint: 'a seal forbids it: WRITE and FUTURE_WRITE forbid punching, GROW forbids allocation past the size',
  },
  {
    of: 'mmap',
    code: 'ENODEV',
    hint: 'this file cannot be mapped: a guest_memfd needs GUEST_MEMFD_FLAG_MMAP (Linux 6.18) at creation',
  },
  {
    of: 'mmap',
    code: 'EINVAL',
    when: ({ args }) => (big(args[3]) & MAP_TYPE) !== MAP_SHARED,
    hint: 'a guest_memfd or memfd_secret maps only with MAP_SHARED',
  },
  {
    of: 'mmap',
    code: 'EPERM',
    hint: 'a seal forbids a writable shared mapping, or the file cannot be executed',
  },
  { of: 'ftruncate', code: 'EPERM', hint: 'a seal (SHRINK, GROW) forbids the change of size' },
  {
    of: 'ftruncate',
    code: 'EINVAL',
    hint: 'a guest_memfd keeps the size it was created with; memfd_secret takes its size once',
  },
  {
    of: 'pread',
    code: 'ESPIPE',
    hint: 'guest_memfd and memfd_secret have no file position: read them through a mapping',
  },
  {
    of: 'pwrite',
    code: 'ESPIPE',
    hint: 'guest_memfd and memfd_secret have no file position: write them through a mapping',
  },
  { of: 'read', code: 'EINVAL', hint: 'guest_memfd and memfd_secret cannot be read; shared pages can be mapped' },
  { of: 'write', code: 'EINVAL', hint: 'guest_memfd and memfd_secret cannot be written; shared pages can be mapped' },
  {
    of: 'fcntl',
    code: 'EPERM',
    hint: 'the file is sealed against further seals; a memfd needs MFD_ALLOW_SEALING at creation',
  },
  { of: 'fcntl', code: 'EBUSY', hint: 'F_SEAL_WRITE needs every shared mapping that could be written to be gone' },
  {
    of: 'memfdSecret',
    code: 'ENOSYS',
    hint: 'memfd_secret is off: boot with secretmem.enable=1 (on by default since Linux 6.5)',
  },
  { of: 'cachestat', code: 'ENOSYS', hint: 'cachestat needs Linux 6.5' },
  {
    of: 'mlock',
    code: 'ENOMEM',
    hint: 'a hole in the range, pages that cannot be had (private, beyond the end of the file, memfd_secret), or RLIMIT_MEMLOCK',
  },
  { of: 'msync', code: 'EINVAL', hint: 'with MS_SYNC: guest_memfd and memfd_secret have no write-back' },
  { of: 'msync', code: 'EBUSY', hint: 'MS_INVALIDATE of locked pages: unlock them first' },
  { of: 'mbind', code: 'ENOSYS', hint: 'this kernel was built without CONFIG_NUMA' },
  { of: 'getMempolicy', code: 'ENOSYS', hint: 'this kernel was built without CONFIG_NUMA' },
  {
    of: 'mbind',
    code: 'EINVAL',
    hint: 'a mode that this kernel does not know, or a set of nodes that the mode does not take: BIND and INTERLEAVE need a node with memory, DEFAULT and LOCAL none',
  },
  {
    of: 'mbind',
    code: 'EIO',
    hint: 'MPOL_MF_STRICT: pages that are there already lie on other nodes and cannot move; those of a guest_memfd never do',
  },
  { of: 'processVmReadv', code: 'EFAULT', hint: PINNED },
  { of: 'processVmWritev', code: 'EFAULT', hint: PINNED },
  { of: 'vmsplice', code: 'EFAULT', hint: PINNED },
  { of: 'vmsplice', code: 'EBADF', hint: 'the descriptor must be an end of a pipe' },
  {
    of: 'splice',
    code: 'EINVAL',
    hint: 'one side must be a pipe, the other a file that can be spliced, not opened with O_APPEND; guest_memfd and memfd_secret cannot',
  },
  {
    of: 'sendfile',
    code: 'EINVAL',
    hint: 'guest_memfd and memfd_secret cannot be read from; the target must not be open with O_APPEND',
  },
  {
    of: 'copyFileRange',
    code: 'EINVAL',
    hint: 'both must be regular files with different ranges; guest_memfd and memfd_secret cannot be read from',
  },
  { of: 'copyFileRange', code: 'EXDEV', hint: 'the files are of different file systems: use sendfile' },
  { of: 'flock', code: 'EAGAIN', hint: 'another open file of the same memory holds a lock that conflicts' },
  { of: 'fsync', code: 'EINVAL', hint: 'guest_memfd and memfd_secret have no write-back' },
  { of: 'fdatasync', code: 'EINVAL', hint: 'guest_memfd and memfd_secret have no write-back' },
  { of: 'fchown', code: 'EINVAL', hint: 'the owner of a guest_memfd cannot be changed' },
  {
    of: 'fcntl',
    code: 'EAGAIN',
    when: ({ args }) => big(args[1]) === F_SETLEASE,
    hint: 'somebody has the file open in a way that conflicts with the lease, or there is no lease to give up',
  },
  {
    of: 'fcntl',
    code: 'EINVAL',
    when: ({ args }) => big(args[1]) === F_SETLEASE,
    hint: 'no such kind of lease, or not for this file: since Linux 7.0 of memory files only memfd can have one',
  },
  {
    of: 'KVM_RUN',
    code: 'EFAULT',
    hint: "with exit reason MEMORY_FAULT the guest touched memory whose backing must change first; with UNKNOWN the slot's userspace_addr cannot be reached",
  },
  {
    of: 'KVM_RUN',
    code: 'EINVAL',
    hint: 'a protected guest runs only when its launch is complete: SEV and SEV-ES KVM_SEV_INIT2, SEV-SNP KVM_SEV_SNP_LAUNCH_FINISH, TDX KVM_TDX_INIT_VCPU and KVM_TDX_FINALIZE_VM',
  },
  {
    of: 'KVM_RUN',
    code: 'EIO',
    hint: `${DEAD_VM}; arm64: memory of a protected guest must be anonymous or a memfd, since pages of a guest_memfd or of other files cannot be given to it`,
  },
  { of: 'KVM_CREATE_VCPU', code: 'EIO', hint: `a trust domain has vCPUs only after KVM_TDX_INIT_VM; else: ${DEAD_VM}` },
  { of: 'KVM_GET_REGS', code: 'EINVAL', hint: SEALED },
  { of: 'KVM_SET_REGS', code: 'EINVAL', hint: SEALED },
  {
    of: 'KVM_SET_USER_MEMORY_REGION',
    code: 'EPERM',
    hint: 'a protected VM of pKVM has no read-only and no logged slots, and from its first KVM_RUN on none can be moved or deleted',
  },
  {
    of: 'KVM_MEMORY_ENCRYPT_UNREG_REGION',
    code: 'EINVAL',
    hint: 'address and size must be exactly those of a region that was registered',
  },
  {
    of: 'KVM_ENABLE_CAP',
    code: 'EINVAL',
    when: ({ struct }) => big(struct?.cap) === KVM_CAP_EXIT_HYPERCALL,
    hint: 'KVM hands out KVM_HC_MAP_GPA_RANGE alone: 1 << 12, or 0 for nothing',
  },
  { of: 'KVM_RUN', code: 'ENOEXEC', hint: 'the vCPU is not initialised (arm64: KVM_ARM_VCPU_INIT)' },
  { of: 'open', code: 'EACCES', hint: 'no right to it: for /dev/kvm join its group (often kvm) or run as root' },
  {
    of: 'open',
    code: 'ENOENT',
    hint: 'for /dev/kvm: load the module (kvm_intel, kvm_amd), and enable virtualisation in the firmware or the outer hypervisor',
  },
];

export function hintFor(context: HintContext): string | undefined {
  const key = context.request ?? context.call;
  const row = ROWS.find(
    (candidate) => candidate.of === key && candidate.code === context.code && (candidate.when?.(context) ?? true),
  );
  if (row !== undefined) return row.hint;
  return context.call === 'ioctl' && context.code === 'EIO' ? DEAD_VM : undefined;
}
