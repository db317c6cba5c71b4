/** Which of the bytes that the host wrote are guest code: a vCPU's instruction pointer says where it begins. Only a hint, for comments. */
import { disassemble } from '../../guest/x64/disassemble.ts';
import { KVM_SET_REGS, KVM_SET_SREGS, kvm_regs, kvm_sregs, kvm_userspace_memory_region } from '../../uapi/index.ts';
import { Intervals } from '../intervals.ts';
import type { RecordedCall, Recording } from '../recording.ts';

export interface GuestCode {
  /** Where the code begins in the bytes that the call copies in. */
  readonly offset: number;
  readonly mode: 16 | 32 | 64;
  /** Guest-physical address of that byte. */
  readonly gpa: number;
}

interface Slot {
  readonly gpa: number;
  readonly size: number;
  readonly hva: number;
}

class Finder {
  readonly found = new Map<RecordedCall, GuestCode>();
  readonly #slots = new Map<string, Slot>();
  readonly #written = new Intervals<RecordedCall>();
  readonly #modes = new Map<unknown, { mode: 16 | 32 | 64; base: bigint }>();

  follow(call: RecordedCall): void {
    const [first, second, third] = call.args;
    if (call.result < 0) return;
    if (call.call === 'copyIn' && second instanceof Uint8Array && second.length > 0) {
      this.#written.set(Number(first), Number(first) + second.length, call);
    } else if (call.call !== 'ioctl' || !(third instanceof Uint8Array)) return;
    else if (call.request?.startsWith('KVM_SET_USER_MEMORY_REGION')) this.#slot(String(first), third);
    else if (second === KVM_SET_SREGS.request && third.length === kvm_sregs.size) {
      const { cs } = kvm_sregs.decode(third);
      this.#modes.set(first, { mode: cs.l !== 0 ? 64 : cs.db !== 0 ? 32 : 16, base: cs.base });
    } else if (second === KVM_SET_REGS.request && third.length === kvm_regs.size) this.#entry(first, third);
  }

  #slot(vm: string, bytes: Uint8Array): void {
    if (bytes.length < kvm_userspace_memory_region.size) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const { slot, guest_phys_addr, memory_size, userspace_addr } = kvm_userspace_memory_region.offsets;
    const at = (offset: number): number => Number(view.getBigUint64(offset, true));
    this.#slots.set(`${vm}:${view.getUint32(slot, true)}`, {
      gpa: at(guest_phys_addr),
      size: at(memory_size),
      hva: at(userspace_addr),
    });
  }

  #entry(vcpu: unknown, bytes: Uint8Array): void {
    const { mode, base } = this.#modes.get(vcpu) ?? { mode: 16, base: 0n };
    const gpa = Number((kvm_regs.get(bytes, 'rip') + base) & 0xff_ffff_ffff_ffffn);
    for (const slot of this.#slots.values()) {
      if (gpa < slot.gpa || gpa >= slot.gpa + slot.size) continue;
      const hva = slot.hva + (gpa - slot.gpa);
      const write = this.#written.at(hva);
      if (write === undefined || this.found.has(write.value)) continue;
      this.found.set(write.value, { offset: hva - Number(write.value.args[0]), mode, gpa });
    }
  }
}

/** The writes that put code where a vCPU was told to begin, for x86-64. */
export function guestCode({ kernel, calls }: Recording): ReadonlyMap<RecordedCall, GuestCode> {
  const finder = new Finder();
  if (kernel.arch === 'x64') for (const call of calls) finder.follow(call);
  return finder.found;
}

/** More is data rather than code. */
const MOST_CODE = 4096;

/** The lines of an array: an instruction each. Undefined when the bytes are not code. */
export function codeLines(bytes: Uint8Array, { offset, mode, gpa }: GuestCode): string[] | undefined {
  if (offset !== 0 || bytes.length > MOST_CODE) return undefined;
  const lines = disassemble(bytes, mode, gpa);
  const WIDE = 60;
  return lines.map(({ address, bytes: own, text }) => {
    const list = [...own].map((byte) => `0x${byte.toString(16).padStart(2, '0')},`).join(' ');
    return `\t${list.padEnd(WIDE)} // ${address.toString(16)}: ${text}`;
  });
}
