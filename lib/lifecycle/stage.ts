/** What a lifecycle plays on: one VM of the technology, its guest, the memfile under test. */
import { addressPattern, type GuestArch, type Pattern, SHARED_ALIAS, SIDE_BIT } from '../guest/index.ts';
import { KernelError, MemoryFaultError } from '../kernel/errors.ts';
import type { Kvm } from '../kvm/kvm.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Vm } from '../kvm/vm.ts';
import { GUEST_MEMFD_FLAG } from '../uapi/index.ts';
import { Agent, type Answer, type ConversionRequest, type Orders } from './agent.ts';
import { agentProgram, type Order } from './agent-program.ts';
import { BootMemory } from './boot-memory.ts';
import type { BoundSlot, Design, Done, Memfile, Range } from './designs/index.ts';
import { MemoryMap } from './memory-map.ts';
import type { ProtectedVm, Technology } from './technologies/index.ts';
import type { MemoryRun } from './words.ts';
import { GuestFault, NotTried, Unexpected } from './words.ts';

/** Where the private memory lies: above 4 GiB, away from everything that a PC has below. */
export const PRIVATE_GPA = 0x1_0000_0000;
/** Where a second memfile lies. */
export const SECOND_GPA = 0x1_8000_0000;
export const PAGE = 4096;

const PRIVATE_SLOT = 1;

/** Initial contents: every word is its own gpa XOR this, so that a page at a wrong place is noticed. */
export const SEED = 0x5eed_0000_0000_0001n;
export const INITIAL: Pattern = addressPattern(SEED);

/** Shared memory of the guest that contents pass through when their place changes sides. */
export const BOUNCE = 0x8_0000;
export const BOUNCE_SIZE = 0x1_0000;

export interface StageOptions {
  /** Bytes of private memory. */
  readonly size: number;
  readonly guards: boolean;
  readonly signal: AbortSignal;
}

export class Stage {
  readonly kvm: Kvm;
  readonly design: Design;
  readonly technology: Technology;
  /** Bytes of private memory. */
  readonly size: number;
  readonly map: MemoryMap;
  readonly #options: StageOptions;
  guarded: ProtectedVm | undefined;
  memfile: Memfile | undefined;
  #boot: BootMemory | undefined;
  #vcpu: Vcpu | undefined;
  #agent: Agent | undefined;
  #carriedOut: Done | undefined;
  #bound = false;

  constructor(kvm: Kvm, design: Design, technology: Technology, options: StageOptions) {
    this.kvm = kvm;
    this.design = design;
    this.technology = technology;
    this.size = options.size;
    this.#options = options;
    this.map = new MemoryMap(options.size);
  }

  /** What guest programs are written for. */
  get arch(): GuestArch {
    return this.kvm.sys.kernel.arch;
  }

  get guards(): boolean {
    return this.#options.guards;
  }

  /** The range that is converted: two pages in the middle. */
  get converted(): Range {
    return { offset: Math.floor(this.size / PAGE / 2) * PAGE, length: 2 * PAGE };
  }

  /** The guest says by the address which side it means. */
  get sided(): boolean {
    return this.technology.guest !== 'none' || this.design.sided;
  }

  needVm(): Vm {
    return this.needGuarded().vm;
  }

  needGuarded(): ProtectedVm {
    if (this.guarded === undefined) throw new Error('the lifecycle has no VM yet');
    return this.guarded;
  }

  needMemfile(): Memfile {
    if (this.memfile === undefined) throw new Error('the lifecycle has no memfile yet');
    return this.memfile;
  }

  /** Whether a file of this VM can be mapped although its pages are private: GUEST_MEMFD_FLAG_MMAP, Linux 6.18. */
  get canMapPrivate(): boolean {
    return (this.needVm().guestMemfdFlags() & GUEST_MEMFD_FLAG.value.GUEST_MEMFD_FLAG_MMAP) !== 0;
  }

  /** Another VM of the technology. NotTried where the host has none to give: of its memfile that says nothing. */
  openAnother(): ProtectedVm {
    try {
      return this.technology.open(this.kvm);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      throw new NotTried(`another VM cannot be had: ${error.request ?? error.syscall}: ${error.code}`);
    }
  }

  /** Whether shared pages are in another file than private ones: then the host may find zeros where the guest has its data. */
  get twoFiles(): boolean {
    const { file, sharedFile } = this.needMemfile();
    return sharedFile !== file;
  }

  /** Whether the processor encrypts what is private, so that host and guest find garbage in what the other wrote. */
  get encrypts(): boolean {
    return this.technology.guest.startsWith('sev');
  }

  makeMemfile(size = this.size): Memfile {
    return this.design.create(this.needVm(), size, { guards: this.guards });
  }

  /** The guest's own memory. */
  makeShared(): string {
    this.#boot = BootMemory.create(this.needVm(), this.technology, this.design);
    return this.#boot.detail;
  }

  bind(slot = PRIVATE_SLOT): BoundSlot {
    const memfile = this.needMemfile();
    const bound = memfile.bind(slot, PRIVATE_GPA);
    this.map.set({ offset: 0, length: this.size }, memfile.startsAs);
    this.#bound = true;
    return bound;
  }

