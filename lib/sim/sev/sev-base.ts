/**
 * What VMs of every kind of SEV have in common: initialisation, the way of commands, pinned regions, sealed vCPUs. arch/x86/kvm/svm/sev.c,
 * sev_mem_enc_ioctl, __sev_guest_init, sev_pin_memory.
 */
import { KVM_SEV, kvm_sev_init, SVM_SEV_FEAT } from '../../uapi/sev.ts';
import { EBUSY, EFAULT, EINVAL, ENOMEM, ENOTTY } from '../errno.ts';
import type { GuestMemfdFile } from '../files/guest-memfd.ts';
import type { RunResult, VmTechnology } from '../kvm/x64/technology.ts';
import { VM_DEFAULT, VM_SEV, VM_SNP } from '../kvm/x64/types.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import type { X64Vm as Vm } from '../kvm/x64/vm.ts';
import { PAGE_SIZE } from '../page.ts';
import { frameAt, userPage } from '../physical.ts';
import type { GuestBus } from '../vcpu/bus.ts';
import type { SecureStop } from '../x64/stop.ts';
import { Cipher } from './cipher.ts';
import { SevCommand } from './command.ts';
import { EncryptedPages } from './encrypted-pages.ts';
import { C_BIT, platformOf, type SevPlatform } from './platform.ts';
import { protect } from './protected-cpu.ts';
import { vmgexit } from './vmgexit.ts';

const ID = KVM_SEV.value;
const FEATURE = SVM_SEV_FEAT.value;
const GHCB_MAX = 2;
const GHCB_DEFAULT = 2;
const WRAP = 1n << 64n;
const INT_MAX = 2 ** 31 - 1;
/** Of the page numbers that the guest's page tables hold. */
export const C_FRAME: number = 2 ** (C_BIT - 12);
/** VMRUN failed: the exit code that is no exit. */
const EXIT_ERR = 2n ** 64n - 1n;

interface Region {
  readonly address: bigint;
  readonly size: bigint;
  readonly pages: number;
  readonly unpin: () => void;
}

/** Features that the host offers to sealed vCPUs: KVM_X86_SEV_VMSA_FEATURES. Debug swap only, as on a processor that has it. */
export const supportedVmsaFeatures = (hasEs: boolean): bigint => (hasEs ? BigInt(FEATURE.SVM_SEV_FEAT_DEBUG_SWAP) : 0n);

export abstract class SevBase implements VmTechnology {
  readonly vm: Vm;
  readonly platform: SevPlatform;
  readonly sealed = new Set<Vcpu>();
  readonly regions: Region[] = [];
  /** sev_guest: INIT or INIT2 is over. */
  active = false;
  esActive = false;
  asid = 0;
  vmsaFeatures = 0n;
  ghcbVersion = 0;
  pages: EncryptedPages;
  cipher: Cipher;
  lockedPages = 0;

  constructor(vm: Vm) {
    this.vm = vm;
    this.platform = platformOf(vm.machine);
    this.cipher = new Cipher(0);
    this.pages = new EncryptedPages(this.cipher, () => vm.memory.changed());
  }

  /** The result of a command, or undefined for one that does not exist. */
  protected abstract dispatch(command: SevCommand): number | undefined;
  abstract bus(vcpu: Vcpu): GuestBus;
  /** Whether the hardware enters the guest. */
  protected abstract canEnter(vcpu: Vcpu): boolean;

  vmCommand(arg: bigint): number {
    // A null pointer asks whether there is SEV.
    if (arg === 0n) return 0;
    const { process } = this.vm;
    const command = SevCommand.read(process, arg);
    if (command === undefined) return -EFAULT;
    const result = this.dispatch(command);
    if (result === undefined) return -EINVAL;
    return command.writeBack(arg) ? result : -EFAULT;
  }

  vcpuCommand(): number {
    return this.vm.machine.technologies.has('tdx') ? -EINVAL : -ENOTTY;
  }

  /** INIT, ES_INIT and INIT2. */
  protected initialise(command: SevCommand): number {
    const { vm } = this;
    if (command.id === ID.KVM_SEV_ES_INIT && !vm.machine.technologies.has('sev-es')) return -ENOTTY;
    if (command.id !== ID.KVM_SEV_INIT2) {
      if (vm.type !== VM_DEFAULT) return -EINVAL;
      const es = command.id === ID.KVM_SEV_ES_INIT;
      return this.#start(es, { features: 0n, flags: 0, version: es ? 1 : 0 });
    }
    if (vm.type === VM_DEFAULT || this.active) return -EINVAL;
    const bytes = command.params(kvm_sev_init.size);
    if (bytes === undefined) return -EFAULT;
    const init = kvm_sev_init.decode(bytes);
    const { vmsa_features: features, flags, ghcb_version: version } = init;
    return this.#start(vm.type !== VM_SEV, { features, flags, version });
  }

