/** Who may use a VM, and how long it lives. */
import { readdirSync } from 'node:fs';
import {
  KVM_CAP,
  KVM_CHECK_EXTENSION,
  KVM_GET_API_VERSION,
  KVM_GET_REGS,
  KVM_SET_USER_MEMORY_REGION,
  kvm_userspace_memory_region,
} from '../../../uapi/index.ts';
import { F } from '../../../uapi/mman.ts';
import { inAnotherProcess, onAnotherThread } from '../../elsewhere.ts';
import { CACHESTAT, forKinds, heldIndexes, makeFile, PAGE, PLAIN } from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';
import { coveredPages, GPA, setRegion } from '../../slots.ts';

const EIO = -5;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const REGION = hex(kvm_userspace_memory_region.encode({ slot: 1, guest_phys_addr: GPA, memory_size: PAGE }));
/** Unaligned: EINVAL for whoever may ask. */
const BAD_REGION = hex(kvm_userspace_memory_region.encode({ slot: 1, guest_phys_addr: 1, memory_size: PAGE }));

const DEBUG = '/sys/kernel/debug/kvm';
/** A directory for each VM of this process that has not been destroyed: kvm_create_vm_debugfs. */
const debugged = (): string[] => readdirSync(DEBUG).filter((name) => name.startsWith(`${process.pid}-`));

function noDebugfs(): string | undefined {
  try {
    readdirSync(DEBUG);
    return undefined;
  } catch (error) {
    return `needs ${DEBUG} (${(error as NodeJS.ErrnoException).code})`;
  }
}

export const kvmProcesses = topic(
  'kvm/process',
  {
    promise: 'virt/kvm/kvm_main.c: kvm_vm_ioctl, kvm_vcpu_ioctl (kvm->mm != current->mm); before Linux 6.1',
    needs: { real: true },
  },
  (scenario) => {
    scenario('vm_and_vcpu_of_another_process_are_EIO', { needs: { arch: 'x64' } }, async (t) => {
      const vm = t.vm();
      const vcpu = t.use(vm.createVcpu(0));
      const results = await inAnotherProcess(
        [vm.fd, vcpu.fd, t.kvm.fd],
        [
          { call: 'ioctl', on: 0, args: [KVM_CHECK_EXTENSION.request, KVM_CAP.value.KVM_CAP_USER_MEMORY] },
          { call: 'ioctl', on: 0, args: [KVM_SET_USER_MEMORY_REGION.request, REGION] },
          { call: 'ioctl', on: 0, args: [KVM_SET_USER_MEMORY_REGION.request, BAD_REGION] },
          { call: 'ioctl', on: 0, args: [0xaeff, 0] },
          { call: 'ioctl', on: 1, args: [KVM_GET_REGS.request, hex(new Uint8Array(144))] },
          { call: 'ioctl', on: 2, args: [KVM_GET_API_VERSION.request, 0] },
        ],
        t.signal,
      );
      t.same(results, [EIO, EIO, EIO, EIO, EIO, 12], 'what the other process gets');
      t.same(coveredPages(t, vm, GPA, 2), [false, false], 'pages that are covered afterwards');
      t.same(vm.checkExtension(KVM_CAP.value.KVM_CAP_USER_MEMORY), 1, 'the VM in its own process');
    });

    forKinds(scenario, [PLAIN])(
      'guest_memfd_of_another_process_can_be_allocated_and_punched',
      async (t, kind) => {
        const file = makeFile(t, kind, 8);
        file.allocate(6 * PAGE, PAGE);
        const results = await inAnotherProcess(
          [file.fd],
          [
            { call: 'fallocate', on: 0, args: [1, PAGE, 2 * PAGE] },
            { call: 'fallocate', on: 0, args: [3, 6 * PAGE, PAGE] },
            { call: 'fallocate', on: 0, args: [1, 8 * PAGE, PAGE] },
            { call: 'fallocate', on: 0, args: [0, 0, PAGE] },
          ],
          t.signal,
        );
        t.same(results, [0, 0, -22, -95], 'what the other process gets');
        t.same(heldIndexes(file), [1, 2], 'pages afterwards');
      },
      { needs: { real: true, ...CACHESTAT }, promise: 'virt/kvm/guest_memfd.c: kvm_gmem_fallocate, Linux 6.8' },
    );

    scenario('vm_can_be_used_on_every_thread', async (t) => {
      const vm = t.vm();
      const results = await onAnotherThread(
        [vm.fd],
        [
          { call: 'ioctl', on: 0, args: [KVM_CHECK_EXTENSION.request, KVM_CAP.value.KVM_CAP_USER_MEMORY] },
          { call: 'ioctl', on: 0, args: [KVM_SET_USER_MEMORY_REGION.request, REGION] },
          { call: 'ioctl', on: 0, args: [KVM_SET_USER_MEMORY_REGION.request, BAD_REGION] },
        ],
      );
      t.same(results, [1, 0, -22], 'what the other thread gets');
      t.same(coveredPages(t, vm, GPA, 2), [true, false], 'pages that are covered afterwards');
    });
  },
);

