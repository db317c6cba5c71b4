/**
 * The guest's own memory: its program, its page tables, its mailbox, everything that is no subject of the lifecycle. Guest-physical 0, 1 MiB.
 * Where the technology has private pages beside shared ones, the program lies in such pages and the rest is shared.
 */
import { a64, GHCB_GPA, type GuestProgram, type SideBit, x64 } from '../guest/index.ts';
import { Owner } from '../kernel/owner.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Vm } from '../kvm/vm.ts';
import { Mapping } from '../memory/mapping.ts';
import { Memfd } from '../memory/memfd.ts';
import { F_SEAL } from '../uapi/index.ts';
import { setAttributes2 } from './attributes2.ts';
import type { Design } from './designs/index.ts';
import { setPrivateRegion } from './designs/memfd-region.ts';
import type { ProtectedVm, Technology } from './technologies/index.ts';

/** The shared side: programs, page tables, everything that is no secret. Guest-physical 0, 1 MiB. */
export const SHARED_SIZE = 0x100000;
const SHARED_SLOT = 0;
const RESET_SLOT = 3;
const PAGE = 4096;

interface Image {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

const pagesOf = (bytes: number): number => Math.ceil(bytes / PAGE) * PAGE;

export class BootMemory extends Owner {
  readonly vm: Vm;
  /** How the host reaches it. */
  readonly mapping: Mapping;
  readonly #resources: Owner[];
  readonly detail: string;
  readonly #technology: Technology;
  readonly #design: BootDesign;
  readonly #makePrivate: MakePrivate;

  private constructor(vm: Vm, technology: Technology, design: BootDesign, made: Made, resources: Owner[]) {
    super(vm.sys, undefined, 'boot memory', () => {
      for (const resource of resources.reverse()) resource.close();
    });
    this.vm = vm;
    this.#technology = technology;
    this.mapping = made.mapping;
    this.detail = made.detail;
    this.#design = design;
    this.#makePrivate = made.makePrivate ?? (() => {});
    this.#resources = resources;
  }

  /** Makes the memory and its memslot. */
  static create(vm: Vm, technology: Technology, design: BootDesign): BootMemory {
    const resources: Owner[] = [];
    try {
      const made = make(vm, technology, design, resources);
      return new BootMemory(vm, technology, design, made, resources);
    } catch (error) {
      for (const resource of resources.reverse()) resource.close();
      throw error;
    }
  }

  /** Puts the vCPU at the program's beginning again; the program is where it was. */
  restart(vcpu: Vcpu, program: GuestProgram, sides: SideBit | undefined): void {
    if (program.arch === 'arm64') {
      // The pc moves over the instruction of the last MMIO exit when that is finished, wherever the pc stands by then.
      if (vcpu.lastExit?.name === 'KVM_EXIT_MMIO') vcpu.completeIo();
      vcpu.arm64.setCore(a64.startState(program).core);
      return;
    }
    const start = x64.startState(program, sides === undefined ? {} : { sides });
    vcpu.x64.updateSregs(start.sregs);
    vcpu.x64.setRegs(start.regs);
  }

  /** Puts the program there, by the launch where there is one, and the vCPU at its beginning. */
  load(guarded: ProtectedVm, vcpu: Vcpu, program: GuestProgram, sides: SideBit | undefined): void {
    if (program.arch === 'arm64') {
      const start = a64.startState(program);
      for (const { gpa, bytes } of start.memory) this.mapping.write(gpa, bytes);
      vcpu.arm64.setCore(start.core);
      return;
    }
    const start = x64.startState(program, sides === undefined ? {} : { sides });
    this.#place(guarded, vcpu, start.memory, pagesOf(program.base + program.size));
    if (program.technology === 'tdx') return;
    vcpu.x64.updateSregs(start.sregs);
    vcpu.x64.setRegs(start.regs);
  }

  /** Puts the program into memory, up to `end`. */
  #place(guarded: ProtectedVm, vcpu: Vcpu, images: readonly Image[], end: number): void {
    if (this.#technology.initialContents === 'copied-in') {
      this.#copyIn(guarded, vcpu, images, end);
      return;
    }
    for (const { gpa, bytes } of images) this.mapping.write(gpa, bytes);
    if (this.#technology.initialContents !== 'encrypted-in-place') return;
    for (const { gpa, length } of around(GHCB_GPA, end))
      guarded.load(vcpu, { gpa, length, hva: this.mapping.hva + gpa });
  }

  #copyIn(guarded: ProtectedVm, vcpu: Vcpu, images: readonly Image[], end: number): void {
    const { sys } = this.vm;
    const staging = Mapping.anonymous(sys, SHARED_SIZE);
    try {
      for (const { gpa, bytes } of images) {
        if (gpa < SHARED_SIZE) staging.write(gpa, bytes);
        else this.#loadReset(guarded, vcpu, gpa, bytes);
      }
      for (const { gpa, length } of around(GHCB_GPA, end)) {
        this.#makePrivate(gpa, length);
        guarded.load(vcpu, { gpa, length, hva: staging.hva + gpa });
      }
    } finally {
      staging.close();
    }
  }

