/**
 * What a memslot of a kernel with a series of 2022 has of a memfd, and how the guest's faults in it are told. virt/kvm/kvm_main.c and
 * arch/x86/kvm/mmu/mmu.c of the series, v5. The same for every type of VM that opts in.
 */
import { KVM_RUN_EXIT_OFFSET } from '../../uapi/kvm-run.ts';
import { KVM_EXIT_MEMORY_ERROR, kvm_run_memory_error } from '../../uapi/proposed.ts';
import { EINVAL, EOPNOTSUPP } from '../errno.ts';
import { MemfdFile } from '../files/memfd.ts';
import type { MemslotTable } from '../kvm/memslot-table.ts';
import type { BindableFile, Memslot } from '../kvm/slot.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import type { X64Vm as Vm } from '../kvm/x64/vm.ts';
import { PAGE_SIZE } from '../page.ts';
import type { PageStore } from '../page-store.ts';
import type { MemfileListener } from './memfile.ts';

const AT = KVM_RUN_EXIT_OFFSET;
const ERROR = kvm_run_memory_error.offsets;

/** One memslot's hold on a memfd, and what it is told of it. */
export class MemfileBinding implements BindableFile, MemfileListener {
  readonly #vm: Vm;
  readonly #file: MemfdFile;
  readonly pages: PageStore;
  /** No offset is looked at. */
  readonly size = 2n ** 63n;
  readonly mappable = false;
  #slot: Memslot | undefined;
  #unregister: (() => void) | undefined;

  constructor(vm: Vm, file: MemfdFile) {
    this.#vm = vm;
    this.#file = file;
    this.pages = file.pages;
  }

  /** Nobody minds that somebody else has the page. */
  isBound(): boolean {
    return false;
  }

  bind(_from: number, _to: number, slot: Memslot): void {
    const { memfile } = this.#file;
    this.#slot = slot;
    this.#file.retain();
    this.#unregister = memfile?.register(this);
    this.#vm.technology?.fileCreated(this);
    if (memfile === undefined || !this.#vm.machine.profile.patches.has('register-converts')) return;
    // The variant: from now on the file is the guest's alone, with what it holds.
    memfile.inaccessible = true;
    this.pages.moved();
  }

  unbind(): void {
    if (this.#slot === undefined) return;
    this.#slot = undefined;
    this.#unregister?.();
    this.#file.drop();
  }

  page(filePage: number, write: boolean): Uint8Array | undefined {
    return this.pages.has(filePage) ? this.pages.page(filePage, write) : undefined;
  }

  fallocate(from: number, to: number): void {
    this.#tell('fallocate', 'shared', from, to);
  }

  invalidate(from: number, to: number): void {
    this.#tell('invalidate', 'private', from, to);
  }

  #tell(callback: 'fallocate' | 'invalidate', zapped: 'shared' | 'private', from: number, to: number): void {
    const slot = this.#slot;
    if (slot === undefined) return;
    const first = Math.max(from, slot.filePage);
    const last = Math.min(to, slot.filePage + slot.pages);
    if (first >= last) return;
    this.#vm.memory.changed();
    this.#vm.process.events.push({
      ...{ kind: 'memfile-notifier', callback, zapped, ino: this.#file.ino },
      ...{ from: first * PAGE_SIZE, to: last * PAGE_SIZE, slot: slot.id },
      ...{ gpa: (slot.gfn + first - slot.filePage) * PAGE_SIZE, size: (last - first) * PAGE_SIZE },
    });
  }
}

/** The file of private_fd: one whose file system registered a backing store, which is tmpfs. */
export function memfileOf(vm: Vm, fd: number): BindableFile | number {
  const file = vm.process.fds.get(fd);
  if (file === undefined) return -EINVAL;
  return file instanceof MemfdFile && file.memfile !== undefined ? new MemfileBinding(vm, file) : -EOPNOTSUPP;
}

/** kvm_faultin_pfn_private: what the file holds is private. */
export function isPrivateInMemfile(slots: MemslotTable, gfn: number): boolean {
  const slot = slots.at(gfn);
  return slot?.hasFile === true && slot.file?.page(slot.filePage + gfn - slot.gfn, false) !== undefined;
}

export function writeMemoryError({ page }: Vcpu, gpa: number, isPrivate: boolean): void {
  page.exitReason = KVM_EXIT_MEMORY_ERROR;
  page.run.setUint32(AT + ERROR.flags, isPrivate ? 1 : 0, true);
  page.run.setUint32(AT + ERROR.padding, 0, true);
  page.run.setBigUint64(AT + ERROR.gpa, BigInt(gpa), true);
  page.run.setBigUint64(AT + ERROR.size, BigInt(PAGE_SIZE), true);
}

/** Slots hold their files as long as the VM lives. */
export function unbindMemfiles(vm: Vm): void {
  vm.slots.forEach((slot) => {
    slot.file?.unbind(slot.filePage, slot.filePage + slot.pages);
  });
}