export const kvmLifetime = topic(
  'kvm/lifetime',
  { promise: 'virt/kvm/kvm_main.c: kvm_vm_release, kvm_get_kvm; before Linux 6.1', needs: { vmType: 'default' } },
  (scenario) => {
    scenario('duplicate_of_the_descriptor_keeps_the_vm', (t) => {
      const vm = t.kvm.createVm(0);
      t.accepted(setRegion(vm), 'slot 1');
      const copy = t.sys.fcntl(vm.fd, F.value.F_DUPFD_CLOEXEC, 0);
      vm.close();
      const region = kvm_userspace_memory_region.encode({ slot: 2, guest_phys_addr: GPA, memory_size: PAGE });
      const taken = t.sys.raw.ioctl(copy, KVM_SET_USER_MEMORY_REGION, region);
      const remove = kvm_userspace_memory_region.encode({ slot: 1 });
      const removed = t.sys.raw.ioctl(copy, KVM_SET_USER_MEMORY_REGION, remove);
      const free = t.sys.raw.ioctl(copy, KVM_SET_USER_MEMORY_REGION, region);
      t.sys.close(copy);
      t.refused(taken, 'EEXIST', 'a slot over the one that was there');
      t.accepted(removed, 'deleting that one');
      t.accepted(free, 'the slot again');
    });

    scenario('vcpu_keeps_the_vm', { needs: { arch: 'x64' } }, (t) => {
      const vm = t.kvm.createVm(0);
      const vcpu = vm.createVcpu(0);
      vcpu.x64.setRegs({ ...vcpu.x64.getRegs(), rbx: 0x1234n });
      const copy = t.sys.fcntl(vcpu.fd, F.value.F_DUPFD_CLOEXEC, 0);
      vm.close();
      const regs = new Uint8Array(144);
      const asked = t.sys.raw.ioctl(copy, KVM_GET_REGS, regs);
      t.sys.close(copy);
      t.accepted(asked, 'KVM_GET_REGS after the VM is closed');
      t.same(new DataView(regs.buffer).getBigUint64(8, true), 0x1234n, 'rbx');
    });

    forKinds(scenario)(
      'vm_is_gone_with_its_last_descriptor',
      (t, kind) => {
        const before = debugged().length;
        const vm = t.kvm.createVm(kind.needs.vmType === 'sw-protected' ? 1 : 0);
        const file = makeFile(t, kind, 4, vm);
        // The file belongs to the VM's owner here: a descriptor of its own outlives both.
        const copy = t.sys.fcntl(file.fd, F.value.F_DUPFD_CLOEXEC, 0);
        const there = [debugged().length];
        vm.close();
        there.push(debugged().length);
        t.sys.close(copy);
        there.push(debugged().length);
        t.same(
          there.map((count) => count - before),
          [1, 1, 0],
          'VMs that the kernel has: with both, with the file alone, with neither',
        );
      },
      {
        needs: { real: true, also: noDebugfs },
        promise:
          'virt/kvm/guest_memfd.c: kvm_gmem_create (kvm_get_kvm), kvm_gmem_release; kvm_main.c: kvm_destroy_vm; Linux 6.8',
      },
    );

    scenario('vms_come_and_go', (t) => {
      for (let round = 0; round < 20; round++) {
        const vm = t.kvm.createVm(0);
        t.accepted(setRegion(vm), `a slot in round ${round}`);
        vm.close();
      }
    });

    scenario('vcpu_id_is_used_once', { needs: { arch: 'x64' } }, (t) => {
      const vm = t.vm();
      for (const id of [0, 1, 7]) t.use(vm.createVcpu(id));
      for (const id of [0, 1, 7]) t.refused(vm.raw.createVcpu(id), 'EEXIST', `vCPU ${id} again`);
      t.use(t.accepted(vm.raw.createVcpu(2), 'vCPU 2'));
      t.use(t.accepted(t.vm().raw.createVcpu(0), 'vCPU 0 of another VM'));
    });

    scenario('vcpu_id_ends_at_MAX_VCPU_ID', { needs: { arch: 'x64' } }, (t) => {
      const vm = t.vm();
      const limit = vm.checkExtension(KVM_CAP.value.KVM_CAP_MAX_VCPU_ID);
      for (const id of [limit, limit + 1, 0x7fff_ffff, 0xffff_ffff])
        t.refused(vm.raw.createVcpu(id), 'EINVAL', `vCPU ${id} of ${limit}`);
      t.use(t.accepted(vm.raw.createVcpu(limit - 1), 'the last id'));
    });
  },
);
