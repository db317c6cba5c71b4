/**
 * Trust domains: what KVM asks of the TDX module for a VM, in the order of its checks. arch/x86/kvm/vmx/tdx.c and vmx/main.c. The module is a
 * model: key ids, the secure page table and the measurement are kept, time and interrupts are not.
 */
import { Mrtd } from '../../measure/tdx.ts';
import { KVM_TDX, kvm_cpuid_entry2, kvm_tdx_capabilities, kvm_tdx_cmd, kvm_tdx_init_vm } from '../../uapi/index.ts';
import { E2BIG, EBUSY, EFAULT, EINVAL, EIO, ENOSPC, ENOTTY } from '../errno.ts';
import type { GuestMemfdFile } from '../files/guest-memfd.ts';
import type { Memslot } from '../kvm/slot.ts';
import { MAX_CPUID_ENTRIES } from '../kvm/x64/limits.ts';
import type { RunResult, VmTechnology } from '../kvm/x64/technology.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import type { X64Vm as Vm } from '../kvm/x64/vm.ts';
import { PAGE_SIZE } from '../page.ts';
import type { PageStore } from '../page-store.ts';
import type { BusMiss, GuestBus } from '../vcpu/bus.ts';
import type { SecureStop } from '../x64/stop.ts';
import { checkCpuid, guestWidth } from './cpuid-config.ts';
import { CONFIGURABLE, freeKey, SEPT_VE_DISABLE, SUPPORTED_ATTRIBUTES, takeKey, USER_CALLS, XFAM } from './platform.ts';
import { SecureEpt, type SeptEntry } from './secure-ept.ts';
import { tdcall } from './tdcall.ts';
import { TdxBus } from './tdx-bus.ts';
import { createVcpu, runVcpuCommand } from './tdx-vcpu.ts';

const ID = KVM_TDX.value;
const ENTRY = kvm_cpuid_entry2.size;
const CPUID_AT = { capabilities: kvm_tdx_capabilities.offsets.cpuid, init: kvm_tdx_init_vm.offsets.cpuid } as const;
const WIDTH_MASK = 0x00ff_0000;
/** TDX_OPERAND_INVALID, about CPUID_CONFIG. */
const CPUID_REFUSED = 0xc000_0100_0000_0045n;

export class TdxVm implements VmTechnology {
  readonly vm: Vm;
  readonly sept = new SecureEpt();
  readonly mrtd = new Mrtd();
  /** vCPUs that INIT_VCPU is done for. */
  readonly ready = new Set<Vcpu>();
  state: 'uninitialised' | 'initialised' | 'runnable' = 'uninitialised';
  attributes = 0n;
  /** Width of guest-physical addresses: 48 or 52. The highest bit is the shared one. */
  width = 0;

  constructor(vm: Vm) {
    this.vm = vm;
  }

  /** The shared bit, in page numbers; beyond everything before INIT_VM. */
  get sharedFrame(): number {
    return this.width === 0 ? Number.POSITIVE_INFINITY : 2 ** (this.width - 1 - 12);
  }

  get stopsUnaccepted(): boolean {
    return (this.attributes & SEPT_VE_DISABLE) !== 0n;
  }

  vmCommand(arg: bigint): number {
    const { user } = this.vm.process;
    const bytes = user.read(arg, kvm_tdx_cmd.size);
    if (bytes === undefined) return -EFAULT;
    const command = kvm_tdx_cmd.decode(bytes);
    if (command.hw_error !== 0n) return -EINVAL;
    switch (command.id) {
      case ID.KVM_TDX_CAPABILITIES:
        return command.flags === 0 ? this.#capabilities(command.data) : -EINVAL;
      case ID.KVM_TDX_INIT_VM:
        return this.#finishCommand(arg, bytes, this.#initialise(command.flags, command.data));
      case ID.KVM_TDX_FINALIZE_VM:
        return this.#finishCommand(arg, bytes, { result: this.#finalise(), error: 0n });
      default:
        return -EINVAL;
    }
  }

