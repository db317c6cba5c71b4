/** Guests that run on a guest_memfd: which access reaches the file, a VM set up so, and page-wise stamps to recognise pages by. */
import type { GuestBuilder } from '../guest/builder.ts';
import type { Value } from '../guest/value.ts';
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

/** The word that pages carry in {@link STAMPED_AT}: another one for each page and salt, never 0. */
const stampOf = (page: number, salt: number): number => (salt + 1) * 0x1_0000 + page;
/** First word, middle, last word. */
const STAMPED_AT = [0, PAGE / 2, PAGE - 8];

export interface Stamped {
  readonly gpa: number;
  /** At most 64. */
  readonly pages: number;
  readonly salt?: number;
}

const eachPage = (
  g: GuestBuilder,
  { gpa, pages, salt = 0 }: Stamped,
  body: (page: Value, at: Value, word: Value) => void,
) => {
  g.touch(gpa, pages * PAGE);
  g.repeat(pages, (page) => body(page, page.mul(PAGE).add(gpa), page.add(stampOf(0, salt))));
};

/** The guest writes a stamp into each page: a loop, so that programs stay small under emulation. */
export const writeStamps = (g: GuestBuilder, range: Stamped): void =>
  eachPage(g, range, (_, at, word) => {
    for (const offset of STAMPED_AT) g.store(at.add(offset), word);
  });

/** The guest looks at each page and reports masks of those with their stamp and those that are zero, under `tag` and the next. */
export function readStamps(g: GuestBuilder, range: Stamped, tag = 0): void {
  const [stamped, zero] = [g.variable(0), g.variable(0)];
  eachPage(g, range, (page, at, word) => {
    const bit = g.value(1).shl(page);
    const [any, wrong] = [g.variable(0), g.variable(0)];
    any.set(0);
    wrong.set(0);
    for (const offset of STAMPED_AT) {
      const found = g.load(at.add(offset));
      any.set(any.or(found));
      wrong.set(wrong.or(found.xor(word)));
    }
    g.when(wrong.eq(0), () => stamped.set(stamped.or(bit)));
    g.when(any.eq(0), () => zero.set(zero.or(bit)));
  });
  g.report(tag, stamped);
  g.report(tag + 1, zero);
}

const pagesOf = (mask: bigint | undefined): number[] =>
  Array.from({ length: 64 }, (_, page) => page).filter((page) => (((mask ?? 0n) >> BigInt(page)) & 1n) === 1n);

/** The guest stamps these pages. */
export async function stamp(guest: Guest, ...ranges: readonly Stamped[]): Promise<void> {
  await guest.run((g) => {
    for (const range of ranges) writeStamps(g, range);
  });
}

/** The guest finds its stamps, and zeros in the pages of `zero`. */
export async function findStamps(
  t: Context,
  guest: Guest,
  range: Stamped,
  zero: readonly number[] = [],
): Promise<void> {
  const reports = await guest.run((g) => readStamps(g, range));
  const all = Array.from({ length: range.pages }, (_, page) => page);
  t.same(
    { stamped: pagesOf(reports.get(0)), zero: pagesOf(reports.get(1)) },
    { stamped: all.filter((page) => !zero.includes(page)), zero: all.filter((page) => zero.includes(page)) },
    `pages as the guest sees them from gpa 0x${range.gpa.toString(16)} on`,
  );
}
