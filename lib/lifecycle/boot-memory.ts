/**
 * The guest's own memory: its program, its page tables, its mailbox, everything that is no subject of the lifecycle. Guest-physical 0, 1 MiB.
 * Where the technology keeps private pages in a guest_memfd, the program lies in such pages and the rest is shared.
 */
import { a64, GHCB_GPA, type GuestProgram, type SideBit, x64 } from '../guest/index.ts';
import { Owner } from '../kernel/owner.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Vm } from '../kvm/vm.ts';
import { Mapping } from '../memory/mapping.ts';
import { Memfd } from '../memory/memfd.ts';
import { F_SEAL } from '../uapi/index.ts';
import { setAttributes2 } from './attributes2.ts';
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
  readonly #inPlace: number | undefined;
  readonly detail: string;
  readonly #technology: Technology;

  private constructor(vm: Vm, technology: Technology, made: Made, resources: Owner[]) {
    super(vm.sys, undefined, 'boot memory', () => {
      for (const resource of resources.reverse()) resource.close();
    });
    this.vm = vm;
    this.#technology = technology;
    this.mapping = made.mapping;
    this.detail = made.detail;
    this.#inPlace = made.inPlace;
    this.#resources = resources;
  }

  /** Makes the memory and its memslot. `inPlace`: files of this VM convert their pages themselves. */
  static create(vm: Vm, technology: Technology, inPlace: boolean): BootMemory {
    const resources: Owner[] = [];
    try {
      const made = make(vm, technology, inPlace, resources);
      return new BootMemory(vm, technology, made, resources);
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
    if (program.technology !== 'tdx') {
      vcpu.x64.updateSregs(start.sregs);
      vcpu.x64.setRegs(start.regs);
    }
    const end = pagesOf(program.base + program.size);
    switch (this.#technology.initialContents) {
      case 'encrypted-in-place':
        for (const { gpa, bytes } of start.memory) this.mapping.write(gpa, bytes);
        for (const { gpa, length } of around(GHCB_GPA, end))
          guarded.load(vcpu, { gpa, length, hva: this.mapping.hva + gpa });
        return;
      case 'copied-in':
        this.#copyIn(guarded, vcpu, start.memory, end);
        return;
      default:
        for (const { gpa, bytes } of start.memory) this.mapping.write(gpa, bytes);
    }
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
        if (this.#inPlace === undefined) this.vm.setPrivate(gpa, length);
        else setAttributes2(sys, this.#inPlace, { offset: gpa, length }, 'private');
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
    const file = this.vm.createGuestMemfd(length);
    this.#resources.push(file);
    const backing = { backing: source, guestMemfd: file };
    this.#resources.push(this.vm.addMemslot({ slot: RESET_SLOT, gpa, size: length, ...backing }));
    // With conversion in place, a file without INIT_SHARED is private from the start.
    if (this.#inPlace === undefined) this.vm.setPrivate(gpa, length);
    guarded.load(vcpu, { gpa, length, hva: source.hva });
  }
}

/** What the program needs, without the page of the GHCB, which must stay shared. */
const around = (hole: number, end: number): { gpa: number; length: number }[] => [
  { gpa: 0, length: hole },
  { gpa: hole + PAGE, length: end - hole - PAGE },
];

interface Made {
  readonly mapping: Mapping;
  readonly detail: string;
  /** Descriptor of the file that converts in place. */
  readonly inPlace?: number;
}

function make(vm: Vm, technology: Technology, inPlace: boolean, resources: Owner[]): Made {
  const slot = { slot: SHARED_SLOT, gpa: 0, size: SHARED_SIZE };
  const keep = <T extends Owner>(owner: T): T => {
    resources.push(owner);
    return owner;
  };
  const twoSided = technology.initialContents === 'copied-in';
  if (twoSided && inPlace) {
    const guestMemfd = keep(vm.createGuestMemfd(SHARED_SIZE, { mmap: true, initShared: true }));
    const mapping = keep(guestMemfd.map());
    keep(vm.addMemslot({ ...slot, backing: mapping, guestMemfd }));
    return { mapping, inPlace: guestMemfd.fd, detail: 'one guest_memfd holds the guest, 1 MiB at gpa 0' };
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
  const guestMemfd = keep(vm.createGuestMemfd(SHARED_SIZE));
  keep(vm.addMemslot({ ...slot, backing: mapping, guestMemfd }));
  return {
    mapping,
    detail: `a memfd with seals ${seals} is the shared side, a guest_memfd the private one, 1 MiB at gpa 0`,
  };
}
