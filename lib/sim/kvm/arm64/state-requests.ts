/** The requests of an arm64 vCPU besides KVM_RUN. arch/arm64/kvm/arm.c, kvm_arch_vcpu_ioctl */
import {
  KVM_ARM_TARGET,
  KVM_ARM_VCPU,
  KVM_ARM_VCPU_FINALIZE,
  KVM_ARM_VCPU_GRP,
  KVM_ARM_VCPU_INIT,
  KVM_ARM_VCPU_TIMER_ATTR,
  KVM_GET_DEVICE_ATTR,
  KVM_GET_MP_STATE,
  KVM_GET_ONE_REG,
  KVM_GET_REG_LIST,
  KVM_HAS_DEVICE_ATTR,
  KVM_MP_STATE,
  KVM_SET_DEVICE_ATTR,
  KVM_SET_MP_STATE,
  KVM_SET_ONE_REG,
  kvm_device_attr,
  kvm_mp_state,
  kvm_one_reg,
  kvm_reg_list,
  kvm_vcpu_init,
} from '../../../uapi/index.ts';
import { E2BIG, EFAULT, EINVAL, ENOENT, ENOEXEC, ENXIO } from '../../errno.ts';
import { getOneReg, REGISTER_LIST, setOneReg } from './one-reg.ts';
import type { Arm64Vcpu } from './vcpu.ts';

const { KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_STOPPED, KVM_MP_STATE_SUSPENDED } = KVM_MP_STATE.value;
const FEATURE = KVM_ARM_VCPU.value;
const POWER_OFF = 1 << FEATURE.KVM_ARM_VCPU_POWER_OFF;
/** KVM_VCPU_MAX_FEATURES. */
const KNOWN_FEATURES = 0x3ff;
/** Nothing optional is on the simulated processor. */
const SUPPORTED_FEATURES = 1 << FEATURE.KVM_ARM_VCPU_PSCI_0_2;
const FEATURE_WORDS = 7;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function init(vcpu: Arm64Vcpu, arg: bigint): number {
  const bytes = vcpu.vm.process.user.read(arg, kvm_vcpu_init.size);
  if (bytes === undefined) return -EFAULT;
  const view = viewOf(bytes);
  const at = kvm_vcpu_init.offsets;
  const words = Array.from({ length: FEATURE_WORDS }, (_, i) => view.getUint32(at.features + 4 * i, true));
  const [first = 0, ...others] = words;
  const features = first & ~POWER_OFF;
  if (view.getUint32(at.target, true) !== KVM_ARM_TARGET.value.KVM_ARM_TARGET_GENERIC_V8) return -EINVAL;
  if ((features & ~KNOWN_FEATURES) !== 0 || others.some((word) => word !== 0)) return -ENOENT;
  if ((features & ~SUPPORTED_FEATURES) !== 0) return -EINVAL;
  // One set of features for all vCPUs of a VM.
  if (vcpu.vm.features !== undefined && vcpu.vm.features !== features) return -EINVAL;
  vcpu.vm.features = features;
  vcpu.initialized = true;
  vcpu.reset();
  vcpu.mpState = (first & POWER_OFF) === 0 ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_STOPPED;
  return 0;
}

/** Registers cannot be touched before the vCPU was initialised. */
function oneReg(vcpu: Arm64Vcpu, arg: bigint, access: typeof getOneReg): number {
  if (!vcpu.initialized) return -ENOEXEC;
  const bytes = vcpu.vm.process.user.read(arg, kvm_one_reg.size);
  if (bytes === undefined) return -EFAULT;
  if (vcpu.owesReset !== undefined) vcpu.reset();
  const view = viewOf(bytes);
  const at = kvm_one_reg.offsets;
  return access(vcpu, view.getBigUint64(at.id, true), view.getBigUint64(at.addr, true));
}

