/** The system descriptor and VMs: opening, capabilities, requests to the wrong descriptor, requests that nobody knows. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { KernelError, UnsupportedError } from '../../lib/kernel/errors.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import {
  defineIoctl,
  KVM_CAP,
  KVM_MEMORY_ATTRIBUTE,
  KVM_SET_MEMORY_ATTRIBUTES,
  struct,
  u64,
} from '../../lib/uapi/index.ts';
import { describeKernel, describeKvm, requires } from '../support/kvm.ts';

const C = KVM_CAP.value;
const refused = (code: string) => expect.objectContaining({ ok: false, code });

function unsupported(call: () => unknown): UnsupportedError {
  try {
    call();
  } catch (error) {
    if (error instanceof UnsupportedError) return error;
    throw error;
  }
  throw new Error('it is supported');
}

describeKernel('Kvm.open of what is not KVM', (sys) => {
  const FILES = { kvm: false, real: 'it opens files of this host' } as const;
  const folder = mkdtempSync(join(tmpdir(), 'privmem-kvm-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  it('says that there is nothing at the path', () => {
    const error = unsupported(() => Kvm.open(sys, join(folder, 'none')));
    expect(error).toMatchObject({ missing: join(folder, 'none'), reason: 'it does not exist' });
    expect(error.nextStep).toMatch(/kvm_intel/);
    expect(error.cause).toBeInstanceOf(KernelError);
  });

  requires(FILES)('says that a file is not KVM, and leaves it closed', () => {
    const path = join(folder, 'file');
    writeFileSync(path, '');
    for (const other of ['/dev/null', path]) {
      expect(unsupported(() => Kvm.open(sys, other))).toMatchObject({ missing: other, reason: 'is not KVM (ENOTTY)' });
    }
  });

  requires(FILES)('says with which error a path cannot be opened', () => {
    expect(unsupported(() => Kvm.open(sys, folder)).reason).toBe('open fails with EISDIR');
  });
});

describeKvm('Kvm', ({ kvm }) => {
  it('speaks version 12', () => {
    expect(kvm.apiVersion()).toBe(12);
  });

  it('answers 0 for capabilities that it does not know', () => {
    expect([kvm.checkExtension(0xffff), kvm.checkExtension(C.KVM_CAP_USER_MEMORY)]).toEqual([0, 1]);
  });

  requires({ arch: 'x64' })('has the numbers of slots and pages that the architecture says', () => {
    expect(kvm.checkExtension(C.KVM_CAP_NR_MEMSLOTS)).toBe(32764);
    expect(kvm.vcpuMmapSize()).toBeGreaterThanOrEqual(12288);
  });

  requires({ arch: 'x64' })('makes the types that it offers, and no other', () => {
    const mask = kvm.checkExtension(C.KVM_CAP_VM_TYPES) || 1;
    // Type 0 is everywhere; the others depend on the processor, so only refusals are tried.
    for (const type of [0, 1, 2, 3, 4, 5, 6, 31, 32, 33, 2 ** 31]) {
      if (type < 32 && (mask & (1 << type)) !== 0) continue;
      expect(kvm.raw.createVm(type)).toEqual(refused('EINVAL'));
    }
    expect(kvm.createVm(0).type).toBe(0n);
  });

  requires({ arch: 'x64' })('lists CPUID leaves and MSRs', () => {
    const leaves = kvm.supportedCpuid();
    expect(leaves.some((leaf) => leaf.function === 0)).toBe(true);
    expect(leaves.some((leaf) => leaf.function === 0x4000_0000)).toBe(true);
    const IA32_TSC = 0x10;
    expect(kvm.msrIndexList()).toContain(IA32_TSC);
  });

  it('answers unknown requests with EINVAL, a VM with ENOTTY, a vCPU with EINVAL', () => {
    using vm = kvm.createVm();
    using vcpu = vm.createVcpu();
    const UNKNOWN = 0xaeff;
    expect(kvm.raw.ioctl(UNKNOWN)).toEqual(refused('EINVAL'));
    expect(vm.raw.ioctl(UNKNOWN)).toEqual(refused('ENOTTY'));
    expect(vcpu.raw.ioctl(UNKNOWN)).toEqual(refused('EINVAL'));
  });

  it('answers requests at the wrong descriptor like unknown ones', () => {
    using vm = kvm.createVm();
    const KVM_RUN = 0xae80;
    expect(vm.raw.ioctl(KVM_RUN)).toEqual(refused('ENOTTY'));
    expect(kvm.raw.ioctl(0xae41)).toEqual(refused('EINVAL'));
  });

  it('knows a request that a user declares, at once and by name', () => {
    using vm = kvm.createVm();
    const layout = struct('kvm_test_patch', { gpa: u64, flags: u64 });
    const request = defineIoctl('KVM_TEST_PATCH', { nr: 0xf3, direction: 'write', on: 'vm', arg: layout });
    try {
      vm.ioctl(request, layout.encode({ gpa: 0x1000, flags: 3 }));
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOTTY', request: 'KVM_TEST_PATCH' });
      expect(String(error)).toContain(`ioctl(${vm.fd}, KVM_TEST_PATCH, {gpa=0x1000, flags=3})`);
    }
    expect(() => vm.ioctl(request, new Uint8Array(15))).toThrow(RangeError);
  });

  it('dispatches on the whole number: another size is another request', () => {
    using vm = kvm.createVm();
    expect(vm.raw.ioctl(0x4020_ae49, new Uint8Array(32))).toEqual(refused('ENOTTY'));
  });
});

describeKvm('Vm', ({ kvm }) => {
  it('answers for itself', () => {
    using vm = kvm.createVm();
    expect(vm.checkExtension(C.KVM_CAP_USER_MEMORY)).toBe(1);
    expect(vm.guestMemfdFlags()).toBe(vm.checkExtension(C.KVM_CAP_GUEST_MEMFD_FLAGS));
    // A default VM has no private memory, whatever the kernel was built with.
    expect(vm.memoryAttributes()).toBe(0);
  });

  it('has no memory attributes: ENOTTY without them in the kernel, EINVAL for a default VM', () => {
    using vm = kvm.createVm();
    const inKernel = kvm.checkExtension(C.KVM_CAP_MEMORY_ATTRIBUTES) !== 0;
    const code = inKernel ? 'EINVAL' : 'ENOTTY';
    expect(vm.raw.setPrivate(0, 4096)).toEqual(refused(code));
    expect(vm.raw.setMemoryAttributes(0, 4096, KVM_MEMORY_ATTRIBUTE.value.KVM_MEMORY_ATTRIBUTE_PRIVATE)).toEqual(
      refused(code),
    );
    if (!inKernel) expect(vm.raw.setShared(0, 4096)).toEqual(refused('ENOTTY'));
    const error = vm.raw.setPrivate(0, 4096);
    expect(error.ok ? undefined : error.error.message).toContain(KVM_SET_MEMORY_ATTRIBUTES.name);
  });

  requires({ arch: 'x64', caps: { KVM_CAP_EXIT_HYPERCALL: 4096 } })('lets hypercall 12 out, and no other', () => {
    using vm = kvm.createVm();
    vm.enableExitHypercall(1 << 12);
    vm.enableExitHypercall(0);
    expect(vm.raw.enableExitHypercall(1)).toEqual(refused('EINVAL'));
    expect(vm.raw.enableExitHypercall(1 << 13)).toEqual(refused('EINVAL'));
    expect(vm.raw.enableCap(C.KVM_CAP_EXIT_HYPERCALL, [4096], 1)).toEqual(refused('EINVAL'));
    expect(vm.raw.enableCap(0xffff)).toEqual(refused('EINVAL'));
  });

  it('gives each vCPU id once', () => {
    using vm = kvm.createVm();
    const first = vm.createVcpu(3);
    expect([first.id, first.vm]).toEqual([3, vm]);
    expect(vm.raw.createVcpu(3)).toEqual(refused('EEXIST'));
    expect(vm.raw.createVcpu(2 ** 31)).toEqual(refused('EINVAL'));
    first.close();
    // The kernel keeps the vCPU as long as the VM lives.
    expect(vm.raw.createVcpu(3)).toEqual(refused('EEXIST'));
  });

  requires({ arch: 'x64', caps: { KVM_CAP_IRQCHIP: 1 } })('takes its interrupt controllers before any vCPU', () => {
    using vm = kvm.createVm();
    vm.createIrqchip();
    expect(vm.raw.createIrqchip()).toEqual(refused('EEXIST'));
    using late = kvm.createVm();
    late.createVcpu();
    expect(late.raw.createIrqchip()).toEqual(refused('EINVAL'));
  });

  requires({ arch: 'x64' })('takes the address of the TSS below 4 GiB', () => {
    using vm = kvm.createVm();
    const set = vm.raw.setTssAddr(0xfffb_d000);
    // Only Intel's processors need it; on AMD's it is accepted and ignored.
    expect(set.ok).toBe(true);
  });
});
