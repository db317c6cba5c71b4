/** A design: a userspace ABI for the file that backs a guest's private memory (the memfile). */
import type { Kvm } from '../../kvm/kvm.ts';
import type { Vm } from '../../kvm/vm.ts';
import type { Mapping } from '../../memory/mapping.ts';
import type { MemFile } from '../../memory/mem-file.ts';
import type { Memfd } from '../../memory/memfd.ts';
import type { Technology } from '../technologies/index.ts';
import type { Enforcer, Promised, State } from '../words.ts';

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

/** Where the memfile was bound. */
export interface BoundSlot {
  readonly slot: number;
  readonly gpa: number;
}

/**
 * The memfile under one design. A request that the kernel turns down is a KernelError, one that only the design's order forbids a
 * LibraryRefusal.
 */
export interface Memfile {
  /** The file itself, for requests that a design does not carry out: they are the kernel's to refuse. */
  readonly file: MemFile;
  /** Where shared pages are, when that is another file. */
  readonly sharedFile: MemFile;
  /** What the pages are for the guest right after the bind. */
  readonly startsAs: 'private' | 'shared';
  /** Ties the file to its VM at a gpa; from here the rules of the technology hold. */
  bind(slot: number, gpa: number): BoundSlot;
  /** Asks KVM to bind the same file to another VM; `fd` is another descriptor of it. */
  bindElsewhere(other: Vm, fd?: number): void;
  /** The host asks for access to the file's own pages. Whoever gets the mapping closes it. */
  hostMap(range: Range): Mapping;
  /** Where the host reaches a range while it is shared. One file for both kinds: the file itself. */
  sharedMap(range: Range): Mapping;
  /** The memory at the slot's userspace_addr, once it is bound: KVM's own way to it, and every VMM's. Nobody closes it but the memfile. */
  readonly slotMapping: Mapping | undefined;
  /** The third operation: initialisation is complete, the guest may run. */
  complete(): Done;
  /** Gives a range to the host. What becomes of its contents is the technology's affair. */
  toShared(range: Range): Done;
  /** Takes it back. */
  toPrivate(range: Range): Done;
  /** The guest changed a range's state without asking: for designs that keep a rule of their own about it. */
  declare?(range: Range, state: 'private' | 'shared'): void;
  /** Changes a range's state and leaves its contents alone, where a design has such a thing. */
  setState?(range: Range, state: 'private' | 'shared'): void;
  close(): void;
}

/** The requests whose outcome differs between designs. */
export interface Promises {
  readonly hostAccessBeforeBind: Promised;
  readonly bindToSecondVm: Promised;
  readonly completeWithLiveMapping: Promised;
  readonly hostAccessAfterComplete: Promised;
  readonly hostAccessToShared: Promised;
  readonly hostAccessAfterTakenBack: Promised;
}

export interface MemfileOptions {
  /** Keep the rules that only this package keeps. */
  readonly guards: boolean;
}

export interface Design {
  readonly name: string;
  /** One line for people. */
  readonly summary: string;
  /** The state right after creation. */
  readonly initialState: State;
  /** Contents get in before the bind, or not at all. */
  readonly fillsBeforeBind: boolean;
  /** Pages change their state where they lie, so that the design loses no contents. */
  readonly convertsInPlace: boolean;
  /** A file for private memory that is no guest_memfd, as the designs of 2022 have it. */
  readonly privateFile?: (vm: Vm, size: number) => Memfd;
  /** The guest names the side by an address bit even where the technology has none (the 2022 series). */
  readonly sided: boolean;
  readonly promises: Promises;
  /** Why this kernel has not the design at all; undefined when it has. Found out by doing it. */
  missing(kvm: Kvm): { readonly reason: string; readonly nextStep: string } | undefined;
  /** Why files of this design cannot be had for a VM of this technology; undefined when they can. Asked of the VM. */
  obstacle(vm: Vm, technology: Technology): string | undefined;
  create(vm: Vm, size: number, options: MemfileOptions): Memfile;
}
