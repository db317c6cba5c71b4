/** What differs between releases and machines, each fact under a name of its own. Releases that it came with: see each field. */

import { PATCH_BASE, type SimPatch } from './patches/names.ts';

export type SimArch = 'x64' | 'arm64';
export type SimRelease = '6.1' | '6.8' | '6.12' | '6.18' | '7.3';

export interface Profile {
  readonly arch: SimArch;
  readonly release: SimRelease;
  /** What `uname -r` says. */
  readonly uname: string;

  /** MFD_EXEC, MFD_NOEXEC_SEAL, F_SEAL_EXEC and vm.memfd_noexec: 6.3. */
  readonly memfdExec: boolean;
  /** The WRITE seal that F_SEAL_EXEC implies is refused like one asked for (EBUSY): 7.1, and the long-term series that got the fix. */
  readonly execSealJudged: boolean;
  /** cachestat(2): 6.5. */
  readonly cachestat: boolean;
  /** memfd_secret(2) without a boot parameter: 6.5. */
  readonly memfdSecret: boolean;
  /** Mappings of secret memory count as locked memory; charged page by page since some release up to 7.3. */
  readonly secretmemLocked: boolean;
  /** FALLOC_FL_WRITE_ZEROES is a known mode: 6.17. */
  readonly writeZeroes: boolean;
  /** A write-sealed memfd can be mapped shared for reading through a writable descriptor: 6.7. */
  readonly sealedReadMaps: boolean;
  /** Writes to a memfd go in chunks of up to 2 MiB, not page by page: some release after 6.18, up to 7.3. */
  readonly largeWrites: boolean;
  /** O_DIRECT on tmpfs: 6.6. */
  readonly tmpfsDirect: boolean;
  /** A write to a memfd first looks whether the caller's bytes can be read, before it looks at seals and makes the page: up to 6.14. */
  readonly prefaultsWrites: boolean;
  /** A write to an eventfd has exactly 8 bytes, not at least 8: 6.9. */
  readonly eventfdExact: boolean;
  /** CONFIG_KSM: without it the advice about mergeable pages is unknown. */
  readonly ksm: boolean;
  /** CONFIG_SWAP: without it MADV_WILLNEED is not for anonymous memory. */
  readonly swap: boolean;
  /** MAP_DROPPABLE: 6.11. */
  readonly droppable: boolean;
  /** MADV_GUARD_INSTALL: 6.13 for anonymous memory, 6.15 for files too. */
  readonly guards: 'none' | 'anonymous' | 'all';

  /** posix_fadvise and readahead refuse a negative offset: some release after 6.18, up to 7.3. */
  readonly adviceChecksOffset: boolean;
  /** MPOL_WEIGHTED_INTERLEAVE: 6.9. */
  readonly weightedInterleave: boolean;
  /** MPOL_F_NUMA_BALANCING also with MPOL_PREFERRED_MANY: 6.10. */
  readonly balancedPreferredMany: boolean;
  /** Leases on every regular file; since 7.0 only where the file system has the operation, of memory files tmpfs alone. */
  readonly leasesEverywhere: boolean;

