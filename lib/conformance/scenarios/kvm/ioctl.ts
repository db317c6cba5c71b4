/** Requests that a descriptor does not have, and the few that /dev/kvm answers itself. */
import {
  KVM_CHECK_EXTENSION,
  KVM_CREATE_VCPU,
  KVM_CREATE_VM,
  KVM_GET_API_VERSION,
  KVM_GET_REGS,
  KVM_GET_VCPU_MMAP_SIZE,
  KVM_SET_USER_MEMORY_REGION,
} from '../../../uapi/index.ts';
import { topic } from '../../scenario.ts';

const KVM = 0xae;
/** _IOC: direction 0 none, 1 write, 2 read, 3 both. */
const ioc = (direction: number, nr: number, size: number): number =>
  ((direction << 30) | (size << 16) | (KVM << 8) | nr) >>> 0;
/** Numbers that nothing had up to 7.3, and numbers of another driver. */
const UNKNOWN = [ioc(0, 0x3f, 0), ioc(0, 0xff, 0), 0x5401, 0];

export const kvmIoctl = topic(
  'kvm/ioctl',
  {
    promise: 'virt/kvm/kvm_main.c: kvm_dev_ioctl, kvm_vm_ioctl, kvm_vcpu_ioctl; before Linux 6.1',
    needs: { vmType: 'default' },
  },
  (scenario) => {
    scenario('unknown_request_on_dev_kvm_is_EINVAL', (t) => {
      for (const request of UNKNOWN)
        t.refused(t.kvm.raw.ioctl(request), 'EINVAL', `request 0x${request.toString(16)} on /dev/kvm`);
    });

    scenario('unknown_request_on_a_vm_is_ENOTTY', (t) => {
      const vm = t.vm();
      for (const request of UNKNOWN)
        t.refused(vm.raw.ioctl(request), 'ENOTTY', `request 0x${request.toString(16)} on a VM`);
    });

    scenario('unknown_request_on_a_vcpu_is_EINVAL', { needs: { arch: 'x64' } }, (t) => {
      const vcpu = t.use(t.vm().createVcpu(0));
      for (const request of UNKNOWN.filter((request) => request >> 8 === KVM))
        t.refused(vcpu.raw.ioctl(request), 'EINVAL', `request 0x${request.toString(16)} on a vCPU`);
    });

    scenario('request_of_another_kind_of_descriptor_is_unknown', { needs: { arch: 'x64' } }, (t) => {
      const vm = t.vm();
      const vcpu = t.use(vm.createVcpu(0));
      const region = new Uint8Array(KVM_SET_USER_MEMORY_REGION.arg.kind === 'struct' ? 32 : 0);
      t.refused(vm.raw.ioctl(KVM_GET_REGS.request, new Uint8Array(144)), 'ENOTTY', 'KVM_GET_REGS on a VM');
      t.refused(vm.raw.ioctl(KVM_CREATE_VM.request, 0), 'ENOTTY', 'KVM_CREATE_VM on a VM');
      t.refused(vm.raw.ioctl(KVM_GET_API_VERSION.request, 0), 'ENOTTY', 'KVM_GET_API_VERSION on a VM');
      t.refused(t.kvm.raw.ioctl(KVM_SET_USER_MEMORY_REGION.request, region), 'EINVAL', 'a slot of /dev/kvm');
      t.refused(t.kvm.raw.ioctl(KVM_CREATE_VCPU.request, 0), 'EINVAL', 'a vCPU of /dev/kvm');
      t.refused(vcpu.raw.ioctl(KVM_SET_USER_MEMORY_REGION.request, region), 'EINVAL', 'a slot of a vCPU');
      t.refused(vcpu.raw.ioctl(KVM_CREATE_VCPU.request, 1), 'EINVAL', 'a vCPU of a vCPU');
    });

    scenario('size_and_direction_belong_to_the_number', (t) => {
      const vm = t.vm();
      for (const [direction, size] of [
        [1, 31],
        [1, 40],
        [2, 32],
        [3, 32],
        [0, 0],
      ] as const) {
        const arg = size === 0 ? 0 : new Uint8Array(size);
        const what = `KVM_SET_USER_MEMORY_REGION with direction ${direction} and size ${size}`;
        t.refused(vm.raw.ioctl(ioc(direction, 0x46, size), arg), 'ENOTTY', what);
      }
      t.refused(vm.raw.ioctl(ioc(1, 0x46, 32), new Uint8Array(32)), 'EINVAL', 'the right one, deleting no slot');
    });

    scenario('version_and_run_page', { needs: { arch: 'x64' } }, (t) => {
      t.same(t.kvm.ioctl(KVM_GET_API_VERSION), 12, 'KVM_GET_API_VERSION');
      t.same(t.kvm.ioctl(KVM_GET_VCPU_MMAP_SIZE), 3 * 4096, 'KVM_GET_VCPU_MMAP_SIZE');
    });

    scenario('argument_where_there_is_none_is_EINVAL', (t) => {
      for (const argument of [1, 0x1000, 1n << 40n]) {
        t.refused(t.kvm.raw.ioctl(KVM_GET_API_VERSION, argument), 'EINVAL', 'KVM_GET_API_VERSION');
        t.refused(t.kvm.raw.ioctl(KVM_GET_VCPU_MMAP_SIZE, argument), 'EINVAL', 'KVM_GET_VCPU_MMAP_SIZE');
      }
    });

    scenario('unknown_capability_is_0', (t) => {
      const vm = t.vm();
      for (const capability of [0xffff, 0x7fff_ffff, (1n << 32n) + 3n, (1n << 64n) - 1n]) {
        t.same(t.kvm.ioctl(KVM_CHECK_EXTENSION, capability), 0, `capability ${capability} of /dev/kvm`);
        t.same(vm.ioctl(KVM_CHECK_EXTENSION, capability), 0, `capability ${capability} of a VM`);
      }
    });
  },
);
