/** The state of an arm64 vCPU, by the requests that get and set it. */

import { KernelError } from '../kernel/errors.ts';
import { type Raw, rawOf } from '../kernel/raw.ts';
import {
  KVM_ARM_PREFERRED_TARGET,
  KVM_ARM_VCPU_INIT,
  KVM_GET_ONE_REG,
  KVM_GET_REG_LIST,
  KVM_REG_ARM64_PC,
  KVM_REG_ARM64_PSTATE,
  KVM_REG_ARM64_SP,
  KVM_REG_ARM64_SP_EL1,
  KVM_REG_ARM64_X,
  KVM_REG_SIZE,
  KVM_SET_ONE_REG,
  kvm_one_reg,
  kvm_reg_list,
  kvm_vcpu_init,
} from '../uapi/index.ts';
import type { Vcpu } from './vcpu.ts';

/** Core registers by name; `x` holds x0 to x30. */
export interface Arm64Core {
  readonly x: readonly bigint[];
  /** SP_EL0. */
  readonly sp: bigint;
  readonly pc: bigint;
  readonly pstate: bigint;
  readonly sp_el1: bigint;
}

const CORE = {
  sp: KVM_REG_ARM64_SP,
  pc: KVM_REG_ARM64_PC,
  pstate: KVM_REG_ARM64_PSTATE,
  sp_el1: KVM_REG_ARM64_SP_EL1,
} as const;
const GENERAL = 31;

export class Arm64State {
  readonly #vcpu: Vcpu;

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu;
  }

  /** The same requests, returning `{ok, errno, value}` where these throw a KernelError. */
  get raw(): Raw<Arm64State> {
    return rawOf<Arm64State>(this);
  }

  /** KVM_ARM_PREFERRED_TARGET on the VM: the target to pass to `init`. */
  preferredTarget(): number {
    const bytes = kvm_vcpu_init.encode();
    this.#vcpu.vm.ioctl(KVM_ARM_PREFERRED_TARGET, bytes);
    return kvm_vcpu_init.get(bytes, 'target');
  }

  /** KVM_ARM_VCPU_INIT, before any other use of the vCPU. `features`: words of bits, whose numbers are in KVM_ARM_VCPU. EINVAL for an unknown target or feature. */
  init(target: number = this.preferredTarget(), features: readonly number[] = []): void {
    this.#vcpu.ioctl(KVM_ARM_VCPU_INIT, kvm_vcpu_init.encode({ target, features }));
  }

  /** KVM_GET_ONE_REG: the bytes of a register, as many as its id says. ENOENT for an id that the vCPU does not have. */
  getOneReg(id: bigint): Uint8Array {
    const value = new Uint8Array(KVM_REG_SIZE(id));
    this.#vcpu.ioctl(KVM_GET_ONE_REG, kvm_one_reg.encode({ id }), [[kvm_one_reg.offsets.addr, value]]);
    return value;
  }

  /** KVM_SET_ONE_REG. RangeError when the bytes are not as many as the id says. */
  setOneReg(id: bigint, value: Uint8Array): void {
    const size = KVM_REG_SIZE(id);
    if (value.length !== size)
      throw new RangeError(`register 0x${id.toString(16)} has ${size} bytes, got ${value.length}`);
    this.#vcpu.ioctl(KVM_SET_ONE_REG, kvm_one_reg.encode({ id }), [[kvm_one_reg.offsets.addr, value]]);
  }

  /** A register of 8 bytes. */
  getU64(id: bigint): bigint {
    const bytes = this.getOneReg(id);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }

  setU64(id: bigint, value: bigint | number): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
    this.setOneReg(id, bytes);
  }

  /** The general registers, stack pointers, pc and pstate, one request each. */
  getCore(): Arm64Core {
    return {
      x: Array.from({ length: GENERAL }, (_, n) => this.getU64(KVM_REG_ARM64_X(n))),
      sp: this.getU64(CORE.sp),
      pc: this.getU64(CORE.pc),
      pstate: this.getU64(CORE.pstate),
      sp_el1: this.getU64(CORE.sp_el1),
    };
  }

  /**
   * Sets what is given, of `x` as many as there are. After an MMIO or hypercall exit the kernel still moves the pc over the instruction at
   * the next KVM_RUN, also over a pc that was set meanwhile: call `completeIo` first. EINVAL for a pstate that the vCPU cannot have.
   */
  setCore({ x = [], ...rest }: Partial<Arm64Core>): void {
    for (const [n, value] of x.entries()) this.setU64(KVM_REG_ARM64_X(n), value);
    for (const name of ['sp', 'pc', 'pstate', 'sp_el1'] as const) {
      const value = rest[name];
      if (value !== undefined) this.setU64(CORE[name], value);
    }
  }

  /** KVM_GET_REG_LIST: the ids of all registers that the vCPU has. */
  regList(): bigint[] {
    const header = kvm_reg_list.encode();
    try {
      this.#vcpu.ioctl(KVM_GET_REG_LIST, header);
    } catch (error) {
      // E2BIG comes with the number of registers filled in: that is how the request is asked.
      if (!(error instanceof KernelError) || error.code !== 'E2BIG') throw error;
    }
    const bytes = kvm_reg_list.encode({}, Number(kvm_reg_list.get(header, 'n')));
    this.#vcpu.ioctl(KVM_GET_REG_LIST, bytes);
    return kvm_reg_list.decodeElements(bytes);
  }
}
