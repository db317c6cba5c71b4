/** Descriptors of a process: numbers for open files, the lowest free one first. */
import { EBADF, EINVAL, EMFILE } from './errno.ts';
import type { SimFile } from './file.ts';

interface Entry {
  readonly file: SimFile;
  cloexec: boolean;
}

export interface FdTableOptions {
  /** RLIMIT_NOFILE: numbers stay below it. */
  readonly limit?: number;
}

/** 0, 1 and 2 are the standard streams of every process; they are not simulated and never handed out. */
const FIRST = 3;

export class FdTable {
  readonly #entries: (Entry | undefined)[] = [];
  readonly limit: number;
  /** No number below is free. */
  #free = FIRST;

  constructor({ limit = 1024 }: FdTableOptions = {}) {
    this.limit = limit;
  }

  get(fd: number): SimFile | undefined {
    return this.#entries[fd]?.file;
  }

  /** The descriptor, or -EMFILE. */
  install(file: SimFile, cloexec: boolean, from = FIRST): number {
    const fd = this.next(from);
    if (fd < 0) return fd;
    file.retain();
    this.#entries[fd] = { file, cloexec };
    if (from <= this.#free) this.#free = fd + 1;
    return fd;
  }

  /** The number that `install` would hand out: calls that make a descriptor reserve it before they make the file. */
  next(from = FIRST): number {
    let fd = Math.max(from, this.#free);
    while (this.#entries[fd] !== undefined) fd++;
    return fd < this.limit ? fd : -EMFILE;
  }

  close(fd: number): number {
    const entry = this.#entries[fd];
    if (entry === undefined) return -EBADF;
    this.#entries[fd] = undefined;
    if (fd < this.#free) this.#free = fd;
    entry.file.drop();
    return 0;
  }

  /** F_DUPFD_CLOEXEC: a second number for the same open file. */
  duplicate(fd: number, from: number): number {
    const file = this.get(fd);
    if (file === undefined) return -EBADF;
    if (from < 0 || from >= this.limit) return -EINVAL;
    return this.install(file, true, Math.max(from, FIRST));
  }

  isCloexec(fd: number): boolean {
    return this.#entries[fd]?.cloexec === true;
  }

  setCloexec(fd: number, cloexec: boolean): number {
    const entry = this.#entries[fd];
    if (entry === undefined) return -EBADF;
    entry.cloexec = cloexec;
    return 0;
  }

  /** Open descriptors, for those that look for leaks. */
  list(): number[] {
    return this.#entries.flatMap((entry, fd) => (entry === undefined ? [] : [fd]));
  }
}
