/**
 * What the 2022 series add to memfd: files that userspace cannot reach, and notifiers by which KVM learns of their pages. mm/memfile_notifier.c
 * and mm/shmem.c of "KVM: mm: fd-based approach for supporting KVM guest private memory", v5.
 */
import { EINVAL, ENOMEM, EPERM } from '../errno.ts';
import { isAligned, PAGE_SIZE, pageOf, pagesIn } from '../page.ts';
import type { PageStore } from '../page-store.ts';
import type { Process } from '../process.ts';

/** memfile_notifier_ops. Pages [from, to) of the file. */
export interface MemfileListener {
  /** Pages were allocated. */
  fallocate(from: number, to: number): void;
  /** Pages are gone. */
  invalidate(from: number, to: number): void;
}

const lockedPages = new WeakMap<Process, number>();

/** The part of a memfd that a patched kernel adds. */
export class Memfile {
  readonly #process: Process;
  readonly #listeners = new Set<MemfileListener>();
  #locked = 0;
  inaccessible: boolean;

  constructor(process: Process, inaccessible: boolean) {
    this.#process = process;
    this.inaccessible = inaccessible;
  }

  /** memfile_register_notifier. Nobody asks whether the file is inaccessible, or whether another VM has it. */
  register(listener: MemfileListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What ftruncate may still do: set the size once, to whole pages. */
  mayTruncate(size: bigint, length: bigint): number {
    if (!this.inaccessible) return 0;
    if (size !== 0n) return -EPERM;
    return isAligned(length) ? 0 : -EINVAL;
  }

  mayPunch(offset: bigint, end: bigint): number {
    return this.inaccessible && !(isAligned(offset) && isAligned(end)) ? -EINVAL : 0;
  }

  /** Memory that cannot be moved or swapped counts as locked. The pages that are new are counted. */
  mayAllocate(pages: PageStore, offset: bigint, end: bigint): number {
    if (!this.inaccessible) return 0;
    const [from, to] = [pageOf(offset), pagesIn(end)];
    const fresh = to - from - pages.count(from, to);
    const locked = (lockedPages.get(this.#process) ?? 0) + fresh;
    if (locked * PAGE_SIZE > this.#process.memlockLimit) return -ENOMEM;
    lockedPages.set(this.#process, locked);
    this.#locked += fresh;
    return 0;
  }

  allocated(from: number, to: number): void {
    for (const listener of this.#listeners) listener.fallocate(from, to);
  }

  punched(pages: number, from: number, to: number): void {
    if (this.inaccessible) this.#unlock(Math.min(pages, this.#locked));
    for (const listener of this.#listeners) listener.invalidate(from, to);
  }

  /** The file is gone. */
  release(): void {
    this.#unlock(this.#locked);
  }

  #unlock(pages: number): void {
    this.#locked -= pages;
    lockedPages.set(this.#process, (lockedPages.get(this.#process) ?? 0) - pages);
  }
}
