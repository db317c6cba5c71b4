/**
 * SEV-SNP VMs: launch, ownership of pages, validation by the guest. arch/x86/kvm/svm/sev.c (snp_launch_*, sev_gmem_*) and
 * virt/kvm/guest_memfd.c, kvm_gmem_populate.
 */
import { SNP_PAGE, type SnpPageType } from '../../measure/snp.ts';
import {
  KVM_SEV,
  KVM_SEV_SNP_PAGE_TYPE,
  kvm_sev_snp_launch_finish,
  kvm_sev_snp_launch_start,
  kvm_sev_snp_launch_update,
  SEV_RET,
} from '../../uapi/sev.ts';
import { EEXIST, EFAULT, EINVAL, EIO, ENOTTY, EPERM } from '../errno.ts';
import type { GuestMemfdFile } from '../files/guest-memfd.ts';
import type { Memslot } from '../kvm/slot.ts';
import { supportedCpuid } from '../kvm/x64/features.ts';
import type { RunResult } from '../kvm/x64/technology.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import { isAligned, PAGE_SIZE } from '../page.ts';
import type { PageStore } from '../page-store.ts';
import { userPage } from '../physical.ts';
import type { GuestBus } from '../vcpu/bus.ts';
import type { SecureStop } from '../x64/stop.ts';
import type { SevCommand } from './command.ts';
import { protect, vmsaOf } from './protected-cpu.ts';
import { pvalidate } from './pvalidate.ts';
import { SevBase } from './sev-base.ts';
import { SnpBus } from './snp-bus.ts';
import { SnpContext } from './snp-firmware.ts';

const ID = KVM_SEV.value;
const TYPE = KVM_SEV_SNP_PAGE_TYPE.value;
/** Of plain SEV, and without a handler: unknown to KVM like a number that nobody gave away. */
const UNHANDLED: ReadonlySet<number> = new Set([
  ID.KVM_SEV_SEND_UPDATE_VMSA,
  ID.KVM_SEV_RECEIVE_UPDATE_VMSA,
  ID.KVM_SEV_CERT_EXPORT,
]);
const PLAIN: ReadonlySet<number> = new Set(Object.values(ID).filter((id) => !UNHANDLED.has(id)));
const TYPES: ReadonlySet<number> = new Set(Object.values(TYPE));
const RET = SEV_RET.value;
/** Bits that KVM and the firmware of {@link FIRMWARE} know: the interface's version, SMT, the bit that must be one, debugging, one socket. */
export const SNP_POLICY_BITS = 0x1b_ffffn;
const MUST_BE_ONE = 1n << 17n;
const ID_BLOCK = 96;
const ID_AUTH = 4096;

export class SnpVm extends SevBase {
  #context: SnpContext | undefined;
  #fd = 0;
  #finished = false;

  bus(vcpu: Vcpu): GuestBus {
    return new SnpBus(this, vcpu);
  }

  protected canEnter(vcpu: Vcpu): boolean {
    return this.sealed.has(vcpu);
  }

  override vcpuCreated(vcpu: Vcpu): void {
    protect(vcpu, true);
  }

  /** Only after the launch: before, pages come from it. */
  override get preFaults(): boolean {
    return this.#finished;
  }

  override preFaulted(gfn: number, isPrivate: boolean): number {
    if (isPrivate) this.own(gfn);
    return 0;
  }

  protected dispatch(command: SevCommand): number | undefined {
    const { id } = command;
    if (this.active && id < ID.KVM_SEV_SNP_LAUNCH_START) return -EPERM;
    switch (id) {
      case ID.KVM_SEV_INIT:
      case ID.KVM_SEV_ES_INIT:
      case ID.KVM_SEV_INIT2:
        return this.initialise(command);
      case ID.KVM_SEV_SNP_LAUNCH_START:
        return this.#start(command);
      case ID.KVM_SEV_SNP_LAUNCH_UPDATE:
        return this.#update(command);
      case ID.KVM_SEV_SNP_LAUNCH_FINISH:
        return this.#finish(command);
      case ID.KVM_SEV_SNP_ENABLE_REQ_CERTS:
        if (!this.vm.machine.since('7.0')) return undefined;
        return this.vm.vcpuCount > 0 || !this.active ? -EINVAL : 0;
      default:
        // Commands of plain SEV on a VM that is not initialised. One has an errno of its own.
        if (id === ID.KVM_SEV_RECEIVE_UPDATE_DATA) return -EINVAL;
        return PLAIN.has(id) ? -ENOTTY : undefined;
    }
  }

