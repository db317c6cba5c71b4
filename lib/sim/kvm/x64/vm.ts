/** A virtual machine on x86-64: what protects it, how its vCPUs find its memory. */
import { KVM_SET_USER_MEMORY_REGION } from '../../../uapi/index.ts';
import { ENOTTY } from '../../errno.ts';
import type { GuestMemfdFile } from '../../files/guest-memfd.ts';
import { SET_MEMORY_ATTRIBUTES2, setAttributes2 } from '../../patches/in-place.ts';
import { isPrivateInMemfile, memfileOf, unbindMemfiles } from '../../patches/memfile-binding.ts';
import { setMemfileRegion } from '../../patches/memfile-region.ts';
import type { Process } from '../../process.ts';
import { GuestMemory } from '../guest-memory.ts';
import type { MemslotTable } from '../memslot-table.ts';
import type { BindableFile, Memslot } from '../slot.ts';
import { Vm } from '../vm.ts';
import type { X64Machine } from './machine.ts';
import { technologyOf } from './technologies.ts';
import type { VmTechnology } from './technology.ts';
import { VM_DEFAULT, VM_TDX } from './types.ts';
import type { X64Vcpu } from './vcpu.ts';

/** kvm_gmem_is_private: the file behind the gpa says so. */
function isPrivateInFile(slots: MemslotTable, gfn: number): boolean {
  const slot = slots.at(gfn);
  return slot?.file?.isShared?.(slot.filePage + gfn - slot.gfn) === false;
}

export class X64Vm extends Vm {
  declare readonly machine: X64Machine;
  override readonly memory: GuestMemory;
  /** KVM_CAP_SPLIT_IRQCHIP: local APICs are the kernel's. Only trust domains have use for it here. */
  splitIrqchip = false;
  readonly vcpus: X64Vcpu[] = [];
  readonly technology: VmTechnology | undefined;

  constructor(machine: X64Machine, process: Process, type: number) {
    super(machine, process, type);
    const { slots, attributes } = this;
    this.memory = new GuestMemory({
      slots,
      isPrivate: machine.hasMemfiles
        ? (gfn) => isPrivateInMemfile(slots, gfn)
        : machine.convertsInPlace
          ? (gfn) => isPrivateInFile(slots, gfn)
          : (gfn) => attributes.isPrivate(gfn),
      space: process.space,
      hasPrivate: machine.hasPrivateMemory(type),
      emulated: machine.emulatesGuests,
    });
    this.technology = technologyOf(this);
  }

  /** In place, files have them; in 2022 there were none. */
  protected override get attributesOfType(): bigint {
    return this.machine.convertsInPlace || this.machine.hasMemfiles ? 0n : super.attributesOfType;
  }

  protected override get takesReadonly(): boolean {
    return !this.machine.hasProtectedState(this.type);
  }

  override get maxVcpus(): number {
    return this.type === VM_TDX ? this.machine.cpus : super.maxVcpus;
  }

  protected override attributesChanged(from: number, to: number, isPrivate: boolean): void {
    super.attributesChanged(from, to, isPrivate);
    this.technology?.converted(from, to, isPrivate);
  }

  /** KVM_X86_QUIRK_SLOT_ZAP_ALL: a default VM forgets all of its memory. */
  protected override slotZapped(from: number, to: number): void {
    if (this.type === VM_DEFAULT) {
      this.memory.zap();
      for (const { root } of this.vcpus) root.outdate();
    } else super.slotZapped(from, to);
  }

  protected override slotsChanged(removed: Memslot | undefined): void {
    super.slotsChanged(removed);
    if (removed !== undefined) this.technology?.slotRemoved(removed);
  }

  protected override fileOf(fd: number): BindableFile | undefined | null | number {
    return this.machine.hasMemfiles ? memfileOf(this, fd) : super.fileOf(fd);
  }

  protected override fileRequests(file: () => GuestMemfdFile) {
    if (!this.machine.convertsInPlace) return {};
    return {
      onIoctl: (request: number, arg: bigint): number =>
        request === SET_MEMORY_ATTRIBUTES2 ? setAttributes2(this, file(), arg) : -ENOTTY,
    };
  }

  protected override fileCreated(file: GuestMemfdFile): void {
    this.technology?.fileCreated(file);
  }

  /** The memory region of 2022 is another struct under the same name. */
  override replacedRequest(request: number, arg: bigint): number | undefined {
    if (request !== KVM_SET_USER_MEMORY_REGION.request || !this.machine.hasMemfiles) return undefined;
    return setMemfileRegion(this, arg);
  }

  override mayCreateVcpu(): number {
    return this.technology?.mayCreateVcpu() ?? 0;
  }

  override releaseVcpu(id: number): void {
    super.releaseVcpu(id);
    const index = this.vcpus.findIndex((vcpu) => vcpu.id === id);
    if (index >= 0) this.vcpus.splice(index, 1);
  }

  protected override release(): void {
    if (this.machine.hasMemfiles) unbindMemfiles(this);
    this.technology?.destroy();
  }
}
