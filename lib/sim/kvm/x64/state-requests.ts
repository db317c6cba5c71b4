/** The requests that get and set the state of an x86-64 vCPU. arch/x86/kvm/x86.c, kvm_arch_vcpu_ioctl */
import {
  KVM_ENABLE_CAP,
  KVM_GET_CPUID2,
  KVM_GET_MP_STATE,
  KVM_GET_MSRS,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_MEMORY_ENCRYPT_OP,
  KVM_MP_STATE,
  KVM_PRE_FAULT_MEMORY,
  KVM_SET_CPUID2,
  KVM_SET_MP_STATE,
  KVM_SET_MSRS,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_enable_cap,
  kvm_mp_state,
  kvm_msr_entry,
  kvm_msrs,
  kvm_regs,
  kvm_sregs,
} from '../../../uapi/index.ts';
import { E2BIG, EFAULT, EINVAL, ENOTTY } from '../../errno.ts';
import { MAX_CPUID_ENTRIES, MAX_IO_MSRS } from './limits.ts';
import { preFault } from './pre-fault.ts';
import type { X64Vcpu } from './vcpu.ts';
import { vcpuAttribute } from './vcpu-attr.ts';

const { KVM_MP_STATE_RUNNABLE } = KVM_MP_STATE.value;

const give = ({ vm }: X64Vcpu, arg: bigint, bytes: Uint8Array): number =>
  vm.process.user.write(arg, bytes) ? 0 : -EFAULT;
const take = ({ vm }: X64Vcpu, arg: bigint, size: number): Uint8Array | undefined => vm.process.user.read(arg, size);
const u32 = (bytes: Uint8Array, offset = 0): number =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(offset, true);

const getRegs = (vcpu: X64Vcpu, arg: bigint): number =>
  vcpu.isHidden ? -EINVAL : give(vcpu, arg, kvm_regs.encode(vcpu.cpu.getRegs()));

function setRegs(vcpu: X64Vcpu, arg: bigint): number {
  const bytes = take(vcpu, arg, kvm_regs.size);
  if (bytes === undefined) return -EFAULT;
  if (vcpu.isHidden) return -EINVAL;
  vcpu.setRegs(kvm_regs.decode(bytes));
  return 0;
}

const getSregs = (vcpu: X64Vcpu, arg: bigint): number =>
  vcpu.isHidden ? -EINVAL : give(vcpu, arg, kvm_sregs.encode(vcpu.cpu.getSregs()));

function setSregs(vcpu: X64Vcpu, arg: bigint): number {
  const bytes = take(vcpu, arg, kvm_sregs.size);
  if (bytes === undefined) return -EFAULT;
  if (vcpu.isHidden) return -EINVAL;
  return vcpu.setSregs(kvm_sregs.decode(bytes)) ? 0 : -EINVAL;
}

/** Without a local APIC in the kernel a vCPU is always runnable, and nothing else can be set. */
const getMpState = (vcpu: X64Vcpu, arg: bigint): number =>
  give(vcpu, arg, kvm_mp_state.encode({ mp_state: KVM_MP_STATE_RUNNABLE }));

function setMpState(vcpu: X64Vcpu, arg: bigint): number {
  const bytes = take(vcpu, arg, kvm_mp_state.size);
  if (bytes === undefined) return -EFAULT;
  return u32(bytes) === KVM_MP_STATE_RUNNABLE ? 0 : -EINVAL;
}

/** msr_io: the MSRs one after the other, up to the first that is refused. */
function msrs(vcpu: X64Vcpu, arg: bigint, one: (index: number, entry: DataView) => boolean, back: boolean): number {
  const header = take(vcpu, arg, kvm_msrs.size);
  if (header === undefined) return -EFAULT;
  const count = u32(header);
  if (count >= MAX_IO_MSRS) return -E2BIG;
  const start = arg + BigInt(kvm_msrs.size);
  const bytes = take(vcpu, start, count * kvm_msr_entry.size);
  if (bytes === undefined) return -EFAULT;
  let done = 0;
  for (; done < count; done++) {
    const offset = bytes.byteOffset + done * kvm_msr_entry.size;
    const entry = new DataView(bytes.buffer, offset, kvm_msr_entry.size);
    if (!one(entry.getUint32(kvm_msr_entry.offsets.index, true), entry)) break;
  }
  return back && give(vcpu, start, bytes) !== 0 ? -EFAULT : done;
}

const DATA = kvm_msr_entry.offsets.data;

const getMsrs = (vcpu: X64Vcpu, arg: bigint): number =>
  msrs(
    vcpu,
    arg,
    (index, entry) => {
      const value = vcpu.isHidden ? undefined : vcpu.cpu.getMsr(index);
      if (value !== undefined) entry.setBigUint64(DATA, value, true);
      return value !== undefined;
    },
    true,
  );

