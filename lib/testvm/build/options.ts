/**
 * The configuration of test kernels, as fragments in Kconfig's own form without the prefix: `NAME` is y, `-NAME` is off, `NAME=value` is that.
 * They are added to tinyconfig. A release that lacks an option drops it; the builder says which. The same kernel is host and guest: it has what a
 * machine of lib/machine offers (PVH entry, virtio-mmio, a disk's file system, a clock).
 */
import type { TestArch } from '../words.ts';

/** Without these no command can be run in the kernel. */
const REQUIRED = `
  PRINTK TTY BINFMT_ELF BINFMT_SCRIPT BLK_DEV_INITRD DEVTMPFS PROC_FS SYSFS TMPFS SHMEM FUTEX EPOLL
  NET PCI VIRTIO_MENU VIRTIO_PCI VIRTIO_CONSOLE NETWORK_FILESYSTEMS NET_9P NET_9P_VIRTIO 9P_FS OVERLAY_FS
  VIRTUALIZATION KVM
`;

const COMMON = `
  EXPERT MULTIUSER SMP HIGH_RES_TIMERS NO_HZ_IDLE POSIX_TIMERS BUG DEBUG_BUGVERBOSE KALLSYMS PRINTK_TIME
  -SLUB_TINY -LD_DEAD_CODE_DATA_ELIMINATION -CC_OPTIMIZE_FOR_SIZE CC_OPTIMIZE_FOR_PERFORMANCE
  RD_GZIP TMPFS_XATTR TMPFS_POSIX_ACL UNIX INET UNIX98_PTYS SYSVIPC POSIX_MQUEUE INOTIFY_USER FILE_LOCKING FHANDLE
  EVENTFD SIGNALFD TIMERFD AIO IO_URING ADVISE_SYSCALLS MEMBARRIER RSEQ KCMP SYSCTL PROC_SYSCTL PROC_PAGE_MONITOR CACHESTAT_SYSCALL
  MEMFD_CREATE SECRETMEM USERFAULTFD CROSS_MEMORY_ATTACH HUGETLBFS TRANSPARENT_HUGEPAGE TRANSPARENT_HUGEPAGE_MADVISE
  COMPACTION MIGRATION KSM MEMORY_FAILURE HWPOISON_INJECT NUMA NUMA_EMU
  IKCONFIG IKCONFIG_PROC MAGIC_SYSRQ DEBUG_KERNEL DEBUG_FS RUNTIME_TESTING_MENU LKDTM
  DETECT_HUNG_TASK SOFTLOCKUP_DETECTOR WQ_WATCHDOG
`;

/** On by default, and nothing that a test of memory needs: off, for a shorter build and a shorter boot. */
const SPARED = `
  -VT -INPUT -SERIO -LEGACY_PTYS -HWMON -THERMAL -CPU_FREQ -VGA_ARB -IPV6 -WIRELESS -ETHTOOL_NETLINK -INET_DIAG
  -RD_BZIP2 -RD_LZMA -RD_XZ -RD_LZO -RD_LZ4 -RD_ZSTD
`;

const ARCH: Readonly<Record<TestArch, { readonly required: string; readonly more: string }>> = {
  x64: {
    required: '64BIT SERIAL_8250 SERIAL_8250_CONSOLE KVM_AMD',
    more: `
      X86_64_ACPI_NUMA ACPI ACPI_NUMA X86_LOCAL_APIC X86_MSR X86_CPUID EARLY_PRINTK -RANDOMIZE_BASE -UNWINDER_ORC UNWINDER_FRAME_POINTER
      PVH BLOCK BLK_DEV VIRTIO_MMIO VIRTIO_MMIO_CMDLINE_DEVICES VIRTIO_BLK EXT2_FS RTC_CLASS RTC_DRV_CMOS
      -KERNEL_XZ KERNEL_GZIP SERIAL_8250_NR_UARTS=1 SERIAL_8250_RUNTIME_UARTS=1 CPU_SUP_AMD CPU_SUP_INTEL HYPERVISOR_GUEST PARAVIRT KVM_GUEST
      KVM_INTEL KVM_SW_PROTECTED_VM KVM_SMM KVM_HYPERV X86_MCE
      -INTEL_MEI -MICROCODE -ACPI_AC -ACPI_BATTERY -ACPI_FAN -ACPI_THERMAL -PERF_EVENTS_INTEL_UNCORE -PERF_EVENTS_INTEL_RAPL
      -PERF_EVENTS_INTEL_CSTATE
    `,
  },
  arm64: {
    required: 'SERIAL_AMBA_PL011 SERIAL_AMBA_PL011_CONSOLE PCI_HOST_GENERIC',
    more: 'ARM64_4K_PAGES ARM64_VA_BITS_48 -RANDOMIZE_BASE VIRTIO_MMIO RTC_CLASS RTC_DRV_PL031',
  },
};

