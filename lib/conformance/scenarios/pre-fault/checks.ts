/** KVM_PRE_FAULT_MEMORY: arguments, and what the struct holds afterwards. */

import type { Vcpu } from '../../../kvm/vcpu.ts';
import { KVM_PRE_FAULT_MEMORY, kvm_pre_fault_memory, PROT } from '../../../uapi/index.ts';
import type { Context } from '../../context.ts';
import { PRE_FAULT, preFault } from '../../pre-fault.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE } from '../../two-sided.ts';

const TOP = 1n << 64n;
const EINVAL = 22;

/** A vCPU over a slot of four pages. */
function prepare(t: Context): Vcpu {
  const vm = t.vm();
  t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 4 * PAGE, backing: t.anonymous(4 * PAGE) }));
  return vm.createVcpu();
}

export const preFaultChecks = topic(
  'pre_fault/checks',
  {
    promise: 'virt/kvm/kvm_main.c: kvm_vcpu_pre_fault_memory; Documentation/virt/kvm/api.rst 4.143, Linux 6.11',
    needs: { arch: 'x64', ...PRE_FAULT },
  },
  (scenario) => {
    const untouched = (
      t: Context,
      vcpu: Vcpu,
      gpa: number | bigint,
      size: number | bigint,
      what: string,
      flags = 0n,
    ): void => {
      const after = preFault(vcpu, gpa, size, flags);
      t.refused(after.result, 'EINVAL', what);
      t.same([after.gpa, after.size], [BigInt(gpa), BigInt(size)], `gpa and size after ${what}`);
    };

    scenario('every_flag_is_EINVAL', (t) => {
      const vcpu = prepare(t);
      let refused = 0n;
      for (let bit = 1n; bit < TOP; bit <<= 1n) {
        const range = kvm_pre_fault_memory.encode({ gpa: AREA, size: PAGE, flags: bit });
        if (t.sys.kernel.ioctl(vcpu.fd, KVM_PRE_FAULT_MEMORY.request, range) === -EINVAL) refused |= bit;
      }
      t.same(refused, TOP - 1n, 'flags that are refused');
      untouched(t, vcpu, AREA, PAGE, 'a flag', 1n);
      t.accepted(preFault(vcpu, AREA, PAGE).result, 'no flag');
    });

    scenario('unaligned_gpa_is_EINVAL', (t) => {
      const vcpu = prepare(t);
      for (const off of [1, 8, 2048, PAGE - 1]) untouched(t, vcpu, AREA + off, PAGE, `gpa + ${off}`);
      t.accepted(preFault(vcpu, AREA, PAGE).result, 'the page itself');
    });

    scenario('unaligned_size_is_EINVAL', (t) => {
      const vcpu = prepare(t);
      for (const size of [1, 8, PAGE - 1, PAGE + 1, 2 * PAGE + 512]) untouched(t, vcpu, AREA, size, `${size} bytes`);
      t.accepted(preFault(vcpu, AREA, 2 * PAGE).result, 'two pages');
    });

    scenario('size_0_is_EINVAL', (t) => {
      const vcpu = prepare(t);
      untouched(t, vcpu, AREA, 0, 'no bytes');
      untouched(t, vcpu, 0, 0, 'no bytes at 0');
      t.accepted(preFault(vcpu, AREA, PAGE).result, 'a page');
    });

    scenario('range_that_wraps_is_EINVAL', (t) => {
      const vcpu = prepare(t);
      const last = TOP - BigInt(PAGE);
      untouched(t, vcpu, last, PAGE, 'up to 2^64');
      untouched(t, vcpu, last, 2 * PAGE, 'beyond 2^64');
      untouched(t, vcpu, AREA, last, 'a size that wraps');
      t.accepted(preFault(vcpu, AREA, PAGE).result, 'a page');
    });

    scenario('padding_is_ignored', (t) => {
      const vcpu = prepare(t);
      const range = kvm_pre_fault_memory.encode({ gpa: AREA, size: 2 * PAGE });
      range.fill(0xff, kvm_pre_fault_memory.offsets.padding);
      t.accepted(vcpu.raw.ioctl(KVM_PRE_FAULT_MEMORY, range), 'padding set');
      t.filledWith(range.subarray(kvm_pre_fault_memory.offsets.padding), 0xff, 'the padding afterwards');
    });

    scenario('NULL_is_EFAULT', (t) => {
      const vcpu = prepare(t);
      t.refused(vcpu.raw.ioctl(KVM_PRE_FAULT_MEMORY, 0), 'EFAULT', 'a NULL argument');
      t.accepted(preFault(vcpu, AREA, PAGE).result, 'a good argument');
    });

    scenario('struct_that_cannot_be_written_is_EFAULT', (t) => {
      const vcpu = prepare(t);
      const memory = t.anonymous(PAGE);
      memory.write(0, kvm_pre_fault_memory.encode({ gpa: AREA, size: PAGE }));
      memory.write(512, kvm_pre_fault_memory.encode({ gpa: AREA, size: PAGE, flags: 1 }));
      memory.protect(PROT.value.PROT_READ);
      t.refused(vcpu.raw.ioctl(KVM_PRE_FAULT_MEMORY, memory.hva), 'EFAULT', 'a good request');
      t.refused(
        vcpu.raw.ioctl(KVM_PRE_FAULT_MEMORY, memory.hva + 512),
        'EFAULT',
        'a bad request: the write back comes last',
      );
      memory.protect(PROT.value.PROT_READ | PROT.value.PROT_WRITE);
      t.accepted(vcpu.raw.ioctl(KVM_PRE_FAULT_MEMORY, memory.hva), 'in writable memory');
    });

    scenario('belongs_to_the_vCPU_descriptor', (t) => {
      const vcpu = prepare(t);
      const range = () => kvm_pre_fault_memory.encode({ gpa: AREA, size: PAGE });
      const { request } = KVM_PRE_FAULT_MEMORY;
      t.refused(t.sys.raw.ioctl(vcpu.vm.fd, request, range()), 'ENOTTY', 'on the VM');
      t.refused(t.sys.raw.ioctl(t.kvm.fd, request, range()), 'EINVAL', 'on /dev/kvm');
      t.accepted(t.sys.raw.ioctl(vcpu.fd, request, range()), 'on the vCPU');
    });
  },
);
