/** The requests of an arm64 vCPU, against their layouts: a fake kernel records and answers. */
import { describe, expect, it } from 'vitest';
import { errnoOf } from '../../lib/kernel/errno.ts';
import { KernelError } from '../../lib/kernel/errors.ts';
import {
  KVM_ARM_PREFERRED_TARGET,
  KVM_ARM_VCPU_INIT,
  KVM_GET_ONE_REG,
  KVM_GET_REG_LIST,
  KVM_SET_ONE_REG,
  kvm_one_reg,
  kvm_reg_list,
  kvm_vcpu_init,
} from '../../lib/uapi/index.ts';
import { fakeVcpu } from '../support/fake-vcpu.ts';

/** Bits 52..55 of a register's id are the log2 of its size. */
const SIZE_U32 = 2n << 52n;
const SIZE_U64 = 3n << 52n;
const SIZE_U128 = 4n << 52n;
const ARM64 = 6n << 60n;

const X0 = ARM64 | SIZE_U64 | 0x10_0000n;
const FPSR = ARM64 | SIZE_U32 | 0x10_0000n;
const V0 = ARM64 | SIZE_U128 | 0x10_0000n;

describe('Arm64State', () => {
  it('initialises with the target that the VM prefers', () => {
    const { vcpu, fake } = fakeVcpu((_fd, request, arg) => {
      if (request === KVM_ARM_PREFERRED_TARGET.request) arg.set(kvm_vcpu_init.encode({ target: 5 }));
      return 0;
    }, 'arm64');
    vcpu.arm64.init();
    const [asked, init] = fake.of('ioctl');
    expect(asked?.args.slice(0, 2)).toEqual([4, KVM_ARM_PREFERRED_TARGET.request]);
    expect(init?.args.slice(0, 2)).toEqual([5, KVM_ARM_VCPU_INIT.request]);
    expect(kvm_vcpu_init.decode(init?.args[2] as Uint8Array)).toMatchObject({ target: 5 });
  });

  it('initialises with a target and features of the caller, without asking', () => {
    const { vcpu, fake } = fakeVcpu(undefined, 'arm64');
    vcpu.arm64.init(7, [0x5, 0, 1]);
    expect(fake.calls).toHaveLength(1);
    const init = kvm_vcpu_init.decode(fake.calls[0]?.args[2] as Uint8Array);
    expect([init.target, [...init.features].slice(0, 4)]).toEqual([7, [5, 0, 1, 0]]);
  });

  it.each([
    [FPSR, 4],
    [X0, 8],
    [V0, 16],
  ])('reads register 0x%s through a pointer to as many bytes as the id says', (id, size) => {
    const { vcpu, fake } = fakeVcpu((_fd, _request, _arg, _how, pointers) => {
      pointers?.[0]?.[1].fill(0x42);
      return 0;
    }, 'arm64');
    expect(vcpu.arm64.getOneReg(id)).toEqual(new Uint8Array(size).fill(0x42));
    const { args } = fake.calls[0] ?? { args: [] };
    expect(args[1]).toBe(KVM_GET_ONE_REG.request);
    expect(kvm_one_reg.get(args[2] as Uint8Array, 'id')).toBe(id);
    // No address of ours is in the struct: the kernel below puts the pointer in, for the time of the call.
    expect(kvm_one_reg.get(args[2] as Uint8Array, 'addr')).toBeOneOf([0, 0n]);
    expect(args[4]).toEqual([[kvm_one_reg.offsets.addr, new Uint8Array(size)]]);
  });

  it('writes registers', () => {
    const { vcpu, fake } = fakeVcpu(undefined, 'arm64');
    vcpu.arm64.setU64(X0, -2);
    const { args } = fake.calls[0] ?? { args: [] };
    expect(args[1]).toBe(KVM_SET_ONE_REG.request);
    expect(args[4]).toEqual([
      [kvm_one_reg.offsets.addr, new Uint8Array([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
    ]);
  });

  it('refuses bytes that are not as many as the id says, before the kernel is asked', () => {
    const { vcpu, fake } = fakeVcpu(undefined, 'arm64');
    expect(() => vcpu.arm64.setOneReg(V0, new Uint8Array(8))).toThrow(RangeError);
    expect(() => vcpu.arm64.setU64(FPSR, 1)).toThrow(/has 4 bytes, got 8/);
    expect(fake.calls).toEqual([]);
  });

  it('reads words', () => {
    const { vcpu } = fakeVcpu((_fd, _request, _arg, _how, pointers) => {
      pointers?.[0]?.[1].set([0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x81]);
      return 0;
    }, 'arm64');
    expect(vcpu.arm64.getU64(X0)).toBe(0x8123_4567_89ab_cdefn);
  });

  it('asks for the list of registers in two steps', () => {
    const ids = [X0, FPSR, V0];
    const { vcpu, fake } = fakeVcpu((_fd, request, arg) => {
      if (request !== KVM_GET_REG_LIST.request) return 0;
      const room = Number(kvm_reg_list.get(arg, 'n'));
      if (room < ids.length) {
        arg.set(kvm_reg_list.encode({ n: ids.length }));
        return -errnoOf('E2BIG');
      }
      arg.set(kvm_reg_list.encode({}, ids));
      return 0;
    }, 'arm64');
    expect(vcpu.arm64.regList()).toEqual(ids);
    expect(fake.calls).toHaveLength(2);
  });

  it('passes other refusals on', () => {
    const { vcpu } = fakeVcpu(() => -errnoOf('ENOEXEC'), 'arm64');
    expect(() => vcpu.arm64.regList()).toThrow(KernelError);
    expect(vcpu.arm64.raw.regList()).toMatchObject({ ok: false, code: 'ENOEXEC' });
    expect(vcpu.arm64.getOneReg.bind(vcpu.arm64, X0)).toThrow(/KVM_GET_ONE_REG.*ENOEXEC/s);
  });
});