export const DEBUG_FLAGS = {
  lockdep: 'PROVE_LOCKING DEBUG_LOCK_ALLOC DEBUG_ATOMIC_SLEEP PROVE_RCU DEBUG_RWSEMS DEBUG_MUTEXES DEBUG_SPINLOCK',
  kasan: 'KASAN KASAN_GENERIC KASAN_INLINE KASAN_VMALLOC STACKTRACE SLUB_DEBUG',
  ubsan: 'UBSAN UBSAN_BOUNDS UBSAN_SHIFT',
  vm: 'DEBUG_VM DEBUG_VM_PGFLAGS DEBUG_LIST PAGE_TABLE_CHECK DEBUG_PAGEALLOC PAGE_POISONING SLUB_DEBUG SLUB_DEBUG_ON',
  kmemleak: 'DEBUG_KMEMLEAK',
  kvm: 'KVM_PROVE_MMU KVM_PROVE_LOCKING',
  kcov: 'KCOV KCOV_ENABLE_COMPARISONS',
} as const;
export type DebugFlag = keyof typeof DEBUG_FLAGS;

/** Option by name, without `CONFIG_`, and its value as a .config has it; `n` when it is off. */
export type ConfigMap = Map<string, string>;

function parseWords(text: string): ConfigMap {
  const map: ConfigMap = new Map();
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const [name = '', value = 'y'] = word.split('=');
    if (name.startsWith('-')) map.set(name.slice(1), 'n');
    else map.set(name, value);
  }
  return map;
}

export const requiredOptions = (arch: TestArch): ConfigMap => parseWords(`${REQUIRED} ${ARCH[arch].required}`);

export function ourOptions(arch: TestArch, debug: readonly DebugFlag[]): ConfigMap {
  const flags = debug.map((flag) => DEBUG_FLAGS[flag]).join(' ');
  return parseWords(`${COMMON} ${SPARED} ${REQUIRED} ${ARCH[arch].required} ${ARCH[arch].more} ${flags}`);
}

/** A .config or a fragment of one. RangeError for a line that is neither an option nor a comment. */
export function parseConfig(text: string, what: string): ConfigMap {
  const map: ConfigMap = new Map();
  text.split('\n').forEach((line, index) => {
    const off = /^# CONFIG_(\w+) is not set$/.exec(line.trim());
    const set = /^CONFIG_(\w+)=(.*)$/.exec(line.trim());
    if (off?.[1] !== undefined) map.set(off[1], 'n');
    else if (set?.[1] !== undefined) map.set(set[1], set[2] ?? '');
    else if (line.trim() !== '' && !line.trim().startsWith('#')) {
      throw new RangeError(`${what}:${index + 1}: neither CONFIG_NAME=value nor a comment: ${line.trim()}`);
    }
  });
  return map;
}

export function formatConfig(map: ConfigMap): string {
  return [...map]
    .map(([name, value]) => (value === 'n' ? `# CONFIG_${name} is not set\n` : `CONFIG_${name}=${value}\n`))
    .join('');
}

/** What was asked for and is not so in the end: `NAME: asked for y, is n`. */
export function differences(wanted: ConfigMap, final: ConfigMap): string[] {
  return [...wanted]
    .filter(([name, value]) => (final.get(name) ?? 'n') !== value)
    .map(([name, value]) => `CONFIG_${name}: asked for ${value}, is ${final.get(name) ?? 'n'}`);
}
