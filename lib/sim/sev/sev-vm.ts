/**
 * SEV and SEV-ES VMs: the launch commands in the kernel's order of checks. arch/x86/kvm/svm/sev.c. SEND_*, RECEIVE_* and attestation reports
 * reach a firmware that has no certificates: it calls them unsupported.
 */
import {
  KVM_SEV,
  kvm_sev_attestation_report,
  kvm_sev_guest_status,
  kvm_sev_launch_measure,
  kvm_sev_launch_secret,
  kvm_sev_launch_start,
  kvm_sev_launch_update_data,
  SEV_RET,
} from '../../uapi/sev.ts';
import { EFAULT, EINVAL, ENOTTY } from '../errno.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import { PAGE_SIZE } from '../page.ts';
import type { GuestBus } from '../vcpu/bus.ts';
import type { SevCommand } from './command.ts';
import { debugCrypt } from './debug.ts';
import { vmsaOf } from './protected-cpu.ts';
import { SevBase } from './sev-base.ts';
import { SevBus } from './sev-bus.ts';
import { SevGuest } from './sev-firmware.ts';

const ID = KVM_SEV.value;
const RET = SEV_RET.value;
const BLOB_MAX = 16384;

export class SevVm extends SevBase {
  /** Of the last LAUNCH_START; commands that come later are issued through its descriptor. */
  guest: SevGuest | undefined;
  #fd = 0;

  bus(vcpu: Vcpu): GuestBus {
    return this.active ? new SevBus(this, vcpu) : this.vm.memory;
  }

  /** Without a key behind the address-space id nothing runs; SEV-ES wants an encrypted save area too. */
  protected canEnter(vcpu: Vcpu): boolean {
    return this.guest !== undefined && (!this.esActive || this.sealed.has(vcpu));
  }

