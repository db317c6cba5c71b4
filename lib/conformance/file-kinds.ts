/** The kinds of guest_memfd: by VM type and flags. What holds for all of them is a scenario for each, as the kernel's selftests do it. */
import type { GuestMemfd } from '../kvm/guest-memfd.ts';
import type { Vm } from '../kvm/vm.ts';
import type { Context } from './context.ts';
import type { Needs } from './needs.ts';
import type { ScenarioOptions, Topic } from './scenario.ts';

/** Base page size, bytes. */
export const PAGE = 4096;
export const MMAP = 1;
export const INIT_SHARED = 2;

export interface FileKind {
  /** Last part of scenario names; empty for the kind that every kernel with guest_memfd has. */
  readonly suffix: string;
  readonly needs: Needs;
  /** GUEST_MEMFD_FLAG bits. */
  readonly flags: number;
}

/** Before 6.18 a default VM denies the capability and creates the file all the same, so the system is asked. */
const HAS_GUEST_MEMFD = { KVM_CAP_GUEST_MEMFD: 1 } as const;

export const PLAIN: FileKind = { suffix: '', flags: 0, needs: { vmType: 'default', caps: HAS_GUEST_MEMFD } };
export const MAPPABLE: FileKind = {
  suffix: 'file_with_MMAP',
  flags: MMAP,
  needs: { vmType: 'default', vmCaps: { KVM_CAP_GUEST_MEMFD_FLAGS: MMAP } },
};
export const SHARED: FileKind = {
  suffix: 'file_with_INIT_SHARED',
  flags: MMAP | INIT_SHARED,
  needs: { vmType: 'default', vmCaps: { KVM_CAP_GUEST_MEMFD_FLAGS: MMAP | INIT_SHARED } },
};
export const PROTECTED: FileKind = {
  suffix: 'sw_protected_vm',
  flags: 0,
  needs: { vmType: 'sw-protected', vmCaps: HAS_GUEST_MEMFD },
};
export const PROTECTED_MAPPABLE: FileKind = {
  suffix: 'sw_protected_vm_file_with_MMAP',
  flags: MMAP,
  needs: { vmType: 'sw-protected', vmCaps: { KVM_CAP_GUEST_MEMFD_FLAGS: MMAP } },
};

export const EVERY_KIND: readonly FileKind[] = [PLAIN, MAPPABLE, SHARED, PROTECTED, PROTECTED_MAPPABLE];
/** Those that the host maps but cannot touch. */
export const HOST_BLIND: readonly FileKind[] = [MAPPABLE, PROTECTED_MAPPABLE];

export type KindBody = (t: Context, kind: FileKind) => void | Promise<void>;

/** Adds one behaviour once for each kind. */
export function forKinds(scenario: Topic, kinds: readonly FileKind[] = EVERY_KIND) {
  return (behaviour: string, body: KindBody, options: ScenarioOptions = {}): void => {
    for (const kind of kinds) {
      const name = kind.suffix === '' ? behaviour : `${behaviour}/${kind.suffix}`;
      scenario(name, { ...options, needs: { ...kind.needs, ...options.needs } }, (t) => body(t, kind));
    }
  };
}

/** A file of this kind, of a VM of its own unless one is given. `pages` of 4 KiB. */
export const makeFile = (t: Context, kind: FileKind, pages: number, vm: Vm = t.vm()): GuestMemfd =>
  t.guestMemfd(vm, pages * PAGE, kind.flags);

/** For scenarios that ask which pages a file holds. mincore(2) is no substitute: it leaves out pages that nobody touched yet. */
export const CACHESTAT: Pick<Needs, 'cachestat'> = { cachestat: true };

/** {@link forKinds} for behaviours that show in which pages the file holds. */
export function forHeldPages(scenario: Topic, kinds: readonly FileKind[] = EVERY_KIND) {
  return forKinds(
    scenario,
    kinds.map((kind) => ({ ...kind, needs: { ...kind.needs, ...CACHESTAT } })),
  );
}

/** The pages that the file holds, of its first `pages` (default all), by index. */
export function heldIndexes(file: GuestMemfd, pages = file.size / PAGE): number[] {
  const held: number[] = [];
  for (let page = 0; page < pages; page++) if (file.residency(page * PAGE, PAGE).cache === 1) held.push(page);
  return held;
}

/** How many pages it holds. */
export const heldCount = (file: GuestMemfd): number => file.residency().cache;
