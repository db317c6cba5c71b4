/** Guests that run on a guest_memfd: which access reaches the file, a VM set up so, and page-wise stamps to recognise pages by. */
import type { GuestBuilder } from '../guest/builder.ts';
import type { GuestMemfd } from '../kvm/guest-memfd.ts';
import type { Memslot } from '../kvm/memslot.ts';
import type { Mapping } from '../memory/mapping.ts';
import type { Context } from './context.ts';
import { type FileKind, MAPPABLE, makeFile, PAGE, PROTECTED, PROTECTED_MAPPABLE, SHARED } from './file-kinds.ts';
import type { Guest } from './guest.ts';
import type { Needs } from './needs.ts';
import type { ScenarioOptions, Topic } from './scenario.ts';

/** Where the file is, in guest-physical addresses. */
export const FILE_GPA = 0x1_0000_0000;

export interface GuestFileKind extends FileKind {
  /** The guest's frames are marked private. */
  readonly private: boolean;
}

const withMmu = (kind: FileKind, asPrivate: boolean, suffix = kind.suffix): GuestFileKind => ({
  ...kind,
  suffix,
  private: asPrivate,
  needs: { ...kind.needs, guest: true, mmu: true },
});

export const GUEST_SHARED = withMmu(SHARED, false, '');
export const GUEST_MAPPABLE = withMmu(MAPPABLE, false);
export const GUEST_PROTECTED = withMmu(PROTECTED, true);
export const GUEST_PROTECTED_MAPPABLE = withMmu(PROTECTED_MAPPABLE, true);
/** Shared accesses go to the file too once it has MMAP. */
export const GUEST_PROTECTED_AS_SHARED = withMmu(
  PROTECTED_MAPPABLE,
  false,
  'sw_protected_vm_shared_accesses_to_file_with_MMAP',
);

/** Every way in which a guest's access is served from a guest_memfd. */
export const GUEST_KINDS: readonly GuestFileKind[] = [
  GUEST_SHARED,
  GUEST_MAPPABLE,
  GUEST_PROTECTED,
  GUEST_PROTECTED_MAPPABLE,
  GUEST_PROTECTED_AS_SHARED,
];

type KindBody = (t: Context, kind: GuestFileKind) => void | Promise<void>;

/** Adds one behaviour once for each kind. */
export function forGuests(scenario: Topic, kinds: readonly GuestFileKind[] = GUEST_KINDS) {
  return (behaviour: string, body: KindBody, options: ScenarioOptions = {}): void => {
    for (const kind of kinds) {
      const needs: Needs = { ...kind.needs, ...options.needs };
      const name = kind.suffix === '' ? behaviour : `${behaviour}/${kind.suffix}`;
      scenario(name, { ...options, needs }, (t) => body(t, kind));
    }
  };
}

export interface FileGuestOptions {
  /** Of the file. Default 8. */
  readonly pages?: number;
  /** First page of the file that the slot has. Default 0. */
  readonly first?: number;
  /** Pages of the slot. Default: to the end of the file. */
  readonly slotPages?: number;
  readonly gpa?: number;
  readonly backing?: Mapping;
  readonly guest?: Guest;
  readonly slot?: number;
  readonly file?: GuestMemfd;
}

export interface FileGuest {
  readonly guest: Guest;
  readonly file: GuestMemfd;
  readonly slot: Memslot;
  readonly gpa: number;
  readonly pages: number;
}

/** A guest with a file of this kind in slot 1 at {@link FILE_GPA}, its frames marked as the kind wants them. */
export function fileGuest(t: Context, kind: GuestFileKind, options: FileGuestOptions = {}): FileGuest {
  const { pages = 8, first = 0, slotPages = pages - first, gpa = FILE_GPA, backing, slot = 1 } = options;
  const guest = options.guest ?? t.guest();
  const file = options.file ?? makeFile(t, kind, pages, guest.vm);
  const memslot = guest.vm.addMemslot({
    slot,
    gpa,
    size: slotPages * PAGE,
    guestMemfd: file,
    guestMemfdOffset: first * PAGE,
    ...(backing === undefined ? {} : { backing }),
  });
  if (kind.private) guest.vm.setPrivate(gpa, slotPages * PAGE);
  return { guest, file, slot: memslot, gpa, pages: slotPages };
}

/** The byte that {@link stamp} fills page `page` with. Never 0. */
export const stampOf = (page: number, salt = 0): number => 1 + ((page * 7 + salt * 31) % 251);

/** The guest fills each page with a byte of its own. */
export const stamp = (g: GuestBuilder, gpa: number, pages: number, salt = 0): void => {
  for (let page = 0; page < pages; page++) g.fill(gpa + page * PAGE, PAGE, stampOf(page, salt));
};

/** The guest finds its stamps, and zeros in the pages of `zero`. */
export const checkStamps = (
  g: GuestBuilder,
  gpa: number,
  pages: number,
  zero: readonly number[] = [],
  salt = 0,
): void => {
  for (let page = 0; page < pages; page++)
    g.check(gpa + page * PAGE, PAGE, zero.includes(page) ? 0 : stampOf(page, salt));
};
