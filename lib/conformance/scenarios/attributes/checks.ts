/** KVM_SET_MEMORY_ATTRIBUTES: arguments, in the order in which they are looked at. */
import type { Vm } from '../../../kvm/vm.ts';
import { KVM_MEMORY_ATTRIBUTE, KVM_SET_MEMORY_ATTRIBUTES, kvm_memory_attributes, PROT } from '../../../uapi/index.ts';
import { Frames, isPrivate, PRE_FAULT, span } from '../../pre-fault.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_VM } from '../../two-sided.ts';

const PRIVATE = KVM_MEMORY_ATTRIBUTE.value.KVM_MEMORY_ATTRIBUTE_PRIVATE;
const TOP = 1n << 64n;
const EINVAL = 22;

/** The bits of a word with which the request is refused. Below the errors with their decoded arguments: there are many. */
function refusedBits(vm: Vm, request: (bit: bigint) => { attributes: bigint; flags?: bigint }): bigint {
  let refused = 0n;
  for (let bit = 1n; bit < TOP; bit <<= 1n) {
    const bytes = kvm_memory_attributes.encode({ address: AREA, size: PAGE, ...request(bit) });
    if (vm.sys.kernel.ioctl(vm.fd, KVM_SET_MEMORY_ATTRIBUTES.request, bytes) === -EINVAL) refused |= bit;
  }
  return refused;
}

