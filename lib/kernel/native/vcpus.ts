/** The calls of the waist on vCPUs. */
import * as take from '../arguments.ts';
import type { Kernel } from '../kernel.ts';
import type { Addon } from './addon.ts';

type VcpuCall = 'vcpuAttach' | 'vcpuRun' | 'vcpuStart' | 'vcpuKick' | 'vcpuDetach';

export function vcpuCalls({ functions, frame }: Addon): Pick<Kernel, VcpuCall> {
  return {
    vcpuAttach: (fd, runPage) => {
      frame.int32(0, fd, 'fd');
      frame.u64(1, runPage, 'runPage');
      functions.vcpuAttach();
      return frame.result;
    },
    vcpuRun: (vcpu, timeoutMs) => {
      frame.int32(0, vcpu, 'vcpu');
      frame.int32(1, timeoutMs, 'timeoutMs');
      functions.vcpuRun();
      return frame.result;
    },
    vcpuStart: (vcpu, done) => {
      frame.int32(0, vcpu, 'vcpu');
      functions.vcpuStart(take.callback(done, 'done'));
      return frame.result;
    },
    vcpuKick: (vcpu) => {
      frame.int32(0, vcpu, 'vcpu');
      functions.vcpuKick();
      return frame.result;
    },
    vcpuDetach: (vcpu) => {
      frame.int32(0, vcpu, 'vcpu');
      functions.vcpuDetach();
      return frame.result;
    },
  };
}
