/** The requests of a VM's descriptor. virt/kvm/kvm_main.c, kvm_vm_ioctl; arch/x86/kvm/x86.c, kvm_arch_vm_ioctl */
import {
  KVM_CAP,
  KVM_CHECK_EXTENSION,
  KVM_CLEAR_DIRTY_LOG,
  KVM_CREATE_GUEST_MEMFD,
  KVM_CREATE_VCPU,
  KVM_ENABLE_CAP,
  KVM_GET_DIRTY_LOG,
  KVM_SET_MEMORY_ATTRIBUTES,
  KVM_SET_USER_MEMORY_REGION,
  KVM_SET_USER_MEMORY_REGION2,
  kvm_clear_dirty_log,
  kvm_create_guest_memfd,
  kvm_dirty_log,
  kvm_enable_cap,
  kvm_memory_attributes,
  kvm_userspace_memory_region,
  kvm_userspace_memory_region2,
} from '../../uapi/index.ts';
import { EFAULT, EINVAL, EIO, ENOENT } from '../errno.ts';
import type { SimFile } from '../file.ts';
import { checkExtension } from './capabilities.ts';
import type { DirtyLog } from './dirty-log.ts';
import { KvmFile } from './kvm-file.ts';
import type { Memslot, RegionRequest } from './slot.ts';
import { DIRTY_LOG_INITIALLY_SET, DIRTY_LOG_MANUAL, type Vm } from './vm.ts';

type Handler = (vm: Vm, arg: bigint) => number;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A handler of a struct: EFAULT when it cannot be read. */
const withStruct =
  (size: number, then: (vm: Vm, struct: DataView) => number): Handler =>
  (vm, arg) => {
    const bytes = vm.process.user.read(arg, size);
    return bytes === undefined ? -EFAULT : then(vm, viewOf(bytes));
  };

function region(struct: DataView): RegionRequest {
  const at = kvm_userspace_memory_region.offsets;
  return {
    slot: struct.getUint32(at.slot, true),
    flags: struct.getUint32(at.flags, true),
    gpa: struct.getBigUint64(at.guest_phys_addr, true),
    size: struct.getBigUint64(at.memory_size, true),
    hva: struct.getBigUint64(at.userspace_addr, true),
  };
}

function region2(struct: DataView): RegionRequest {
  const at = kvm_userspace_memory_region2.offsets;
  const fd = struct.getUint32(at.guest_memfd, true);
  return { ...region(struct), file: { fd, offset: struct.getBigUint64(at.guest_memfd_offset, true) } };
}

function setAttributes(vm: Vm, struct: DataView): number {
  const at = kvm_memory_attributes.offsets;
  return vm.attributes.set({
    address: struct.getBigUint64(at.address, true),
    size: struct.getBigUint64(at.size, true),
    attributes: struct.getBigUint64(at.attributes, true),
    flags: struct.getBigUint64(at.flags, true),
  });
}

function createGuestMemfd(vm: Vm, struct: DataView): number {
  const at = kvm_create_guest_memfd.offsets;
  return vm.createGuestMemfd(struct.getBigUint64(at.size, true), struct.getBigUint64(at.flags, true));
}

/** The log of the slot that a request names, or a negated errno. `judge`: what else is checked of the request before. */
function logOf(vm: Vm, number: number, judge = 0): { readonly slot: Memslot; readonly log: DirtyLog } | number {
  if (number >>> 16 >= vm.addressSpaces || (number & 0xffff) >= vm.machine.limits.memslots) return -EINVAL;
  if (judge !== 0) return judge;
  const slot = vm.slots.byId(number);
  const log = slot === undefined ? undefined : vm.slots.logOf(slot);
  return slot === undefined || log === undefined ? -ENOENT : { slot, log };
}

function getDirtyLog(vm: Vm, struct: DataView): number {
  const at = kvm_dirty_log.offsets;
  const found = logOf(vm, struct.getUint32(at.slot, true));
  if (typeof found === 'number') return found;
  const isManual = vm.manualDirtyLog !== 0;
  const { bitmap, any } = isManual ? { bitmap: found.log.look(), any: false } : found.log.take();
  // Writes are to be noticed anew; they are even when the bitmap cannot be handed over.
  if (any) vm.memory.changed();
  return vm.process.user.write(struct.getBigUint64(at.dirty_bitmap, true), bitmap) ? 0 : -EFAULT;
}

