/** What a scenario works with: the kernel under test and owners that are closed for it at the end. */
import type { Sys } from '../kernel/sys.ts';
import type { GuestMemfd } from '../kvm/guest-memfd.ts';
import type { Kvm } from '../kvm/kvm.ts';
import type { Vm } from '../kvm/vm.ts';
import { Mapping } from '../memory/mapping.ts';
import { Memfd, type MemfdOptions } from '../memory/memfd.ts';
import { accepted, faulted, filledWith, holds, refused, same } from './check.ts';
import { Guest, type GuestOptions } from './guest.ts';
import { type Environment, type Release, VM_TYPES, type VmType } from './needs.ts';
import type { Random } from './random.ts';

interface Closable {
  close(): void;
}

/** A behaviour that differs between releases. */
export interface Change<T> {
  /** First release with the new behaviour. */
  readonly since: Release;
  /** Long-term releases that got it too: series and the number from which on. */
  readonly stable?: readonly (readonly [major: number, minor: number, from: number])[];
  readonly now: T;
  readonly before: T;
  /** Why it changed. */
  readonly because: string;
}

export class Context {
  readonly random: Random;
  /** Aborted when the scenario takes too long or the suite is interrupted. */
  readonly signal: AbortSignal;
  readonly #environment: Environment;
  readonly #vmType: VmType;
  readonly #open: Closable[] = [];

  readonly accepted = accepted;
  readonly refused = refused;
  readonly faulted = faulted;
  readonly same = same;
  readonly holds = holds;
  readonly filledWith = filledWith;

  constructor(environment: Environment, vmType: VmType, random: Random, signal: AbortSignal) {
    this.#environment = environment;
    this.#vmType = vmType;
    this.random = random;
    this.signal = signal;
  }

  get sys(): Sys {
    return this.#environment.sys;
  }

  get kvm(): Kvm {
    return this.#environment.kvm;
  }

  isAtLeast(release: Release): boolean {
    return this.#environment.isAtLeast(release);
  }

  /** What this release does where releases differ. */
  differs<T>(change: Change<T>): T {
    return this.isAtLeast(change.since) || (change.stable ?? []).some((series) => this.#environment.isOf(series))
      ? change.now
      : change.before;
  }

  /** Closes it after the scenario, last opened first. */
  use<T extends Closable>(owner: T): T {
    this.#open.push(owner);
    return owner;
  }

  /** A VM, by default of the type that the scenario needs. */
  vm(type: VmType = this.#vmType): Vm {
    return this.use(this.kvm.createVm(VM_TYPES[type]));
  }

  /** A guest_memfd. `size` in bytes. */
  guestMemfd(vm: Vm, size: number, flags: Parameters<Vm['createGuestMemfd']>[1] = 0): GuestMemfd {
    return this.use(vm.createGuestMemfd(size, flags));
  }

  memfd(options: MemfdOptions = {}): Memfd {
    return this.use(Memfd.create(this.sys, options));
  }

  /** Anonymous memory, shared unless said otherwise. Bytes. */
  anonymous(length: number, options: Parameters<typeof Mapping.anonymous>[2] = {}): Mapping {
    return this.use(Mapping.anonymous(this.sys, length, options));
  }

  map(file: GuestMemfd | Memfd, options: Parameters<Memfd['map']>[0] = {}): Mapping {
    return this.use(file.map(options));
  }

  /** A VM with a vCPU and memory for programs at gpa 0. */
  guest(options: GuestOptions = {}): Guest {
    const { sys, signal } = this;
    return this.use(new Guest(sys, options.vm ?? this.vm(), this.#environment.cpuid, signal, options));
  }

  /** Closes everything, even when closing something fails; the first failure is thrown at the end. */
  close(): void {
    const failures: unknown[] = [];
    for (const owner of this.#open.splice(0).reverse()) {
      try {
        owner.close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}