  #finishCommand(arg: bigint, bytes: Uint8Array, { result, error }: { result: number; error: bigint }): number {
    kvm_tdx_cmd.set(bytes, 'hw_error', error);
    return this.vm.process.user.write(arg, bytes) ? result : -EFAULT;
  }

  #capabilities(address: bigint): number {
    const { user } = this.vm.process;
    const head = user.read(address + BigInt(CPUID_AT.capabilities), 4);
    if (head === undefined) return -EFAULT;
    const room = new DataView(head.buffer, head.byteOffset).getUint32(0, true);
    if (room < CONFIGURABLE.length) return -E2BIG;
    const entries = CONFIGURABLE.map(({ leaf, index, masks: [eax, ebx, ecx, edx] }) => ({
      ...{ function: leaf, index, flags: 0, eax: leaf === 0x8000_0008 ? (eax | WIDTH_MASK) >>> 0 : eax },
      ...{ ebx, ecx, edx, padding: [0, 0, 0] },
    }));
    const bytes = kvm_tdx_capabilities.encode(
      {
        supported_attrs: SUPPORTED_ATTRIBUTES,
        supported_xfam: XFAM.supported,
        user_tdvmcallinfo_1_r11: USER_CALLS,
        cpuid: { nent: CONFIGURABLE.length },
      },
      entries,
    );
    return user.write(address, bytes) ? 0 : -EFAULT;
  }

  #initialise(flags: number, address: bigint): { result: number; error: bigint } {
    const refuse = (errno: number, error = 0n) => ({ result: -errno, error });
    const { vm } = this;
    const { user } = vm.process;
    if (this.state !== 'uninitialised' || flags !== 0) return refuse(EINVAL);
    const head = user.read(address + BigInt(CPUID_AT.init), 4);
    if (head === undefined) return refuse(EFAULT);
    const count = new DataView(head.buffer, head.byteOffset).getUint32(0, true);
    if (count > MAX_CPUID_ENTRIES) return refuse(E2BIG);
    const bytes = user.read(address, kvm_tdx_init_vm.size + count * ENTRY);
    if (bytes === undefined) return refuse(EFAULT);
    const init = kvm_tdx_init_vm.decode(bytes);
    if (init.reserved.some((word) => word !== 0n) || init.cpuid.padding !== 0) return refuse(EINVAL);
    if (vm.vcpuCount > 0) return refuse(EBUSY);
    if ((init.attributes & ~SUPPORTED_ATTRIBUTES) !== 0n || (init.xfam & ~XFAM.supported) !== 0n) return refuse(EINVAL);
    const entries = kvm_tdx_init_vm.decodeElements(bytes, count) as ReturnType<typeof kvm_cpuid_entry2.decode>[];
    const width = guestWidth(entries, vm.machine.physicalBits);
    if (width === undefined) return refuse(EINVAL);
    const checked = checkCpuid(entries);
    if (checked === 'unknown') return refuse(EINVAL);
    if (!takeKey(vm.machine)) return refuse(ENOSPC);
    if (checked === 'refused') {
      freeKey(vm.machine);
      return refuse(EINVAL, CPUID_REFUSED);
    }
    this.attributes = init.attributes;
    this.width = width;
    this.state = 'initialised';
    return { result: 0, error: 0n };
  }

  #finalise(): number {
    if (this.state !== 'initialised') return -EINVAL;
    this.state = 'runnable';
    this.vm.process.events.push({ kind: 'launch-measured', technology: 'tdx', measurement: this.mrtd.digest });
    return 0;
  }

  vcpuCommand(vcpu: Vcpu, arg: bigint): number {
    return runVcpuCommand(this, vcpu, arg);
  }

  registerRegion(): number {
    return -ENOTTY;
  }

  unregisterRegion(): number {
    return -ENOTTY;
  }

  mayCreateVcpu(): number {
    if (this.state !== 'initialised') return -EIO;
    return this.vm.splitIrqchip ? 0 : -EINVAL;
  }

  vcpuCreated(vcpu: Vcpu): void {
    createVcpu(vcpu);
  }

  hidesState(): boolean {
    return true;
  }

  mayRun(vcpu: Vcpu): number {
    return this.ready.has(vcpu) && this.state === 'runnable' ? 0 : -EINVAL;
  }

  entryFailure(): undefined {
    return undefined;
  }

  bus(vcpu: Vcpu): GuestBus {
    return new TdxBus(this, vcpu);
  }

  secure(vcpu: Vcpu, stop: SecureStop): RunResult {
    return stop.instruction === 'tdcall' ? tdcall(this, vcpu) : undefined;
  }

  address(gpa: number): number {
    const bit = this.sharedFrame * PAGE_SIZE;
    return gpa >= bit ? gpa - bit : gpa;
  }

  leaveGuest(): void {}

  get preFaults(): boolean {
    return this.state === 'runnable';
  }

  preFaulted(gfn: number, isPrivate: boolean): number {
    if (isPrivate) this.faultIn(gfn);
    return 0;
  }

  isAlias(gfn: number): boolean {
    return gfn >= this.sharedFrame;
  }

  /** What a fault on a private page leads to: the page and its place in the table, where it is pending if it was added just now. */
  faultIn(gfn: number): { readonly page: Uint8Array; readonly entry: SeptEntry } | BusMiss {
    const { memory } = this.vm;
    const page = memory.sided(gfn, true, true);
    if (!(page instanceof Uint8Array)) return page;
    const known = this.sept.get(gfn);
    if (known !== undefined) return { page, entry: known };
    const frame = memory.frameOf(gfn, true);
    // A page that was found has a frame.
    if (frame === undefined) return { kind: 'retry' };
    return { page, entry: this.sept.set(gfn, { frame, state: 'pending' }) };
  }

  /** Pages that become shared leave the table, and come back pending and empty. */
  converted(from: number, to: number, isPrivate: boolean): void {
    if (!isPrivate) this.sept.removeRange(from, to);
  }

  slotRemoved(slot: Memslot): void {
    this.sept.removeRange(slot.gfn, slot.gfn + slot.pages);
  }

  /** Pages that become shared leave the table; the module leaves nothing in them. */
  fileConverted(file: GuestMemfdFile, from: number, to: number, isPrivate: boolean): void {
    if (isPrivate) return;
    this.sept.removeFrames(file.pages, from, to);
    file.pages.zeroRange(from, to);
  }

  fileCreated(file: { readonly pages: PageStore }): void {
    file.pages.onInvalidate((from, to, change) => {
      if (change === 'punch' || change === 'truncate') this.sept.removeFrames(file.pages, from, to);
    });
  }

  destroy(): void {
    if (this.state !== 'uninitialised') freeKey(this.vm.machine);
    this.state = 'uninitialised';
  }
}
