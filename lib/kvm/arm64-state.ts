/** The state of an arm64 vCPU, by the requests that get and set it. */

import { KernelError } from '../kernel/errors.ts';
import { type Raw, rawOf } from '../kernel/raw.ts';
import {
  KVM_ARM_PREFERRED_TARGET,
  KVM_ARM_VCPU_INIT,
  KVM_GET_ONE_REG,
  KVM_GET_REG_LIST,
  KVM_REG_SIZE,
  KVM_SET_ONE_REG,
  kvm_one_reg,
  kvm_reg_list,
  kvm_vcpu_init,
} from '../uapi/index.ts';
import type { Vcpu } from './vcpu.ts';

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
