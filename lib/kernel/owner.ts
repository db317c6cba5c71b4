/** The base of everything that owns one resource: closed once, children first, never used afterwards. */
import { DisposedError } from './errors.ts';
import { type Raw, rawOf } from './raw.ts';
import type { Sys } from './sys.ts';

// Node 18's successors define it; other runtimes that run TypeScript's `using` may not.
const disposeSymbol: typeof Symbol.dispose = Symbol.dispose ?? Symbol.for('nodejs.dispose');

/** Closes what was forgotten. A net, not a promise: it does not run at exit, where the kernel cleans up. */
const forgotten = new FinalizationRegistry<() => void>((release) => {
  release();
});

export abstract class Owner {
  readonly sys: Sys;
  readonly #what: string;
  readonly #release: () => void;
  readonly #parent: Owner | undefined;
  readonly #children = new Set<Owner>();
  #closed = false;
  #raw: unknown;

  /**
   * @param what how errors call it: `vm (fd 21)`
   * @param release gives the resource back. It must not refer to the owner, or a forgotten owner is never collected.
   */
  protected constructor(sys: Sys, parent: Owner | undefined, what: string, release: () => void) {
    this.sys = sys;
    this.#what = what;
    this.#release = release;
    this.#parent = parent;
    if (parent !== undefined) parent.#children.add(this);
    forgotten.register(this, release, this);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** The same methods, returning `{ok, errno, value}` where these throw a KernelError: for negative tests. */
  get raw(): Raw<this> {
    this.#raw ??= rawOf(this);
    return this.#raw as Raw<this>;
  }

  /** Throws DisposedError when this is closed. */
  protected assertOpen(): void {
    if (this.#closed) throw new DisposedError(this.#what);
  }

  /** Closes the children, newest first, then gives the resource back. Closing again does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    forgotten.unregister(this);
    if (this.#parent !== undefined) this.#parent.#children.delete(this);
    // One that cannot be closed (its descriptor was closed behind our back) must not keep the others open.
    const errors: unknown[] = [];
    for (const close of [...[...this.#children].reverse().map((child) => () => child.close()), this.#release]) {
      try {
        close();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  [disposeSymbol](): void {
    this.close();
  }

  toString(): string {
    return this.#what;
  }
}