const setMsrs = (vcpu: X64Vcpu, arg: bigint): number =>
  msrs(vcpu, arg, (index, entry) => !vcpu.isHidden && vcpu.cpu.setMsr(index, entry.getBigUint64(DATA, true)), false);

const ENTRY = kvm_cpuid_entry2.size;
const ADDRESS_SIZES_LEAF = 0x8000_0008;
/** Bits of linear addresses that guests can have; 0 stands for not said. */
const LINEAR_BITS: ReadonlySet<number> = new Set([0, 48, 57]);

function setCpuid(vcpu: X64Vcpu, arg: bigint): number {
  const header = take(vcpu, arg, kvm_cpuid2.size);
  if (header === undefined) return -EFAULT;
  const count = u32(header);
  if (count > MAX_CPUID_ENTRIES) return -E2BIG;
  const bytes = take(vcpu, arg + BigInt(kvm_cpuid2.size), count * ENTRY);
  if (bytes === undefined) return -EFAULT;
  const entries = Array.from({ length: count }, (_, i) => kvm_cpuid_entry2.decode(bytes, i * ENTRY));
  // The guest may have looked at it: only what it has already is taken.
  if (vcpu.hasRun) return sameBytes(cpuidBytes(vcpu), bytes) ? 0 : -EINVAL;
  const sizes = entries.find((entry) => entry.function >>> 0 === ADDRESS_SIZES_LEAF);
  if (sizes !== undefined && !LINEAR_BITS.has((sizes.eax >>> 8) & 0xff)) return -EINVAL;
  vcpu.cpu.setCpuid(entries);
  vcpu.root.drop();
  return 0;
}

function cpuidBytes(vcpu: X64Vcpu): Uint8Array {
  const entries = vcpu.cpu.getCpuid();
  const bytes = new Uint8Array(entries.length * ENTRY);
  entries.forEach((entry, i) => {
    bytes.set(kvm_cpuid_entry2.encode(entry), i * ENTRY);
  });
  return bytes;
}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

function getCpuid(vcpu: X64Vcpu, arg: bigint): number {
  const header = take(vcpu, arg, kvm_cpuid2.size);
  if (header === undefined) return -EFAULT;
  const entries = cpuidBytes(vcpu);
  const count = entries.length / ENTRY;
  if (u32(header) < count) return -E2BIG;
  if (give(vcpu, arg + BigInt(kvm_cpuid2.size), entries) !== 0) return -EFAULT;
  new DataView(header.buffer, header.byteOffset).setUint32(kvm_cpuid2.offsets.nent, count, true);
  return give(vcpu, arg, header);
}

/** There is none that a vCPU takes. */
const enableCap = (vcpu: X64Vcpu, arg: bigint): number =>
  take(vcpu, arg, kvm_enable_cap.size) === undefined ? -EFAULT : -EINVAL;

type Handler = (vcpu: X64Vcpu, arg: bigint) => number;

const HANDLERS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [KVM_ENABLE_CAP.request, enableCap],
  [KVM_GET_REGS.request, getRegs],
  [KVM_SET_REGS.request, setRegs],
  [KVM_GET_SREGS.request, getSregs],
  [KVM_SET_SREGS.request, setSregs],
  [KVM_GET_MP_STATE.request, getMpState],
  [KVM_SET_MP_STATE.request, setMpState],
  [KVM_GET_MSRS.request, getMsrs],
  [KVM_SET_MSRS.request, setMsrs],
  [KVM_GET_CPUID2.request, getCpuid],
  [KVM_SET_CPUID2.request, setCpuid],
]);

/** Only TDX has commands for vCPUs; the vendor module that has it refuses them on other VMs with EINVAL. */
function vcpuCommand(vcpu: X64Vcpu, arg: bigint): number {
  const { technology } = vcpu.vm;
  if (technology !== undefined) return technology.vcpuCommand(vcpu, arg);
  return vcpu.machine.technologies.has('tdx') ? -EINVAL : -ENOTTY;
}

/** Undefined for a request that x86-64 does not know. */
export function stateRequest(vcpu: X64Vcpu, request: number, arg: bigint): number | undefined {
  const { machine } = vcpu;
  if (request === KVM_PRE_FAULT_MEMORY.request && machine.profile.preFault) {
    return preFault(vcpu, arg);
  }
  if (request === KVM_MEMORY_ENCRYPT_OP.request) return vcpuCommand(vcpu, arg);
  return HANDLERS.get(request)?.(vcpu, arg) ?? vcpuAttribute(vcpu, request, arg);
}