  #start(command: SevCommand): number {
    if (!this.active) return -ENOTTY;
    const bytes = command.params(kvm_sev_snp_launch_start.size);
    if (bytes === undefined) return -EFAULT;
    const { policy, flags } = kvm_sev_snp_launch_start.decode(bytes);
    if (this.#context !== undefined || flags !== 0) return -EINVAL;
    if ((policy & ~SNP_POLICY_BITS) !== 0n || (policy & MUST_BE_ONE) === 0n) return -EINVAL;
    // The context comes first, and its failure has one errno whatever the reason.
    if (command.issue(command.fd, () => 0) !== 0) return -ENOTTY;
    const result = command.issue(command.fd, () => {
      const context = SnpContext.start(policy);
      if (typeof context === 'number') return context;
      this.#context = context;
      return 0;
    });
    if (result === 0) this.#fd = command.fd;
    return result;
  }

  #update(command: SevCommand): number {
    const context = this.#context;
    if (!this.active || context === undefined) return -EINVAL;
    const bytes = command.params(kvm_sev_snp_launch_update.size);
    if (bytes === undefined) return -EFAULT;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const at = kvm_sev_snp_launch_update.offsets;
    const [gfnStart, source, length] = [at.gfn_start, at.uaddr, at.len].map((offset) =>
      view.getBigUint64(offset, true),
    );
    const type = view.getUint8(at.type);
    if (gfnStart === undefined || source === undefined || length === undefined) return -EFAULT;
    if (length === 0n || !isAligned(length) || view.getUint16(at.flags, true) !== 0 || !TYPES.has(type)) return -EINVAL;
    const zero = type === TYPE.KVM_SEV_SNP_PAGE_TYPE_ZERO;
    // Since 7.0 the source must start a page.
    const { machine } = this.vm;
    // A series under review encrypts in place what the file has.
    const inPlace = machine.convertsInPlace && source === 0n;
    if (!zero && !inPlace && (source === 0n || (!isAligned(source) && machine.since('7.0')))) return -EINVAL;
    const slot = gfnStart <= BigInt(Number.MAX_SAFE_INTEGER) ? this.vm.memory.slotAt(Number(gfnStart)) : undefined;
    if (slot?.hasFile !== true) return -EINVAL;
    const done = this.#populate(command, context, slot, {
      gfn: Number(gfnStart),
      source: zero || inPlace ? undefined : source,
      pages: Number(length / BigInt(PAGE_SIZE)),
      type: type as SnpPageType,
    });
    if (done < 0) return -EIO;
    view.setBigUint64(at.gfn_start, gfnStart + BigInt(done), true);
    view.setBigUint64(at.len, length - BigInt(done * PAGE_SIZE), true);
    if (!zero && !inPlace) view.setBigUint64(at.uaddr, source + BigInt(done * PAGE_SIZE), true);
    return command.give(bytes) ? 0 : -EFAULT;
  }

  /** kvm_gmem_populate: pages done, or the negated errno of the first one. What fails later is not told. */
  #populate(command: SevCommand, context: SnpContext, slot: Memslot, area: Area): number {
    const pages = Math.min(area.pages, slot.pages - (area.gfn - slot.gfn));
    // The caller's struct learns of the firmware's code only when the first page fails.
    const report = { code: 0 };
    for (let i = 0; i < pages; i++) {
      const from = area.source === undefined ? undefined : area.source + BigInt(i * PAGE_SIZE);
      const result = this.#populateOne(command, context, slot, { ...area, gfn: area.gfn + i, source: from }, report);
      if (result === 0) continue;
      if (i > 0) return i;
      command.error = report.code;
      return result;
    }
    return pages;
  }

  #populateOne(
    command: SevCommand,
    context: SnpContext,
    slot: Memslot,
    { gfn, source, type }: Area,
    report: { code: number },
  ): number {
    const { vm, platform } = this;
    const { process, machine, memory } = vm;
    const origin = source === undefined ? undefined : this.#source(source, type === SNP_PAGE.cpuid);
    if (source !== undefined && origin === undefined) return -EFAULT;
    const { file } = slot;
    const page = slot.filePage + gfn - slot.gfn;
    const raw = file?.page(page, true);
    if (file === undefined || raw === undefined) return -EFAULT;
    if (!memory.isPrivate(gfn)) return -EINVAL;
    const frame = { store: file.pages, page };
    if (platform.rmp.get(frame) !== undefined) return -EEXIST;
    const contents = new Uint8Array(PAGE_SIZE);
    contents.set(origin?.read() ?? raw);
    platform.rmp.assign(frame, { asid: this.asid, gfn, validated: true });
    const issued = command.issueWith(
      command.fd,
      () => context.update(type, gfn * PAGE_SIZE, contents, supportedCpuid(machine).bytes),
      (code) => {
        report.code = code;
      },
    );
    if (issued !== 0) {
      platform.rmp.release(frame.store, page, page + 1);
      // What a CPUID page should have been is told where it came from.
      if (type === SNP_PAGE.cpuid && report.code === RET.SEV_RET_INVALID_PARAM) origin?.write(contents);
      return issued;
    }
    raw.set(contents);
    this.cipher.encrypt(raw, process.physical.number(frame));
    memory.changed();
    return 0;
  }

  /** A page's worth of the process's memory, which before 7.0 need not start a page. */
  #source(address: bigint, write: boolean): { read(): Uint8Array; write(bytes: Uint8Array): void } | undefined {
    const { space, user } = this.vm.process;
    for (const at of [address, address + BigInt(PAGE_SIZE - 1)]) {
      if (userPage(space, Number(at >> 12n), write) === undefined) return undefined;
    }
    return {
      read: () => user.read(address, PAGE_SIZE) ?? new Uint8Array(PAGE_SIZE),
      write: (bytes) => void user.write(address, bytes),
    };
  }

  #finish(command: SevCommand): number {
    if (!this.active) return -ENOTTY;
    const context = this.#context;
    if (context === undefined) return -EINVAL;
    const bytes = command.params(kvm_sev_snp_launch_finish.size);
    if (bytes === undefined) return -EFAULT;
    const finish = kvm_sev_snp_launch_finish.decode(bytes);
    if (finish.flags !== 0) return -EINVAL;
    const sealed = this.#seal(command, context);
    if (sealed !== 0) return sealed;
    const { user } = this.vm.process;
    let idBlock: Uint8Array | undefined;
    if (finish.id_block_en !== 0) {
      if (finish.id_block_uaddr === 0) return -EINVAL;
      idBlock = user.read(BigInt(finish.id_block_uaddr), ID_BLOCK);
      if (idBlock === undefined) return -EFAULT;
      if (finish.id_auth_uaddr === 0) return -EINVAL;
      if (user.read(BigInt(finish.id_auth_uaddr), ID_AUTH) === undefined) return -EFAULT;
    }
    const result = command.issue(this.#fd, () => context.finish(idBlock));
    if (result === 0) {
      this.#finished = true;
      const { events } = this.vm.process;
      events.push({ kind: 'launch-measured', technology: 'sev-snp', measurement: context.digest });
    }
    return result;
  }

  /** snp_launch_update_vmsa. */
  #seal(command: SevCommand, context: SnpContext): number {
    const cpuid = supportedCpuid(this.vm.machine).bytes;
    for (const vcpu of this.vm.vcpus) {
      if (this.sealed.has(vcpu)) return -EINVAL;
      const page = vmsaOf(vcpu, this.vmsaFeatures);
      const result = command.issue(command.fd, () => context.update(SNP_PAGE.vmsa, 0, page, cpuid));
      if (result !== 0) return result;
      this.sealed.add(vcpu);
    }
    return 0;
  }

  /** sev_gmem_make_private: the guest gets a page that was found for it, not yet valid. Its entry in the table. */
  own(gfn: number) {
    const frame = this.vm.memory.frameOf(gfn, true);
    if (frame === undefined) return undefined;
    const { rmp } = this.platform;
    return rmp.get(frame) ?? rmp.assign(frame, { asid: this.asid, gfn, validated: false });
  }

  override secure(vcpu: Vcpu, stop: SecureStop): RunResult {
    return stop.instruction === 'pvalidate' ? pvalidate(this, vcpu, stop) : super.secure(vcpu, stop);
  }

  /** A page that becomes shared goes back to the hypervisor as it is: ciphertext. */
  override fileConverted(file: GuestMemfdFile, from: number, to: number, isPrivate: boolean): void {
    if (!isPrivate) this.platform.rmp.release(file.pages, from, to);
  }

  /** Pages that are freed go back to the hypervisor. */
  override fileCreated(file: { readonly pages: PageStore }): void {
    const { rmp } = this.platform;
    file.pages.onInvalidate((from, to, change) => {
      if (change === 'punch' || change === 'truncate') rmp.release(file.pages, from, to);
    });
  }
}

interface Area {
  readonly gfn: number;
  readonly source: bigint | undefined;
  readonly pages: number;
  readonly type: SnpPageType;
}
