/** A design: a userspace ABI for the file that backs a guest's private memory (the memfile). */
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import type { Memslot } from '../../kvm/memslot.ts';
import type { Vm } from '../../kvm/vm.ts';
import type { Mapping } from '../../memory/mapping.ts';
import type { Enforcer, Outcome, State } from '../words.ts';

/** A part of the memfile, in bytes from its start; page aligned. */
export interface Range {
  readonly offset: number;
  readonly length: number;
}

/** What was done, in a few words, and who makes it hold. */
export interface Done {
  readonly detail: string;
  readonly enforcedBy: Enforcer;
}

/**
 * The memfile under one design. A request that the kernel turns down is a KernelError, one that only the design's order forbids a
 * LibraryRefusal.
 */
export interface Memfile {
  /** Ties the file to its VM at a gpa; from here the rules of the technology hold. */
  bind(slot: number, gpa: number): Memslot;
  /** Asks KVM to bind the same file to another VM. */
  bindElsewhere(other: Vm): void;
  /** The host asks for access to the file's own pages. Whoever gets the mapping closes it. */
  hostMap(range: Range): Mapping;
  /** Where the host reaches a range while it is shared. One file for both kinds: the file itself. */
  sharedMap(range: Range): Mapping;
  /** The third operation: initialisation is complete, the guest may run. */
  complete(): Done;
  /** Gives a range to the host. What becomes of its contents is the technology's affair. */
  toShared(range: Range): Done;
  /** Takes it back. */
  toPrivate(range: Range): Done;
  /** Changes a range's state and leaves its contents alone, where a design has such a thing. */
  setState?(range: Range, state: 'private' | 'shared'): void;
  /** The file itself, for requests that a design does not carry out: they are the kernel's to refuse. */
  readonly file: GuestMemfd;
  /** Pages that the file holds. */
  residentPages(): number;
  close(): void;
}

/** The requests whose outcome differs between designs. */
export interface Promises {
  readonly hostAccessBeforeBind: Outcome;
  readonly bindToSecondVm: Outcome;
  readonly completeWithLiveMapping: Outcome;
  readonly hostAccessAfterComplete: Outcome;
  readonly hostAccessToShared: Outcome;
  readonly hostAccessAfterTakenBack: Outcome;
}

export interface Design {
  readonly name: string;
  /** One line for people. */
  readonly summary: string;
  /** The state right after creation. */
  readonly initialState: State;
  /** What this design answers, refused or not; a run is compared with it. */
  readonly promises: Promises;
  /** Why files of this design cannot be had for a VM; undefined when they can. */
  obstacle(vm: Vm): string | undefined;
  create(vm: Vm, size: number): Memfile;
}