/** kvm_clear_dirty_log_protect: whether logs are cleared by hand or by reading. */
function clearDirtyLog(vm: Vm, struct: DataView): number {
  const at = kvm_clear_dirty_log.offsets;
  const first = struct.getBigUint64(at.first_page, true);
  const count = struct.getUint32(at.num_pages, true);
  const found = logOf(vm, struct.getUint32(at.slot, true), (first & 63n) === 0n ? 0 : -EINVAL);
  if (typeof found === 'number') return found;
  const rest = BigInt(found.slot.pages) - first;
  // Whole words, except at the end of the slot.
  if (rest < 0n || BigInt(count) > rest || (BigInt(count) < rest && count % 64 !== 0)) return -EINVAL;
  const bitmap = vm.process.user.read(struct.getBigUint64(at.dirty_bitmap, true), Math.ceil(count / 64) * 8);
  if (bitmap === undefined) return -EFAULT;
  if (found.log.clear(Number(first), bitmap)) vm.memory.changed();
  return 0;
}

function setManualDirtyLog(vm: Vm, flags: number, bits: bigint): number {
  const allowed =
    (bits & BigInt(DIRTY_LOG_MANUAL)) === 0n ? DIRTY_LOG_MANUAL : DIRTY_LOG_MANUAL | DIRTY_LOG_INITIALLY_SET;
  if (flags !== 0 || (bits & ~BigInt(allowed)) !== 0n) return -EINVAL;
  vm.manualDirtyLog = Number(bits);
  return 0;
}

function enableCap(vm: Vm, struct: DataView): number {
  const at = kvm_enable_cap.offsets;
  const capability = struct.getUint32(at.cap, true);
  const flags = struct.getUint32(at.flags, true);
  const args = kvm_enable_cap.decode(new Uint8Array(struct.buffer, struct.byteOffset, struct.byteLength)).args;
  if (capability === KVM_CAP.value.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2)
    return setManualDirtyLog(vm, flags, args[0] ?? 0n);
  return flags !== 0 ? -EINVAL : vm.machine.enableCapability(vm, capability, args);
}

const HANDLERS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [KVM_CHECK_EXTENSION.request, (vm, arg) => checkExtension(vm.machine, arg, vm.type)],
  [KVM_ENABLE_CAP.request, withStruct(kvm_enable_cap.size, enableCap)],
  [
    KVM_SET_USER_MEMORY_REGION.request,
    withStruct(kvm_userspace_memory_region.size, (vm, struct) => vm.setRegion(region(struct))),
  ],
  [KVM_GET_DIRTY_LOG.request, withStruct(kvm_dirty_log.size, getDirtyLog)],
  [KVM_CLEAR_DIRTY_LOG.request, withStruct(kvm_clear_dirty_log.size, clearDirtyLog)],
]);

/** Requests that a configuration or a release may lack. */
function newerHandler(vm: Vm, request: number): Handler | undefined {
  const { machine } = vm;
  switch (request) {
    case KVM_SET_USER_MEMORY_REGION2.request:
      if (!machine.since('6.8')) return undefined;
      return withStruct(kvm_userspace_memory_region2.size, (_vm, struct) => vm.setRegion(region2(struct)));
    case KVM_CREATE_GUEST_MEMFD.request:
      return machine.guestMemfd ? withStruct(kvm_create_guest_memfd.size, createGuestMemfd) : undefined;
    case KVM_SET_MEMORY_ATTRIBUTES.request:
      return machine.memoryAttributes ? withStruct(kvm_memory_attributes.size, setAttributes) : undefined;
    default:
      return undefined;
  }
}

export class VmFile extends KvmFile {
  readonly vm: Vm;
  readonly #makeVcpu: (id: number) => SimFile;

  constructor(vm: Vm, ino: bigint, makeVcpu: (id: number) => SimFile) {
    super(ino);
    this.vm = vm;
    this.#makeVcpu = makeVcpu;
    vm.retain();
  }

  protected override release(): void {
    this.vm.drop();
  }

  override linkName(): string {
    return 'anon_inode:kvm-vm';
  }

  override ioctl(request: number, arg: bigint): number {
    const { vm } = this;
    if (vm.dead) return -EIO;
    if (request === KVM_CREATE_VCPU.request) return this.#createVcpu(arg);
    const own = vm.replacedRequest(request, arg);
    if (own !== undefined) return own;
    const handler = HANDLERS.get(request) ?? newerHandler(vm, request);
    return handler === undefined ? vm.machine.vmRequest(vm, request, arg) : handler(vm, arg);
  }

  #createVcpu(arg: bigint): number {
    const { vm } = this;
    const refused = vm.reserveVcpu(arg);
    if (refused !== 0) return refused;
    const id = Number(arg);
    const unready = vm.mayCreateVcpu();
    if (unready !== 0) {
      vm.releaseVcpu(id);
      return unready;
    }
    const fd = vm.process.fds.install(this.#makeVcpu(id), true);
    if (fd < 0) vm.releaseVcpu(id);
    return fd;
  }
}