  #start(es: boolean, asked: { readonly features: bigint; readonly flags: number; readonly version: number }): number {
    const { vm, platform } = this;
    if (vm.vcpuCount > 0 || asked.flags !== 0) return -EINVAL;
    if ((asked.features & ~supportedVmsaFeatures(es)) !== 0n) return -EINVAL;
    if (asked.version > GHCB_MAX || (!es && asked.version !== 0)) return -EINVAL;
    const version = es && asked.version === 0 ? GHCB_DEFAULT : asked.version;
    if (vm.type === VM_SNP && version < 2) return -EINVAL;
    if (this.active) return -EINVAL;
    const asid = platform.takeAsid(es);
    if (asid === undefined) return -EBUSY;
    this.asid = asid;
    this.active = true;
    this.esActive = es;
    this.ghcbVersion = version;
    this.vmsaFeatures = asked.features | (vm.type === VM_SNP ? BigInt(FEATURE.SVM_SEV_FEAT_SNP_ACTIVE) : 0n);
    this.cipher = new Cipher(platform.nextHandle());
    this.pages = new EncryptedPages(this.cipher, () => vm.memory.changed());
    return 0;
  }

  /** Page numbers of a range of the process, or a negated errno: what sev_pin_memory finds out before it pins. */
  range(address: bigint, size: bigint): { readonly from: number; readonly to: number } | number {
    const { process } = this.vm;
    if (size === 0n || address + size >= WRAP) return -EINVAL;
    const from = Number(address >> 12n);
    const to = Number((address + size - 1n) >> 12n) + 1;
    const pages = to - from;
    if (pages > INT_MAX) return -EINVAL;
    const locked = this.lockedPages + pages;
    if (locked * PAGE_SIZE > process.ram) return -EINVAL;
    return locked > Math.floor(process.memlockLimit / PAGE_SIZE) ? -ENOMEM : { from, to };
  }

  /** The pages of a range that must all be there: the bytes and the frame's number of each, or -ENOMEM. */
  userPages(from: number, to: number, write: boolean): { bytes: Uint8Array; frame: number }[] | number {
    const { space, physical } = this.vm.process;
    const pages: { bytes: Uint8Array; frame: number }[] = [];
    for (let page = from; page < to; page++) {
      const bytes = userPage(space, page, write);
      const frame = frameAt(space, page);
      if (bytes === undefined || frame === undefined) return -ENOMEM;
      pages.push({ bytes, frame: physical.number(frame) });
    }
    return pages;
  }

  registerRegion(address: bigint, size: bigint): number {
    if (!this.active) return -ENOTTY;
    const range = this.range(address, size);
    if (typeof range === 'number') return range;
    const { space, physical } = this.vm.process;
    const pins: (() => void)[] = [];
    const unpin = (): void => {
      for (const release of pins) release();
    };
    for (let page = range.from; page < range.to; page++) {
      const found = userPage(space, page, false);
      const frame = frameAt(space, page);
      if (found === undefined || frame === undefined) {
        unpin();
        return -ENOMEM;
      }
      pins.push(physical.pin(frame));
    }
    this.lockedPages += pins.length;
    this.regions.push({ address, size, pages: pins.length, unpin });
    return 0;
  }

  unregisterRegion(address: bigint, size: bigint): number {
    if (!this.active) return -ENOTTY;
    const index = this.regions.findIndex((region) => region.address === address && region.size === size);
    const region = this.regions[index];
    if (region === undefined) return -EINVAL;
    this.regions.splice(index, 1);
    this.lockedPages -= region.pages;
    region.unpin();
    return 0;
  }

  mayCreateVcpu(): number {
    return 0;
  }

  vcpuCreated(vcpu: Vcpu): void {
    if (this.esActive) protect(vcpu);
  }

  /** VMs of the default type keep answering: their callers never knew of refusals. */
  hidesState(vcpu: Vcpu): boolean {
    return this.vm.machine.hasProtectedState(this.vm.type) && this.sealed.has(vcpu);
  }

  mayRun(): number {
    return this.vm.type !== VM_DEFAULT && !this.active ? -EINVAL : 0;
  }

  entryFailure(vcpu: Vcpu): bigint | undefined {
    return this.active && !this.canEnter(vcpu) ? EXIT_ERR : undefined;
  }

  secure(vcpu: Vcpu, stop: SecureStop): RunResult {
    return stop.instruction === 'vmgexit' ? vmgexit(this, vcpu) : undefined;
  }

  address(gpa: number): number {
    return gpa % (C_FRAME * PAGE_SIZE);
  }

  leaveGuest(): void {
    this.pages.close();
  }

  get preFaults(): boolean {
    return true;
  }

  preFaulted(_gfn: number, _isPrivate: boolean): number {
    return 0;
  }

  isAlias(): boolean {
    return false;
  }

  converted(_from: number, _to: number, _isPrivate: boolean): void {}

  slotRemoved(): void {}

  fileConverted(_file: GuestMemfdFile, _from: number, _to: number, _isPrivate: boolean): void {}

  fileCreated(_file: GuestMemfdFile): void {}

  destroy(): void {
    for (const { unpin } of this.regions.splice(0)) unpin();
    if (this.asid !== 0) this.platform.freeAsid(this.asid);
    this.asid = 0;
  }
}
