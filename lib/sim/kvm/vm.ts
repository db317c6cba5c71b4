/** A virtual machine: its memory layout, what it lets the guest do, its vCPUs. It lives as long as anything refers to it. */
import { EEXIST, EINVAL, ENOTTY } from '../errno.ts';
import { GuestMemfdFile } from '../files/guest-memfd.ts';
import { isAligned } from '../page.ts';
import { SET_MEMORY_ATTRIBUTES2, setAttributes2 } from '../patches/in-place.ts';
import { MemfileVm } from '../patches/memfile-vm.ts';
import type { Process } from '../process.ts';
import { MemoryAttributes } from './attributes.ts';
import { ATTRIBUTE_PRIVATE, guestMemfdFlags, takesGuestMemfd } from './capabilities.ts';
import { GmemBindings } from './gmem-bindings.ts';
import { GuestMemory } from './guest-memory.ts';
import { MAX_VCPU_ID, MAX_VCPUS } from './limits.ts';
import { type KvmMachine, VM_DEFAULT, VM_MEMFILE, VM_TDX } from './machine.ts';
import { MemslotTable } from './memslot-table.ts';
import type { BindableFile, RegionRequest } from './slot.ts';
import { technologyOf } from './technologies.ts';
import type { VmTechnology } from './technology.ts';
import type { Vcpu } from './vcpu.ts';

/** kvm_gmem_is_private: the file behind the gpa says so. */
function isPrivateInFile(slots: MemslotTable, gfn: number): boolean {
  const slot = slots.at(gfn);
  return slot?.file?.isShared?.(slot.filePage + gfn - slot.gfn) === false;
}

export class Vm {
  readonly machine: KvmMachine;
  readonly process: Process;
  readonly type: number;
  readonly addressSpaces: number;
  readonly maxVcpus: number;
  readonly slots: MemslotTable;
  readonly attributes: MemoryAttributes;
  readonly memory: GuestMemory;
  /** Hypercalls that userspace answers: a mask of 1 << number. */
  exitHypercalls = 0n;
  /** Some slot came to be once: without, shadow paging has no page to work with. */
  hadSlots = false;
  /** KVM has given the VM up: every request is EIO. kvm_vm_dead, KVM_BUG_ON */
  dead = false;
  /** KVM_CAP_SPLIT_IRQCHIP: local APICs are the kernel's. Only trust domains have use for it here. */
  splitIrqchip = false;
  readonly vcpus: Vcpu[] = [];
  readonly technology: VmTechnology | undefined;
  #references = 0;
  readonly #files = new Map<unknown, GmemBindings>();
  readonly #vcpuIds = new Set<number>();

  constructor(machine: KvmMachine, process: Process, type: number) {
    this.machine = machine;
    this.process = process;
    this.type = type;
    const hasPrivate = machine.hasPrivateMemory(type);
    const changed = (): void => this.memory.changed();
    this.maxVcpus = type === VM_TDX ? machine.cpus : MAX_VCPUS;
    this.addressSpaces = machine.addressSpaces(type);
    const attribute = hasPrivate && !machine.convertsInPlace ? BigInt(ATTRIBUTE_PRIVATE) : 0n;
    this.attributes = new MemoryAttributes(attribute, (from, to, isPrivate) => {
      this.memory.zap(from, to);
      changed();
      this.technology?.converted(from, to, isPrivate);
    });
    this.slots = new MemslotTable(
      {
        addressSpaces: this.addressSpaces,
        userLimit: machine.userLimit,
        readonlyMemory: !machine.hasProtectedState(type),
        guestMemfd: takesGuestMemfd(machine, type) || (machine.hasMemfiles && type === VM_MEMFILE),
        gfnLimit: machine.gfnLimit,
        isAlias: (gfn) => this.technology?.isAlias(gfn) === true,
        boundIsExist: machine.profile.bindingOverlap === 'EEXIST',
        signedFileCheck: !machine.profile.bindingUnsigned,
        // KVM_X86_QUIRK_SLOT_ZAP_ALL: a default VM forgets all of its memory.
        zap: (from, to) => (type === VM_DEFAULT ? this.memory.zap() : this.memory.zap(from, to)),
        fileOf: (fd) => this.#fileOf(fd),
      },
      (removed) => {
        changed();
        if (removed !== undefined) this.technology?.slotRemoved(removed);
      },
    );
    const { slots, attributes } = this;
    this.memory = new GuestMemory({
      slots,
      isPrivate: machine.convertsInPlace ? (gfn) => isPrivateInFile(slots, gfn) : (gfn) => attributes.isPrivate(gfn),
      space: process.space,
      hasPrivate,
      emulated: machine.emulatesGuests,
    });
    this.technology = technologyOf(this);
  }

  #fileOf(fd: number): BindableFile | undefined | null | number {
    if (this.technology instanceof MemfileVm) return this.technology.fileOf(fd);
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
    if ((flags & ~BigInt(guestMemfdFlags(machine, this.type))) !== 0n) return -EINVAL;
    if (BigInt.asIntN(64, size) <= 0n || !isAligned(size)) return -EINVAL;
    const reserved = process.fds.next();
    if (reserved < 0) return reserved;
    const inPlace = machine.convertsInPlace;
    const file: GuestMemfdFile = new GuestMemfdFile({
      profile: machine.profile,
      ino: process.nextInode(),
      size,
      flags: Number(flags),
      ...(inPlace
        ? {
            onIoctl: (request: number, arg: bigint) =>
              request === SET_MEMORY_ATTRIBUTES2 ? setAttributes2(this, file, arg) : -ENOTTY,
          }
        : {}),
      onRelease: () => {
        this.#files.get(file)?.release();
        this.#files.delete(file);
        this.drop();
      },
    });
    this.retain();
    this.technology?.fileCreated(file);
    this.#files.set(file, new GmemBindings(file, () => this.memory.changed()));
    return process.fds.install(file, false);
  }

  /** The id of a vCPU to be: 0, or a negated errno. */
  reserveVcpu(id: bigint): number {
    if (id >= BigInt(MAX_VCPU_ID) || this.#vcpuIds.size >= this.maxVcpus) return -EINVAL;
    if (this.#vcpuIds.has(Number(id))) return -EEXIST;
    this.#vcpuIds.add(Number(id));
    return 0;
  }

  /** vCPUs are counted from their creation on, whatever becomes of their descriptors. */
  get vcpuCount(): number {
    return this.#vcpuIds.size;
  }

  releaseVcpu(id: number): void {
    this.#vcpuIds.delete(id);
    const index = this.vcpus.findIndex((vcpu) => vcpu.id === id);
    if (index >= 0) this.vcpus.splice(index, 1);
  }

  /** One more descriptor or file that the VM is needed for: kvm_get_kvm. */
  retain(): void {
    this.#references++;
  }

  drop(): void {
    this.#references--;
    if (this.#references === 0) this.technology?.destroy();
  }
}
