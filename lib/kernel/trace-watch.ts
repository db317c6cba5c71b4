/**
 * What the host writes through views leaves no call behind. A trace sees it by comparing: the memory behind every view is copied after each
 * call and looked at before the next one. While a vCPU runs, its run page and all guest memory are the kernel's and the guest's: changes
 * of that time are not taken for the host's, save for the bytes of a run page that no kernel writes.
 */
import type { Kernel } from './kernel.ts';

/** Bytes that the host wrote through a view, at an hva. */
export type HostWrite = readonly [hva: number, bytes: Uint8Array];

/** More than this is not watched, in bytes over all views: each call costs two copies of it. */
const MOST_WATCHED = 64 * 2 ** 20;
/** Changes closer than this, in bytes, are one write. */
const GAP = 16;
const PAGE = 4096;
/** The first bytes of struct kvm_run are the host's alone: request_interrupt_window, immediate_exit, padding. */
const HOST_ONLY = 8;
const IMMEDIATE_EXIT = 1;

interface Watch {
  readonly hva: number;
  readonly length: number;
  /** The handle of the vCPU whose run page this is. */
  vcpu: number | undefined;
  seen: Uint8Array;
}

export class Watches {
  readonly #kernel: Kernel;
  #watches: Watch[] = [];
  readonly #running = new Set<number>();
  /** vCPUs with a kick that no run has taken yet: it holds immediate_exit, which is then nobody's write. */
  readonly #kicked = new Set<number>();
  readonly #pages = new Map<number, number>();
  #pending: HostWrite[] = [];

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** A view was made. False when it is too large to be watched. */
  add(hva: number, length: number): boolean {
    if (this.#watches.some((watch) => watch.hva === hva && watch.length === length)) return true;
    const total = this.#watches.reduce((sum, watch) => sum + watch.length, length);
    if (total > MOST_WATCHED) return false;
    const inside = [...this.#pages].find(([, page]) => page >= hva && page < hva + length);
    const watch: Watch = { hva, length, vcpu: inside?.[0], seen: new Uint8Array(0) };
    watch.seen = this.#look(watch);
    this.#watches.push(watch);
    return true;
  }

  /** A range is no longer what it was: its views are gone. */
  drop(hva: number, length: number): void {
    this.#watches = this.#watches.filter((watch) => watch.hva >= hva + length || hva >= watch.hva + watch.length);
  }

  attach(vcpu: number, page: number): void {
    this.#pages.set(vcpu, page);
    for (const watch of this.#watches) {
      if (page >= watch.hva && page < watch.hva + watch.length) watch.vcpu = vcpu;
    }
  }

  detach(vcpu: number): void {
    this.#pages.delete(vcpu);
    this.#kicked.delete(vcpu);
    for (const watch of this.#watches) if (watch.vcpu === vcpu) watch.vcpu = undefined;
  }

  kick(vcpu: number): void {
    this.#kicked.add(vcpu);
  }

  runStarts(vcpu: number): void {
    this.#running.add(vcpu);
  }

  runEnds(vcpu: number, result: number): void {
    const EINTR = -4;
    this.#running.delete(vcpu);
    if (result !== EINTR || !this.#kicked.delete(vcpu)) return;
    // The run that took the kick put immediate_exit back.
    for (const watch of this.#watches) if (watch.vcpu === vcpu) watch.seen[IMMEDIATE_EXIT] = 0;
  }

  /** Looks for what the host wrote since the last call. Before every call. */
  before(): void {
    for (const watch of this.#watches) {
      if (this.#isBusy(watch)) continue;
      const now = this.#look(watch);
      for (const [offset, bytes] of changes(watch.seen, now)) {
        if (!this.#isKick(watch, offset, bytes)) this.#pending.push([watch.hva + offset, bytes]);
      }
      watch.seen = now;
    }
  }

  /** Gives back what was taken for a call that did not take place. */
  giveBack(writes: readonly HostWrite[]): void {
    this.#pending.unshift(...writes);
  }

  /** What `before` found and nobody has taken yet. */
  take(): HostWrite[] {
    const taken = this.#pending;
    this.#pending = [];
    return taken;
  }

  /** The call is over: what changed meanwhile was the kernel's doing. */
  after(): void {
    for (const watch of this.#watches) {
      if (this.#isBusy(watch)) continue;
      const now = this.#look(watch);
      // The host may have written these while the vCPU ran; the next call will see it.
      if (watch.vcpu !== undefined && watch.seen.length >= HOST_ONLY) now.set(watch.seen.subarray(0, HOST_ONLY));
      watch.seen = now;
    }
  }

  #isBusy(watch: Watch): boolean {
    return watch.vcpu === undefined ? this.#running.size > 0 : this.#running.has(watch.vcpu);
  }

  #isKick(watch: Watch, offset: number, bytes: Uint8Array): boolean {
    if (watch.vcpu === undefined || offset !== IMMEDIATE_EXIT || bytes.length !== 1) return false;
    return this.#kicked.has(watch.vcpu) && bytes[0] === 1;
  }

  /**
   * What the memory holds now. A page that is not resident is taken as unchanged and left alone: reading it would make it resident, which
   * the program that is recorded could see. Nor is one looked at that cannot be reached.
   */
  #look({ hva, length, vcpu, seen }: Watch): Uint8Array {
    const bytes = new Uint8Array(length);
    bytes.set(seen);
    const first = Math.floor(hva / PAGE) * PAGE;
    const pages = Math.ceil((hva + length - first) / PAGE);
    const resident = new Uint8Array(pages);
    // A run page is always there, and no file says so.
    if (vcpu !== undefined) resident.fill(1);
    else if (this.#kernel.mincore(first, pages * PAGE, resident) < 0) return bytes;
    for (let page = 0; page < pages; page++) {
      if (((resident[page] ?? 0) & 1) === 0) continue;
      let end = page + 1;
      while (end < pages && ((resident[end] ?? 0) & 1) === 1) end++;
      const from = Math.max(first + page * PAGE, hva) - hva;
      const to = Math.min(first + end * PAGE - hva, length);
      const done = this.#kernel.copyOut(hva + from, bytes.subarray(from, to));
      // Stopped by a page that is resident and out of reach all the same, such as a private one: on behind it.
      page = from + done < to ? Math.floor((hva + from + done - first) / PAGE) : end;
    }
    return bytes;
  }
}

/** Runs of bytes that differ, with the new contents. */
function* changes(old: Uint8Array, now: Uint8Array): Generator<readonly [offset: number, bytes: Uint8Array]> {
  if (Buffer.compare(old, now) === 0) return;
  for (let from = 0; from < now.length; from++) {
    if (old[from] === now[from]) continue;
    let to = from + 1;
    for (let at = to; at < now.length && at - to < GAP; at++) if (old[at] !== now[at]) to = at + 1;
    yield [from, now.slice(from, to)];
    from = to;
  }
}
