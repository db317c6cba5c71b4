/** A virtual machine: its memory layout, what it lets the guest do, its vCPUs. It lives as long as anything refers to it. */
import { EEXIST, EINVAL } from '../errno.ts';
import { GuestMemfdFile } from '../files/guest-memfd.ts';
import { isAligned } from '../page.ts';
import type { Process } from '../process.ts';
import type { GuestBus } from '../vcpu/bus.ts';
import { MemoryAttributes } from './attributes.ts';
import { ATTRIBUTE_PRIVATE } from './capabilities.ts';
import { GmemBindings } from './gmem-bindings.ts';
import type { KvmMachine } from './machine.ts';
import { MemslotTable } from './memslot-table.ts';
import type { BindableFile, Memslot, RegionRequest } from './slot.ts';

export const DIRTY_LOG_MANUAL = 1;
export const DIRTY_LOG_INITIALLY_SET = 2;

/** Guest-physical memory of one VM. */
export interface VmMemory extends GuestBus {
  /** A slot, an attribute or a page of a bound file is no longer what it was. */
  changed(): void;
  /** The page tables lose what they have of the gfns [from, to); without bounds all. */
  zap(from?: number, to?: number): void;
}

export abstract class Vm {
  readonly machine: KvmMachine;
  readonly process: Process;
  readonly type: number;
  readonly addressSpaces: number;
  readonly slots: MemslotTable;
  readonly attributes: MemoryAttributes;
  abstract readonly memory: VmMemory;
  /** Hypercalls that userspace answers: a mask of 1 << number. */
  exitHypercalls = 0n;
  /** KVM_DIRTY_LOG bits: reading a log leaves it as it is. */
  manualDirtyLog = 0;
  /** Some slot came to be once: without, shadow paging has no page to work with. */
  hadSlots = false;
  /** KVM has given the VM up: every request is EIO. kvm_vm_dead, KVM_BUG_ON */
  dead = false;
  readonly #files = new Map<unknown, GmemBindings>();
  readonly #vcpuIds = new Set<number>();
  #references = 0;

  constructor(machine: KvmMachine, process: Process, type: number) {
    this.machine = machine;
    this.process = process;
    this.type = type;
    this.addressSpaces = machine.addressSpaces(type);
    this.attributes = new MemoryAttributes(this.attributesOfType, (from, to, isPrivate) =>
      this.attributesChanged(from, to, isPrivate),
    );
    this.slots = new MemslotTable(
      {
        addressSpaces: this.addressSpaces,
        userLimit: machine.userLimit,
        readonlyMemory: this.takesReadonly,
        guestMemfd: machine.takesGuestMemfd(type),
        memslots: machine.limits.memslots,
        prepare: (change, plan) => machine.prepareSlot(this, change, plan),
        boundIsExist: machine.profile.bindingOverlap === 'EEXIST',
        signedFileCheck: !machine.profile.bindingUnsigned,
        logsBeginFull: () => this.manualDirtyLog === (DIRTY_LOG_MANUAL | DIRTY_LOG_INITIALLY_SET),
        zap: (from, to) => this.slotZapped(from, to),
        fileOf: (fd) => this.fileOf(fd),
      },
      (removed) => this.slotsChanged(removed),
    );
  }

  /** KVM_MEMORY_ATTRIBUTE bits that VMs of the type have. */
  protected get attributesOfType(): bigint {
    return this.machine.hasPrivateMemory(this.type) ? BigInt(ATTRIBUTE_PRIVATE) : 0n;
  }

  /** KVM_MEM_READONLY. */
  protected get takesReadonly(): boolean {
    return true;
  }

  /** vCPUs at most. */
  get maxVcpus(): number {
    return this.machine.limits.vcpus;
  }

  protected attributesChanged(from: number, to: number, _isPrivate: boolean): void {
    this.memory.zap(from, to);
    this.memory.changed();
  }

  protected slotZapped(from: number, to: number): void {
    this.memory.zap(from, to);
  }

  protected slotsChanged(_removed: Memslot | undefined): void {
    this.memory.changed();
  }

  /** As {@link SlotRules.fileOf}. */
  protected fileOf(fd: number): BindableFile | undefined | null | number {
    const file = this.process.fds.get(fd);
    return file === undefined ? undefined : (this.#files.get(file) ?? null);
  }

  setRegion(request: RegionRequest): number {
    const result = this.slots.set(request);
    if (result === 0) this.hadSlots = true;
    return result;
  }

  /** KVM_CREATE_GUEST_MEMFD: the descriptor, which is not close-on-exec, or a negated errno. */
  createGuestMemfd(size: bigint, flags: bigint): number {
    const { machine, process } = this;
    if ((flags & ~BigInt(machine.guestMemfdFlags(this.type))) !== 0n) return -EINVAL;
    if (BigInt.asIntN(64, size) <= 0n || !isAligned(size)) return -EINVAL;
    const reserved = process.fds.next();
    if (reserved < 0) return reserved;
    const file: GuestMemfdFile = new GuestMemfdFile({
      profile: machine.profile,
      ino: process.nextInode(),
      size,
      flags: Number(flags),
      ...this.fileRequests(() => file),
      onRelease: () => {
        this.#files.get(file)?.release();
        this.#files.delete(file);
        this.drop();
      },
    });
    this.retain();
    this.fileCreated(file);
    this.#files.set(file, new GmemBindings(file, () => this.memory.changed()));
    return process.fds.install(file, false);
  }

  /** Requests that a guest_memfd of the VM knows. */
  protected fileRequests(_file: () => GuestMemfdFile): { readonly onIoctl?: (request: number, arg: bigint) => number } {
    return {};
  }

  protected fileCreated(_file: GuestMemfdFile): void {}

  /** The id of a vCPU to be: 0, or a negated errno. */
  reserveVcpu(id: bigint): number {
    if (id >= BigInt(this.machine.limits.vcpuIds) || this.#vcpuIds.size >= this.maxVcpus) return -EINVAL;
    if (this.#vcpuIds.has(Number(id))) return -EEXIST;
    this.#vcpuIds.add(Number(id));
    return 0;
  }

  /** Answers a request in place of virt/kvm, where a patched kernel does; undefined otherwise. */
  replacedRequest(_request: number, _arg: bigint): number | undefined {
    return undefined;
  }

  /** Before a vCPU is made: 0, or a negated errno. */
  mayCreateVcpu(): number {
    return 0;
  }

  /** vCPUs are counted from their creation on, whatever becomes of their descriptors. */
  get vcpuCount(): number {
    return this.#vcpuIds.size;
  }

  releaseVcpu(id: number): void {
    this.#vcpuIds.delete(id);
  }

  /** One more descriptor that refers to it: its own, or a vCPU's. */
  retain(): void {
    this.#references++;
  }

  drop(): void {
    this.#references--;
    if (this.#references === 0) this.release();
  }

  /** kvm_destroy_vm. */
  protected release(): void {}
}
