/** vitest fixtures: a kernel, a VM, a guest_memfd, each closed after its test, and tests that say loudly what they lack. */
import { test as base } from 'vitest';
import { missing, type Needs, VM_TYPES, type VmType } from '../conformance/needs.ts';
import type { Sys } from '../kernel/sys.ts';
import type { GuestMemfd } from '../kvm/guest-memfd.ts';
import type { Kvm } from '../kvm/kvm.ts';
import type { Vm } from '../kvm/vm.ts';
import { environmentUnderTest } from './kernel.ts';

interface Closable {
  close(): void;
}

export interface Fixtures {
  /** Type of `vm`. Default `default`. */
  readonly vmType: VmType;
  /** Size of `guestMemfd` in bytes. Default 2 MiB. */
  readonly guestMemfdSize: number;
  /** The system calls of the kernel under test. */
  readonly sys: Sys;
  /** /dev/kvm, opened once for all tests of the process. */
  readonly kvm: Kvm;
  /** A VM of `vmType`. */
  readonly vm: Vm;
  /** A guest_memfd of `vm` with all flags that this VM offers. */
  readonly guestMemfd: GuestMemfd;
  /** Closes what it is given after the test, last given first: `const mapping = own(file.map())`. */
  readonly own: <T extends Closable>(owner: T) => T;
}

/** vitest's `test` with these fixtures; `test.override` changes `vmType` and `guestMemfdSize` for a suite. */
export const test = base.extend<Fixtures>({
  vmType: 'default',
  guestMemfdSize: 2 ** 21,
  // vitest reads the names of the fixtures that each needs from the pattern, so that it must be there even when it is empty.
  // biome-ignore lint/correctness/noEmptyPattern: see above.
  sys: async ({}, use) => use(environmentUnderTest().sys),
  // biome-ignore lint/correctness/noEmptyPattern: see above.
  kvm: async ({}, use) => use(environmentUnderTest().kvm),
  vm: async ({ kvm, vmType }, use) => {
    const vm = kvm.createVm(VM_TYPES[vmType]);
    try {
      await use(vm);
    } finally {
      vm.close();
    }
  },
  guestMemfd: async ({ vm, guestMemfdSize }, use) => {
    const file = vm.createGuestMemfd(guestMemfdSize, vm.guestMemfdFlags());
    try {
      await use(file);
    } finally {
      file.close();
    }
  },
  // biome-ignore lint/correctness/noEmptyPattern: see above.
  own: async ({}, use) => {
    const owned: Closable[] = [];
    try {
      await use((owner) => {
        owned.push(owner);
        return owner;
      });
    } finally {
      for (const owner of owned.reverse()) owner.close();
    }
  },
});

type Body = (fixtures: Fixtures) => void | Promise<void>;

/**
 * A test with needs of its own: `requires({ vmType: 'sw-protected' })('title', ({ vm }) => { … })`; `vm` is of the type that is needed.
 * What is missing makes a skip that names it, in the title and on stderr.
 */
export function requires(needs: Needs): (title: string, body: Body, timeoutMs?: number) => void {
  const lack = missing(needs, environmentUnderTest());
  const { vmType = 'default' } = needs;
  return (title, body, timeoutMs) => {
    if (lack === undefined) {
      test.extend<{ readonly vmType: VmType }>({ vmType })(title, body, timeoutMs);
      return;
    }
    console.warn(`SKIPPED ${title}: ${lack}`);
    base.skip(`${title} [SKIPPED: ${lack}]`, () => {});
  };
}
