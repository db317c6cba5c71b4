/** Counts the system calls that a kernel is asked for. */
import { CALLS, type CallName } from '../kernel/calls.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { Sys } from '../kernel/sys.ts';

type AnyCall = (...args: unknown[]) => unknown;

export class CallCounter {
  readonly sys: Sys;
  #count = 0;

  constructor(inner: Kernel) {
    const methods: Partial<Record<CallName, AnyCall>> = {};
    for (const call of Object.keys(CALLS) as CallName[]) {
      const method = inner[call] as AnyCall;
      const counts = CALLS[call].syscall !== undefined;
      methods[call] = (...args) => {
        if (counts) this.#count++;
        return method.apply(inner, args);
      };
    }
    const { backend, arch, release } = inner;
    this.sys = new Sys({ backend, arch, release, ...methods } as unknown as Kernel);
  }

  get count(): number {
    return this.#count;
  }
}