  protected dispatch(command: SevCommand): number | undefined {
    switch (command.id) {
      case ID.KVM_SEV_INIT:
      case ID.KVM_SEV_ES_INIT:
      case ID.KVM_SEV_INIT2:
        return this.initialise(command);
      case ID.KVM_SEV_LAUNCH_START:
        return this.#launchStart(command);
      case ID.KVM_SEV_LAUNCH_UPDATE_DATA:
        return this.#updateData(command);
      case ID.KVM_SEV_LAUNCH_UPDATE_VMSA:
        return this.#updateVmsa(command);
      case ID.KVM_SEV_LAUNCH_SECRET:
        return this.#secret(command);
      case ID.KVM_SEV_LAUNCH_MEASURE:
        return this.#measure(command);
      case ID.KVM_SEV_LAUNCH_FINISH:
        return this.#finish(command);
      case ID.KVM_SEV_GUEST_STATUS:
        return this.#status(command);
      case ID.KVM_SEV_DBG_DECRYPT:
      case ID.KVM_SEV_DBG_ENCRYPT:
        if (!this.active) return -ENOTTY;
        return debugCrypt(this, command, (ask) => this.#issue(command, ask));
      case ID.KVM_SEV_GET_ATTESTATION_REPORT:
        return this.#unsupported(command, kvm_sev_attestation_report.size);
      case ID.KVM_SEV_SEND_START:
      case ID.KVM_SEV_SEND_UPDATE_DATA:
      case ID.KVM_SEV_SEND_FINISH:
      case ID.KVM_SEV_SEND_CANCEL:
      case ID.KVM_SEV_RECEIVE_START:
      case ID.KVM_SEV_RECEIVE_FINISH:
        return this.#unsupported(command, 0);
      case ID.KVM_SEV_RECEIVE_UPDATE_DATA:
        return this.active ? this.#unsupported(command, 0) : -EINVAL;
      case ID.KVM_SEV_SNP_LAUNCH_START:
      case ID.KVM_SEV_SNP_LAUNCH_FINISH:
        return -ENOTTY;
      case ID.KVM_SEV_SNP_LAUNCH_UPDATE:
        return -EINVAL;
      case ID.KVM_SEV_SNP_ENABLE_REQ_CERTS:
        return this.vm.machine.since('7.0') ? -EINVAL : undefined;
      default:
        return undefined;
    }
  }

  /** Asks the firmware about this VM's guest. */
  #issue(command: SevCommand, ask: (guest: SevGuest) => number): number {
    return command.issue(this.#fd, () => {
      const { guest } = this;
      return guest === undefined ? RET.SEV_RET_INVALID_GUEST : ask(guest);
    });
  }

  #unsupported(command: SevCommand, size: number): number {
    if (!this.active) return -ENOTTY;
    if (command.params(size) === undefined) return -EFAULT;
    return this.#issue(command, () => RET.SEV_RET_UNSUPPORTED);
  }

  /** psp_copy_user_blob: 0, or a negated errno; the contents concern nobody here. */
  #blob(address: number, length: number): Uint8Array | number {
    if (address === 0 || length === 0 || length > BLOB_MAX) return -EINVAL;
    return this.vm.process.user.read(BigInt(address), length) ?? -EFAULT;
  }

  #launchStart(command: SevCommand): number {
    if (!this.active) return -ENOTTY;
    const bytes = command.params(kvm_sev_launch_start.size);
    if (bytes === undefined) return -EFAULT;
    const start = kvm_sev_launch_start.decode(bytes);
    for (const [address, length] of [
      [start.dh_uaddr, start.dh_len],
      [start.session_uaddr, start.session_len],
    ] as const) {
      const blob = address === 0 ? 0 : this.#blob(address, length);
      if (typeof blob === 'number' && blob < 0) return blob;
    }
    let guest: SevGuest | undefined;
    const result = command.issue(command.fd, () => {
      const made = SevGuest.start(this.platform, start.handle, start.policy);
      if (typeof made === 'number') return made;
      const activated = made.activate(this.platform, this.asid, this.esActive);
      if (activated === 0) guest = made;
      else made.end(this.platform);
      return activated;
    });
    if (guest === undefined) return result;
    kvm_sev_launch_start.set(bytes, 'handle', guest.handle);
    if (!command.give(bytes)) {
      guest.end(this.platform);
      return -EFAULT;
    }
    this.guest = guest;
    this.#fd = command.fd;
    return 0;
  }

  /** Page by page, as pages of ordinary memory lie in the machine. */
  #updateData(command: SevCommand): number {
    if (!this.active) return -ENOTTY;
    const bytes = command.params(kvm_sev_launch_update_data.size);
    if (bytes === undefined) return -EFAULT;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const address = view.getBigUint64(0, true);
    const length = view.getUint32(8, true);
    const range = this.range(address, BigInt(length));
    if (typeof range === 'number') return range;
    const pages = this.userPages(range.from, range.to, true);
    if (typeof pages === 'number') return pages;
    let offset = Number(address & 4095n);
    let left = length;
    for (const page of pages) {
      const part = Math.min(PAGE_SIZE - offset, left);
      const from = offset;
      const result = this.#issue(command, (guest) =>
        guest.updateData(from, page.bytes.subarray(from, from + part), () => {
          this.cipher.encrypt(page.bytes, page.frame, from, from + part);
        }),
      );
      if (result !== 0) return result;
      left -= part;
      offset = 0;
    }
    return 0;
  }

  #updateVmsa(command: SevCommand): number {
    if (!this.esActive) return -ENOTTY;
    for (const vcpu of this.vm.vcpus) {
      if (this.sealed.has(vcpu)) return -EINVAL;
      const page = vmsaOf(vcpu, this.vmsaFeatures);
      const result = this.#issue(command, (guest) => guest.updateVmsa(page));
      if (result !== 0) return result;
      this.sealed.add(vcpu);
    }
    return 0;
  }

  #measure(command: SevCommand): number {
    if (!this.active) return -ENOTTY;
    const bytes = command.params(kvm_sev_launch_measure.size);
    if (bytes === undefined) return -EFAULT;
    const { uaddr, len } = kvm_sev_launch_measure.decode(bytes);
    if (len !== 0 && uaddr !== 0 && len > BLOB_MAX) return -EINVAL;
    const into = len !== 0 && uaddr !== 0 ? new Uint8Array(len) : undefined;
    let length = into?.length ?? 0;
    const result = this.#issue(command, (guest) => {
      const measured = guest.measure(into);
      length = measured.length;
      return measured.code;
    });
    // Whoever asks for the length gets it, and the firmware's refusal with it.
    if (len !== 0 && result !== 0) return result;
    const given = into === undefined || this.vm.process.user.write(BigInt(uaddr), into);
    kvm_sev_launch_measure.set(bytes, 'len', length);
    return command.give(bytes) && given ? result : -EFAULT;
  }

  #secret(command: SevCommand): number {
    if (!this.active) return -ENOTTY;
    const bytes = command.params(kvm_sev_launch_secret.size);
    if (bytes === undefined) return -EFAULT;
    const secret = kvm_sev_launch_secret.decode(bytes);
    const range = this.range(BigInt(secret.guest_uaddr), BigInt(secret.guest_len));
    if (typeof range === 'number') return range;
    const pages = this.userPages(range.from, range.to, true);
    if (typeof pages === 'number') return pages;
    // Pages of ordinary memory are nobody's neighbours.
    const [page] = pages;
    if (pages.length !== 1 || page === undefined) return -EINVAL;
    const packet = this.#blob(secret.trans_uaddr, secret.trans_len);
    if (typeof packet === 'number') return packet;
    const header = this.#blob(secret.hdr_uaddr, secret.hdr_len);
    if (typeof header === 'number') return header;
    return this.#issue(command, (guest) => {
      const plain = guest.secret(header, packet, secret.guest_len);
      if (typeof plain === 'number') return plain;
      const from = secret.guest_uaddr % PAGE_SIZE;
      if (from % 16 !== 0) return RET.SEV_RET_INVALID_ADDRESS;
      page.bytes.set(plain, from);
      this.cipher.encrypt(page.bytes, page.frame, from, from + plain.length);
      return 0;
    });
  }

  #finish(command: SevCommand): number {
    return this.active ? this.#issue(command, (guest) => guest.finish()) : -ENOTTY;
  }

  #status(command: SevCommand): number {
    if (!this.active) return -ENOTTY;
    const result = this.#issue(command, () => 0);
    if (result !== 0) return result;
    const { handle, policy, state } = this.guest ?? { handle: 0, policy: 0, state: 0 };
    return command.give(kvm_sev_guest_status.encode({ handle, policy, state })) ? 0 : -EFAULT;
  }

  override destroy(): void {
    this.guest?.end(this.platform);
    super.destroy();
  }
}