export const attributesChecks = topic(
  'attributes/checks',
  { promise: 'virt/kvm/kvm_main.c: kvm_vm_ioctl_set_mem_attributes, Linux 6.8', needs: PRIVATE_VM },
  (scenario) => {
    scenario('every_flag_is_EINVAL', (t) => {
      const vm = t.vm();
      const all = refusedBits(vm, (flags) => ({ attributes: BigInt(PRIVATE), flags }));
      t.same(all, TOP - 1n, 'flags that are refused');
      t.accepted(vm.raw.setMemoryAttributes(AREA, PAGE, PRIVATE, 0), 'no flag');
    });

    scenario('every_attribute_but_PRIVATE_is_EINVAL', (t) => {
      const vm = t.vm();
      const others = TOP - 1n - BigInt(PRIVATE);
      t.same(
        refusedBits(vm, (attributes) => ({ attributes })),
        others,
        'attributes that are refused alone',
      );
      const together = refusedBits(vm, (bit) => ({ attributes: bit | BigInt(PRIVATE) }));
      t.same(together, others, 'attributes that are refused together with PRIVATE');
    });

    scenario('size_0_is_EINVAL', (t) => {
      const vm = t.vm();
      for (const attributes of [0, PRIVATE])
        for (const gpa of [0, AREA])
          t.refused(vm.raw.setMemoryAttributes(gpa, 0, attributes), 'EINVAL', `0 bytes at ${gpa}`);
      t.accepted(vm.raw.setMemoryAttributes(AREA, PAGE, PRIVATE), 'a page there');
    });

    scenario('range_that_wraps_is_EINVAL', (t) => {
      const vm = t.vm();
      const last = TOP - BigInt(PAGE);
      t.refused(vm.raw.setMemoryAttributes(last, 2 * PAGE, PRIVATE), 'EINVAL', 'one page beyond the end');
      t.refused(vm.raw.setMemoryAttributes(last, PAGE, PRIVATE), 'EINVAL', 'up to the end itself, where the sum is 0');
      t.refused(vm.raw.setMemoryAttributes(AREA, last, PRIVATE), 'EINVAL', 'a size that wraps');
      t.accepted(vm.raw.setMemoryAttributes(last - BigInt(PAGE), PAGE, PRIVATE), 'up to the last page');
      t.accepted(vm.raw.setMemoryAttributes(last - BigInt(PAGE), PAGE, 0), 'and back');
    });

    scenario('unaligned_address_is_EINVAL', (t) => {
      const vm = t.vm();
      for (const off of [1, 8, 511, 2048, PAGE - 1])
        t.refused(vm.raw.setMemoryAttributes(AREA + off, PAGE, PRIVATE), 'EINVAL', `address + ${off}`);
      t.accepted(vm.raw.setMemoryAttributes(AREA, PAGE, PRIVATE), 'the page itself');
    });

    scenario('unaligned_size_is_EINVAL', (t) => {
      const vm = t.vm();
      for (const size of [1, 8, 2048, PAGE - 1, PAGE + 1, 3 * PAGE - 512])
        t.refused(vm.raw.setMemoryAttributes(AREA, size, PRIVATE), 'EINVAL', `${size} bytes`);
      t.accepted(vm.raw.setMemoryAttributes(AREA, 3 * PAGE, PRIVATE), 'three pages');
    });

    scenario('refused_call_changes_nothing', { needs: PRE_FAULT }, (t) => {
      const frames = new Frames(t, AREA);
      const { raw } = frames.vm;
      frames.set(2, 4, true);
      t.refused(raw.setMemoryAttributes(AREA, 8 * PAGE, PRIVATE, 1), 'EINVAL', 'a flag');
      t.refused(raw.setMemoryAttributes(AREA, 8 * PAGE, 0, 1), 'EINVAL', 'a flag, towards shared');
      t.refused(raw.setMemoryAttributes(AREA, 8 * PAGE, PRIVATE | 1), 'EINVAL', 'an unknown attribute');
      t.refused(raw.setMemoryAttributes(AREA, 7 * PAGE + 1, PRIVATE), 'EINVAL', 'an unaligned size');
      t.refused(raw.setMemoryAttributes(AREA + 1, 8 * PAGE, 0), 'EINVAL', 'an unaligned address');
      frames.privateAre([2, 3], 9, 'after refused calls');
    });

    scenario('NULL_is_EFAULT', (t) => {
      const vm = t.vm();
      t.refused(vm.raw.ioctl(KVM_SET_MEMORY_ATTRIBUTES, 0), 'EFAULT', 'a NULL argument');
      t.accepted(vm.raw.setMemoryAttributes(AREA, PAGE, PRIVATE), 'a good argument');
    });

    scenario('struct_that_ends_in_a_hole_is_EFAULT', (t) => {
      const vm = t.vm();
      const memory = t.anonymous(2 * PAGE);
      const bytes = kvm_memory_attributes.encode({ address: AREA, size: PAGE, attributes: PRIVATE });
      memory.write(PAGE - bytes.length, bytes);
      memory.protect(PROT.value.PROT_NONE, { offset: PAGE, length: PAGE });
      const at = (offset: number) => vm.raw.ioctl(KVM_SET_MEMORY_ATTRIBUTES, memory.hva + offset);
      t.refused(at(PAGE - bytes.length + 8), 'EFAULT', 'the last word is not readable');
      t.accepted(at(PAGE - bytes.length), 'the last word is the last of the page');
    });

    scenario('struct_is_only_read', (t) => {
      const vm = t.vm();
      const memory = t.anonymous(PAGE);
      const good = kvm_memory_attributes.encode({ address: AREA, size: 2 * PAGE, attributes: PRIVATE });
      const bad = kvm_memory_attributes.encode({ address: AREA, size: 2 * PAGE, attributes: PRIVATE, flags: 1 });
      memory.write(0, good);
      memory.write(64, bad);
      memory.protect(PROT.value.PROT_READ);
      t.accepted(vm.raw.ioctl(KVM_SET_MEMORY_ATTRIBUTES, memory.hva), 'a struct in read-only memory');
      t.refused(vm.raw.ioctl(KVM_SET_MEMORY_ATTRIBUTES, memory.hva + 64), 'EINVAL', 'a bad one there');
      t.same(memory.read(0, good.length), good, 'the struct after success');
      t.same(memory.read(64, bad.length), bad, 'the struct after a refusal');
    });

    scenario(
      'request_of_another_size_is_unknown',
      { promise: 'virt/kvm/kvm_main.c: kvm_vm_ioctl, the whole number is compared' },
      (t) => {
        const vm = t.vm();
        const request = KVM_SET_MEMORY_ATTRIBUTES.request;
        for (const size of [24, 40]) {
          const other = ((request & ~0x3fff_0000) | (size << 16)) >>> 0;
          t.refused(vm.raw.ioctl(other, new Uint8Array(size)), 'ENOTTY', `a struct of ${size} bytes`);
        }
      },
    );

    scenario(
      'belongs_to_the_VM_descriptor',
      { promise: 'virt/kvm/kvm_main.c: kvm_vm_ioctl; Documentation/virt/kvm/api.rst 4.140, type: vm ioctl' },
      (t) => {
        const vm = t.vm();
        const good = kvm_memory_attributes.encode({ address: AREA, size: PAGE, attributes: PRIVATE });
        const { raw } = t.sys;
        const { request } = KVM_SET_MEMORY_ATTRIBUTES;
        t.refused(raw.ioctl(vm.createVcpu().fd, request, good), 'EINVAL', 'on a vCPU');
        t.refused(raw.ioctl(t.kvm.fd, request, good), 'EINVAL', 'on /dev/kvm');
        t.refused(raw.ioctl(t.guestMemfd(vm, PAGE).fd, request, good), 'ENOTTY', 'on a guest_memfd');
        t.accepted(raw.ioctl(vm.fd, request, good), 'on the VM');
      },
    );

    scenario('whole_address_space_may_be_shared', (t) => {
      const vm = t.vm();
      // Nothing is private, so nothing has to be done, whatever the size.
      t.accepted(vm.raw.setMemoryAttributes(0, TOP - BigInt(PAGE), 0), 'all of it, as it is');
    });

    scenario('gpas_beyond_any_processor_have_attributes', { needs: PRE_FAULT }, (t) => {
      const vm = t.vm();
      const vcpu = vm.createVcpu();
      for (const gpa of [1n << 52n, 1n << 62n]) {
        t.accepted(vm.raw.setMemoryAttributes(gpa, PAGE, PRIVATE), `gpa 2^${gpa.toString(2).length - 1}`);
      }
      t.holds(!isPrivate(vcpu, AREA), 'a frame elsewhere is shared');
    });

    scenario('frame_0_has_an_attribute', { needs: PRE_FAULT }, (t) => {
      const frames = new Frames(t, 0);
      frames.set(0, 1, true);
      frames.privateAre([0], 3, 'after frame 0');
      frames.set(0, 3, true);
      frames.privateAre(span(0, 3), 4, 'after frames 0 to 2');
      frames.set(0, 1, false);
      frames.privateAre([1, 2], 4, 'with frame 0 shared again');
    });
  },
);
