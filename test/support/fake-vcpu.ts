/** A vCPU on a fake kernel: the test writes struct kvm_run and says how KVM_RUN ends. */
import type { CallName } from '../../lib/kernel/calls.ts';
import { Sys } from '../../lib/kernel/sys.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import type { Vcpu } from '../../lib/kvm/vcpu.ts';
import {
  KVM_CREATE_VCPU,
  KVM_CREATE_VM,
  KVM_GET_API_VERSION,
  KVM_GET_VCPU_MMAP_SIZE,
  KVM_RUN_EXIT_OFFSET,
  kvm_run,
} from '../../lib/uapi/index.ts';
import { type Fake, fakeKernel } from './fake-kernel.ts';

export const PAGE_BYTES = 12288;

type IoctlAnswer = (
  fd: number,
  request: number,
  arg: Uint8Array,
  how: number,
  pointers: readonly (readonly [number, Uint8Array])[] | undefined,
) => number | undefined;

export interface FakeVcpu {
  readonly fake: Fake;
  readonly vcpu: Vcpu;
  /** struct kvm_run and what follows. */
  readonly page: Uint8Array;
  /** What the next KVM_RUN returns. */
  result: number;
  /** Writes an exit as the kernel would. */
  setExit(reason: number, payload?: Uint8Array): void;
  /** Ends the asynchronous run that is under way. */
  end(result: number): void;
}

/** @param ioctl answers requests of the vCPU and the VM; undefined for 0. */
export function fakeVcpu(
  ioctl: IoctlAnswer = () => undefined,
  arch: 'x64' | 'arm64' = 'x64',
  more: Partial<Record<CallName, (...args: never[]) => unknown>> = {},
): FakeVcpu {
  const buffer = new ArrayBuffer(PAGE_BYTES);
  const page = new Uint8Array(buffer);
  const made = new Map<number, number>([
    [KVM_GET_API_VERSION.request, 12],
    [KVM_CREATE_VM.request, 4],
    [KVM_GET_VCPU_MMAP_SIZE.request, PAGE_BYTES],
    [KVM_CREATE_VCPU.request, 5],
  ]);
  let ended: ((result: number) => void) | undefined;
  const fake = fakeKernel(
    {
      open: () => 3,
      ioctl: (fd: number, request: number, arg: Uint8Array, how: number, pointers: never) =>
        made.get(request) ?? ioctl(fd, request, arg, how, pointers) ?? 0,
      mmap: () => 0x7000_0000,
      view: () => buffer,
      vcpuAttach: () => 1,
      vcpuRun: () => state.result,
      vcpuStart: (_vcpu: number, done: (result: number) => void) => {
        ended = done;
        return 0;
      },
      ...more,
    },
    { arch },
  );
  const vcpu = Kvm.open(new Sys(fake.kernel)).createVm().createVcpu();
  fake.calls.length = 0;
  const state: FakeVcpu = {
    fake,
    vcpu,
    page,
    result: 0,
    setExit(reason, payload = new Uint8Array()) {
      new DataView(buffer).setUint32(kvm_run.offsets.exit_reason, reason, true);
      page.set(payload, KVM_RUN_EXIT_OFFSET);
    },
    end(result) {
      const done = ended;
      ended = undefined;
      done?.(result);
    },
  };
  return state;
}
