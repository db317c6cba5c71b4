/** What a lifecycle plays on: one VM, its shared memory, the memfile under test, a second VM. */
import { addressPattern, type GuestArch, type Pattern } from '../guest/index.ts';
import type { Kvm } from '../kvm/kvm.ts';
import type { Memslot } from '../kvm/memslot.ts';
import type { Vm } from '../kvm/vm.ts';
import type { Mapping } from '../memory/mapping.ts';
import { Memfd } from '../memory/memfd.ts';
import { F_SEAL, GUEST_MEMFD_FLAG } from '../uapi/index.ts';
import type { Design, Done, Memfile, Range } from './designs/index.ts';
import type { ConversionRequest } from './guest-runner.ts';
import type { Technology } from './technologies/index.ts';
import { Unexpected } from './words.ts';

/** The shared side: programs, page tables, everything that is no secret. Guest-physical 0, 1 MiB. */
export const SHARED_SIZE = 0x100000;
/** Where the private memory lies: above 4 GiB, away from everything that a PC has below. */
export const PRIVATE_GPA = 0x1_0000_0000;
export const PAGE = 4096;

const SHARED_SLOT = 0;
const PRIVATE_SLOT = 1;

/** Initial contents: every word is its own gpa XOR this, so that a page at a wrong place is noticed. */
export const INITIAL: Pattern = addressPattern(0x5eed_0000_0000_0001n);

export class Stage {
  readonly kvm: Kvm;
  readonly design: Design;
  readonly technology: Technology;
  /** Bytes of private memory. */
  readonly size: number;
  vm: Vm | undefined;
  memfile: Memfile | undefined;
  #carriedOut: Done | undefined;
  shared: { readonly file: Memfd; readonly mapping: Mapping; readonly slot: Memslot } | undefined;

  constructor(kvm: Kvm, design: Design, technology: Technology, size: number) {
    this.kvm = kvm;
    this.design = design;
    this.technology = technology;
    this.size = size;
  }

  /** What guest programs are written for. */
  get arch(): GuestArch {
    return this.kvm.sys.kernel.arch;
  }

  /** The range that is converted: two pages in the middle. */
  get converted(): Range {
    return { offset: Math.floor(this.size / PAGE / 2) * PAGE, length: 2 * PAGE };
  }

  needVm(): Vm {
    if (this.vm === undefined) throw new Error('the lifecycle has no VM yet');
    return this.vm;
  }

  needMemfile(): Memfile {
    if (this.memfile === undefined) throw new Error('the lifecycle has no memfile yet');
    return this.memfile;
  }

  /** Whether a file of this VM can be mapped although its pages are private: GUEST_MEMFD_FLAG_MMAP, Linux 6.18. */
  get canMapPrivate(): boolean {
    return (this.needVm().guestMemfdFlags() & GUEST_MEMFD_FLAG.value.GUEST_MEMFD_FLAG_MMAP) !== 0;
  }

  /** Carries out what the guest asks for. */
  carryOut({ gpa, size, to }: ConversionRequest): void {
    const range = { offset: gpa - PRIVATE_GPA, length: size };
    if (range.offset < 0 || range.offset + size > this.size)
      throw new Unexpected(`the guest asks for gpa 0x${gpa.toString(16)}, which is not of the memfile`);
    const memfile = this.needMemfile();
    this.#carriedOut = to === 'shared' ? memfile.toShared(range) : memfile.toPrivate(range);
  }

  /** What the last conversion that the guest asked for did. */
  takeCarriedOut(): Done {
    const done = this.#carriedOut;
    this.#carriedOut = undefined;
    if (done === undefined) throw new Unexpected('the guest did not ask for a conversion');
    return done;
  }

  /** An ordinary memfd, sealed so that its size cannot change under the guest. */
  makeShared(): Memfd {
    const file = Memfd.create(this.kvm.sys, { name: 'privmem-shared', size: SHARED_SIZE });
    let mapping: Mapping | undefined;
    try {
      const { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL } = F_SEAL.value;
      file.addSeals(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
      mapping = file.map();
      const slot = this.needVm().addMemslot({ slot: SHARED_SLOT, gpa: 0, size: SHARED_SIZE, backing: mapping });
      this.shared = { file, mapping, slot };
      return file;
    } catch (error) {
      mapping?.close();
      file.close();
      throw error;
    }
  }

  bind(): Memslot {
    return this.needMemfile().bind(PRIVATE_SLOT, PRIVATE_GPA);
  }

  /** Closes whatever is open, in the order that every technology allows. */
  close(): void {
    this.memfile?.close();
    this.shared?.slot.close();
    this.shared?.mapping.close();
    this.shared?.file.close();
    this.vm?.close();
  }
}