  /** The page at the reset vector, in a slot of its own. */
  #loadReset(guarded: ProtectedVm, vcpu: Vcpu, gpa: number, bytes: Uint8Array): void {
    const { sys } = this.vm;
    const length = pagesOf(bytes.length);
    const source = Mapping.anonymous(sys, length);
    this.#resources.push(source);
    source.write(0, bytes);
    const slot = { slot: RESET_SLOT, gpa, size: length };
    if (this.#design.convertsInPlace) {
      // A file without INIT_SHARED is private from the start.
      const guestMemfd = this.vm.createGuestMemfd(length);
      this.#resources.push(guestMemfd, this.vm.addMemslot({ ...slot, backing: source, guestMemfd }));
    } else privateSide(this.vm, this.#design, slot, source, this.#resources)(0, length);
    guarded.load(vcpu, { gpa, length, hva: source.hva });
  }
}

/** What the program needs, without the page of the GHCB, which must stay shared. */
const around = (hole: number, end: number): { gpa: number; length: number }[] => [
  { gpa: 0, length: hole },
  { gpa: hole + PAGE, length: end - hole - PAGE },
];

type BootDesign = Pick<Design, 'convertsInPlace' | 'privateFile'>;
/** Bytes from the start of the memory. */
type MakePrivate = (offset: number, length: number) => void;

interface Made {
  readonly mapping: Mapping;
  readonly detail: string;
  readonly makePrivate?: MakePrivate;
}

interface Slot {
  readonly slot: number;
  readonly gpa: number;
  readonly size: number;
}

/** A memslot of 2022, which is deleted as any other. */
class BoundMemfd extends Owner {
  constructor(vm: Vm, slot: number) {
    super(vm.sys, undefined, 'memslot with a memfd', () => {
      if (!vm.closed) vm.raw.setUserMemoryRegion({ slot });
    });
  }
}

/** Binds a slot with ordinary memory and a private side to it, all of it shared at first. */
function privateSide(vm: Vm, design: BootDesign, slot: Slot, shared: Mapping, resources: Owner[]): MakePrivate {
  const file = design.privateFile?.(vm, slot.size);
  if (file === undefined) {
    const guestMemfd = vm.createGuestMemfd(slot.size);
    resources.push(guestMemfd, vm.addMemslot({ ...slot, backing: shared, guestMemfd }));
    return (offset, length) => vm.setPrivate(slot.gpa + offset, length);
  }
  resources.push(file);
  setPrivateRegion(vm, { ...slot, hva: shared.hva, fd: file.fd });
  resources.push(new BoundMemfd(vm, slot.slot));
  // What the file holds is private.
  return (offset, length) => file.fallocate(0, offset, length);
}

function make(vm: Vm, technology: Technology, design: BootDesign, resources: Owner[]): Made {
  const slot = { slot: SHARED_SLOT, gpa: 0, size: SHARED_SIZE };
  const keep = <T extends Owner>(owner: T): T => {
    resources.push(owner);
    return owner;
  };
  const twoSided = technology.initialContents === 'copied-in';
  if (twoSided && design.convertsInPlace) {
    const guestMemfd = keep(vm.createGuestMemfd(SHARED_SIZE, { mmap: true, initShared: true }));
    const mapping = keep(guestMemfd.map());
    keep(vm.addMemslot({ ...slot, backing: mapping, guestMemfd }));
    const makePrivate: MakePrivate = (offset, length) =>
      setAttributes2(vm.sys, guestMemfd.fd, { offset, length }, 'private');
    return { mapping, makePrivate, detail: 'one guest_memfd holds the guest, 1 MiB at gpa 0' };
  }
  // An ordinary memfd, sealed so that its size cannot change under the guest.
  const file = keep(Memfd.create(vm.sys, { name: 'privmem-shared', size: SHARED_SIZE }));
  const { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL } = F_SEAL.value;
  file.addSeals(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  const mapping = keep(file.map());
  const seals = `0x${file.seals.toString(16)}`;
  if (!twoSided) {
    keep(vm.addMemslot({ ...slot, backing: mapping }));
    return { mapping, detail: `a memfd with seals ${seals} is the shared side, 1 MiB at gpa 0` };
  }
  const makePrivate = privateSide(vm, design, slot, mapping, resources);
  const kind = design.privateFile === undefined ? 'guest_memfd' : 'memfd';
  return {
    mapping,
    makePrivate,
    detail: `a memfd with seals ${seals} is the shared side, a ${kind} the private one, 1 MiB at gpa 0`,
  };
}