  /** KVM_CREATE_GUEST_MEMFD, memory attributes, KVM_SET_USER_MEMORY_REGION2: 6.8. */
  readonly guestMemfd: boolean;
  /** readahead refuses files of anonymous inodes, which a guest_memfd's is, regular as it says it is: 6.16. */
  readonly anonymousReadahead: boolean;
  /** GUEST_MEMFD_FLAG_MMAP and INIT_SHARED, and slots with a guest_memfd in VMs without private memory: 6.18. */
  readonly guestMemfdMmap: boolean;
  /** guest_memfd sits on a file system of its own: 6.19. */
  readonly guestMemfdOwnFs: boolean;
  /** Policies of mbind are kept in the guest_memfd, not in the mapping: 6.19. */
  readonly guestMemfdPolicy: boolean;
  /** errno for a range of a guest_memfd that is bound already: EEXIST since 7.2. */
  readonly bindingOverlap: 'EINVAL' | 'EEXIST';
  /** offset + size of a binding is compared unsigned, so that offsets near 2^63 are refused: 7.2, and 6.12.114. */
  readonly bindingUnsigned: boolean;
  /** KVM_PRE_FAULT_MEMORY: 6.11. */
  readonly preFault: boolean;
  /** It takes a new root of the page tables when the deletion of a slot made the old one obsolete: 6.16. Before, it tried again for ever. */
  readonly preFaultReloads: boolean;
  /** KVM_HC_MAP_GPA_RANGE asks userspace also when a 32-bit guest left bits in the upper half of rax: 6.14. */
  readonly hypercallNumberCut: boolean;
  /** What was applied on top of the release. */
  readonly patches: ReadonlySet<SimPatch>;
}

export const SIM_ARCHES: readonly SimArch[] = ['x64', 'arm64'];
export const SIM_RELEASES: readonly SimRelease[] = ['6.1', '6.8', '6.12', '6.18', '7.3'];
const UNAME: Readonly<Record<SimRelease, string>> = {
  '6.1': '6.1.0',
  '6.8': '6.8.0',
  '6.12': '6.12.117',
  '6.18': '6.18.0',
  '7.3': '7.3.4',
};

const order = (text: string): number => {
  const [major = 0, minor = 0] = text.split('.').map((part) => Number.parseInt(part, 10));
  return major * 1000 + minor;
};

/** Whether `release` is `first` or newer. */
export const sinceRelease = (release: string, first: string): boolean => order(release) >= order(first);

/** The newest profile that is not newer than `uname` (as `uname -r` gives it); the oldest for anything older. */
export function nearestRelease(uname: string): SimRelease {
  return SIM_RELEASES.findLast((release) => order(release) <= order(uname)) ?? '6.1';
}

/** RangeError for patches that are not for this release. */
export function profileOf(release: SimRelease, arch: SimArch = 'x64', patches: readonly SimPatch[] = []): Profile {
  for (const patch of patches) {
    if (PATCH_BASE[patch] === release) continue;
    throw new RangeError(
      `the patch ${patch} is for Linux ${PATCH_BASE[patch]}, not ${release}: its numbers mean something else there`,
    );
  }
  const since = (first: string): boolean => sinceRelease(release, first);
  const guards = since('6.15') ? 'all' : since('6.13') ? 'anonymous' : 'none';
  return {
    arch,
    release,
    uname: UNAME[release],
    memfdExec: since('6.3'),
    execSealJudged: since('6.12'),
    cachestat: since('6.5'),
    memfdSecret: since('6.5'),
    secretmemLocked: !since('7.3'),
    writeZeroes: since('6.17'),
    sealedReadMaps: since('6.7'),
    tmpfsDirect: since('6.6'),
    prefaultsWrites: !since('6.15'),
    eventfdExact: since('6.9'),
    ksm: true,
    swap: true,
    droppable: since('6.11'),
    guards,
    adviceChecksOffset: since('7.3'),
    largeWrites: since('7.3'),
    weightedInterleave: since('6.9'),
    balancedPreferredMany: since('6.10'),
    leasesEverywhere: !since('7.0'),
    guestMemfdPolicy: since('6.19'),
    guestMemfd: since('6.8'),
    anonymousReadahead: !since('6.16'),
    guestMemfdMmap: since('6.18'),
    guestMemfdOwnFs: since('6.19'),
    bindingOverlap: since('7.2') ? 'EEXIST' : 'EINVAL',
    bindingUnsigned: release === '6.12' || since('7.2'),
    preFault: since('6.11'),
    preFaultReloads: since('6.16'),
    hypercallNumberCut: since('6.14'),
    patches: new Set(patches),
  };
}