  /** Makes the guest: its vCPU, its program, the beginning of its launch. */
  startLaunch(): string {
    if (this.#boot === undefined) throw new Error('the guest has no memory yet');
    const { technology, arch, sided } = this;
    const guarded = this.needGuarded();
    const vcpu = guarded.createVcpu(this.kvm);
    this.#vcpu = vcpu;
    const program = agentProgram({
      arch,
      technology: technology.guest,
      sided,
      givesMailbox: technology.conversion === 'hypervisor',
      converts: technology.conversion === 'asks-host' || technology.conversion === 'hypervisor',
      touches: [PRIVATE_GPA, SECOND_GPA]
        .map((gpa) => ({ gpa, size: 2 * this.size + PAGE }))
        .concat({ gpa: 0, size: 0x100000 }),
    });
    const started = guarded.start();
    const sides = sided ? (SIDE_BIT[technology.guest] ?? SIDE_BIT.tdx) : undefined;
    const boot = this.#boot;
    const load = (): void => boot.load(guarded, vcpu, program, sides);
    load();
    const sealed = technology.guest === 'sev-es' || technology.guest === 'sev-snp' || technology.guest === 'tdx';
    this.#agent = new Agent({
      vcpu,
      program,
      memory: boot.mapping,
      signal: this.#options.signal,
      convert: (request) => this.carryOut(request),
      ...(sealed ? {} : { restart: () => boot.restart(vcpu, program, sides) }),
    });
    return started;
  }

  needVcpu(): Vcpu {
    if (this.#vcpu === undefined) throw new Error('the lifecycle has no vCPU yet');
    return this.#vcpu;
  }

  get agent(): Agent {
    if (this.#agent === undefined) throw new Error('the lifecycle has no guest yet');
    return this.#agent;
  }

  /** Where the guest reaches a place of the memfile: as private memory, or as shared. */
  at(offset: number, side: 'private' | 'shared' = 'private', gpa = PRIVATE_GPA): number {
    return gpa + offset + (side === 'shared' && this.sided ? SHARED_ALIAS : 0);
  }

  /** Where the guest reaches its own shared memory. */
  bounce(): number {
    return this.sided ? BOUNCE + SHARED_ALIAS : BOUNCE;
  }

  async guest(order: Order, orders: Orders): Promise<Answer> {
    this.#noteTouch(orders);
    return this.agent.order(order, orders);
  }

  /** pKVM: what the guest touches becomes its own. Nobody can ask the kernel for it. */
  #noteTouch({ address, length = 8 }: Orders): void {
    if (this.technology.conversion !== 'hypervisor') return;
    const offset = Math.floor((address - PRIVATE_GPA) / PAGE) * PAGE;
    const end = Math.ceil((address - PRIVATE_GPA + length) / PAGE) * PAGE;
    if (offset < 0 || end > this.size) return;
    this.map.touch({ offset, length: end - offset });
  }

  /** Carries out what the guest asks for. */
  carryOut({ gpa, size, to }: ConversionRequest): void {
    const range = { offset: gpa - PRIVATE_GPA, length: size };
    if (this.second !== undefined && gpa >= SECOND_GPA) {
      const place = { offset: gpa - SECOND_GPA, length: size };
      if (to === 'shared') this.second.toShared(place);
      else this.second.toPrivate(place);
      return;
    }
    if (range.offset < 0 || range.offset + size > this.size)
      throw new Unexpected(`the guest asks for gpa 0x${gpa.toString(16)}, which is not of the memfile`);
    const memfile = this.needMemfile();
    this.#carriedOut = to === 'shared' ? memfile.toShared(range) : memfile.toPrivate(range);
    this.map.set(range, to);
  }
  /** A second memfile, at {@link SECOND_GPA}. */
  second: Memfile | undefined;

  /** What the last conversion that the guest asked for did. */
  takeCarriedOut(): Done {
    const done = this.#carriedOut;
    this.#carriedOut = undefined;
    if (done === undefined) throw new Unexpected('the guest did not ask for a conversion');
    return done;
  }

  /** The part of the memfile that the host last asked for, for the place of a fault in it. */
  hostRange: Range | undefined;

  /** Pages that the file holds; undefined where it cannot be asked (before Linux 6.5). */
  resident(): number | undefined {
    const held = this.needMemfile().file.raw.residency();
    return held.ok ? held.value.cache : undefined;
  }

  heldText(): string {
    const held = this.resident();
    return held === undefined
      ? 'how many pages the memfile holds, this kernel does not say'
      : `the memfile holds ${held} pages`;
  }

  /** Where in the memfile an error happened. */
  placeOf(error: unknown): Range | undefined {
    const range = this.hostRange;
    this.hostRange = undefined;
    const page = (at: number): Range | undefined =>
      at >= 0 && at < this.size ? { offset: Math.floor(at / PAGE) * PAGE, length: PAGE } : undefined;
    if (error instanceof GuestFault) return page(error.exit.gpa - PRIVATE_GPA);
    if (error instanceof MemoryFaultError && range !== undefined) return page(range.offset + error.fault.offset);
    return undefined;
  }

  /** The memfile as it is, with the place that faulted; undefined while there is none. */
  memory(faulting?: Range): readonly MemoryRun[] | undefined {
    return this.memfile === undefined ? undefined : this.map.runs(this.memfile, this.#bound, faulting);
  }

  /** Closes whatever is open, in the order that every technology allows. */
  close(): void {
    this.#vcpu?.close();
    this.second?.close();
    this.second = undefined;
    this.memfile?.close();
    this.#boot?.close();
    this.guarded?.close();
    this.memfile = undefined;
  }
}
