/** The process that makes the calls: its descriptors, its memory, its limits. */
import { AddressSpace } from './address-space.ts';
import type { SimEvent } from './events.ts';
import { FdTable } from './fd-table.ts';
import { LockTable } from './file-locks.ts';
import { FilePolicies } from './mempolicy.ts';
import { PAGE_SIZE } from './page.ts';
import { PhysicalMemory } from './physical.ts';
import type { Profile } from './profile.ts';
import { UserMemory } from './user-memory.ts';
import { Views } from './views.ts';

export interface ProcessOptions {
  readonly profile: Profile;
  /** RLIMIT_NOFILE. Default 1024. */
  readonly fdLimit?: number;
  /** RLIMIT_MEMLOCK in bytes, for processes without CAP_IPC_LOCK. Default: no limit. */
  readonly memlockLimit?: number;
  /** Memory of the machine in bytes: a private mapping larger than that is refused (vm.overcommit_memory 0). Default: no limit. */
  readonly ram?: number;
  /** vm.memfd_noexec. Default 0. */
  readonly memfdNoexec?: 0 | 1 | 2;
  /** Whether memfd_secret works. Default: as the release has it. */
  readonly secretmem?: boolean;
  /** CONFIG_NUMA: mbind and get_mempolicy work, on one node. Default true. */
  readonly numa?: boolean;
  /** Bytes of the huge page sizes that there are, and how many pages of each are free. Default: 2 MiB and 1 GiB, none free. */
  readonly hugePages?: ReadonlyMap<number, number>;
}

/** User addresses end one page below 2^47 (x86-64 with four levels of page tables), at 2^48 on arm64. */
const LAYOUT = {
  x64: { end: 2 ** 47 - PAGE_SIZE, top: 0x7fff_f7ff_f000, stack: 0x7fff_fa00_0000 },
  arm64: { end: 2 ** 48, top: 0xffff_f7ff_f000, stack: 0xffff_fa00_0000 },
} as const;

const MIB = 2 ** 20;

export class Process {
  readonly profile: Profile;
  readonly fds: FdTable;
  readonly space: AddressSpace;
  readonly user: UserMemory;
  readonly views: Views;
  readonly physical = new PhysicalMemory();
  readonly events: SimEvent[] = [];
  readonly memlockLimit: number;
  readonly ram: number;
  readonly memfdNoexec: 0 | 1 | 2;
  readonly secretmem: boolean;
  readonly numa: boolean;
  readonly filePolicies = new FilePolicies();
  readonly locks = new LockTable();
  /** Free huge pages by their size in bytes. */
  readonly hugePages: Map<number, number>;
  #inodes = 0n;

  constructor(options: ProcessOptions) {
    const { profile, fdLimit = 1024 } = options;
    const layout = LAYOUT[profile.arch];
    this.profile = profile;
    this.fds = new FdTable({ limit: fdLimit });
    this.space = new AddressSpace({ endPage: layout.end / PAGE_SIZE, topPage: layout.top / PAGE_SIZE });
    this.user = new UserMemory(this.space, layout.stack);
    this.views = new Views(this.space);
    this.memlockLimit = options.memlockLimit ?? Number.POSITIVE_INFINITY;
    this.ram = options.ram ?? Number.POSITIVE_INFINITY;
    this.memfdNoexec = options.memfdNoexec ?? 0;
    this.secretmem = options.secretmem ?? profile.memfdSecret;
    this.numa = options.numa ?? true;
    this.hugePages = new Map(
      options.hugePages ?? [
        [2 * MIB, 0],
        [1024 * MIB, 0],
      ],
    );
  }

  /** A number for a new inode. */
  nextInode(): bigint {
    this.#inodes++;
    return this.#inodes;
  }
}