/** The number is told also when there is no room. */
function regList(vcpu: Arm64Vcpu, arg: bigint): number {
  if (!vcpu.initialized) return -ENOEXEC;
  const { user } = vcpu.vm.process;
  const room = user.readU64(arg);
  if (room === undefined) return -EFAULT;
  if (!user.write(arg, kvm_reg_list.encode({ n: REGISTER_LIST.length }))) return -EFAULT;
  if (room < BigInt(REGISTER_LIST.length)) return -E2BIG;
  const ids = new Uint8Array(8 * REGISTER_LIST.length);
  REGISTER_LIST.forEach((id, i) => {
    viewOf(ids).setBigUint64(8 * i, id, true);
  });
  return user.write(arg + 8n, ids) ? 0 : -EFAULT;
}

function getMpState(vcpu: Arm64Vcpu, arg: bigint): number {
  return vcpu.vm.process.user.write(arg, kvm_mp_state.encode({ mp_state: vcpu.mpState })) ? 0 : -EFAULT;
}

function setMpState(vcpu: Arm64Vcpu, arg: bigint): number {
  const bytes = vcpu.vm.process.user.read(arg, kvm_mp_state.size);
  if (bytes === undefined) return -EFAULT;
  const state = viewOf(bytes).getUint32(0, true);
  const known = [KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_STOPPED, KVM_MP_STATE_SUSPENDED] as const;
  if (!known.some((candidate) => candidate === state)) return -EINVAL;
  vcpu.mpState = state;
  return 0;
}

const TIMERS: ReadonlySet<bigint> = new Set(Object.values(KVM_ARM_VCPU_TIMER_ATTR.value).map(BigInt));

/** A kernel without performance counters and stolen time; timers need an interrupt controller to be set. */
function deviceAttribute(vcpu: Arm64Vcpu, request: number, arg: bigint): number {
  const bytes = vcpu.vm.process.user.read(arg, kvm_device_attr.size);
  if (bytes === undefined) return -EFAULT;
  const view = viewOf(bytes);
  const group = view.getUint32(kvm_device_attr.offsets.group, true);
  const attr = view.getBigUint64(kvm_device_attr.offsets.attr, true);
  const has = request === KVM_HAS_DEVICE_ATTR.request;
  if (group !== KVM_ARM_VCPU_GRP.value.KVM_ARM_VCPU_TIMER_CTRL) return -ENXIO;
  if (request === KVM_SET_DEVICE_ATTR.request) return -EINVAL;
  if (!TIMERS.has(attr)) return -ENXIO;
  if (has) return 0;
  // Nobody chose interrupts: those that KVM begins with.
  const irq = DEFAULT_INTERRUPTS[Number(attr)] ?? 0;
  const value = new Uint8Array(4);
  viewOf(value).setInt32(0, irq, true);
  const address = view.getBigUint64(kvm_device_attr.offsets.addr, true);
  return vcpu.vm.process.user.write(address, value) ? 0 : -EFAULT;
}

/** Virtual, physical, and the two of EL2. */
const DEFAULT_INTERRUPTS = [27, 30, 28, 26] as const;

type Handler = (vcpu: Arm64Vcpu, arg: bigint) => number;

const HANDLERS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [KVM_ARM_VCPU_INIT.request, init],
  [KVM_GET_ONE_REG.request, (vcpu, arg) => oneReg(vcpu, arg, getOneReg)],
  [KVM_SET_ONE_REG.request, (vcpu, arg) => oneReg(vcpu, arg, setOneReg)],
  [KVM_GET_REG_LIST.request, regList],
  [KVM_GET_MP_STATE.request, getMpState],
  [KVM_SET_MP_STATE.request, setMpState],
  // Nothing has to be finalised: there are no vectors of variable length.
  [KVM_ARM_VCPU_FINALIZE.request, finalize],
]);

function finalize(vcpu: Arm64Vcpu, arg: bigint): number {
  if (!vcpu.initialized) return -ENOEXEC;
  return vcpu.vm.process.user.read(arg, 4) === undefined ? -EFAULT : -EINVAL;
}

/** Undefined for a request that arm64 does not know. */
export function stateRequest(vcpu: Arm64Vcpu, request: number, arg: bigint): number | undefined {
  switch (request) {
    case KVM_SET_DEVICE_ATTR.request:
    case KVM_GET_DEVICE_ATTR.request:
    case KVM_HAS_DEVICE_ATTR.request:
      return deviceAttribute(vcpu, request, arg);
    default:
      return HANDLERS.get(request)?.(vcpu, arg);
  }
}
