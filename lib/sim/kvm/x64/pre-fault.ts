/** KVM_PRE_FAULT_MEMORY. virt/kvm/kvm_main.c, kvm_vcpu_pre_fault_memory; arch/x86/kvm/mmu/mmu.c, kvm_arch_vcpu_pre_fault_memory */
import { kvm_pre_fault_memory } from '../../../uapi/kvm-private.ts';
import { EAGAIN, EFAULT, EINTR, EINVAL, ENOENT, EOPNOTSUPP } from '../../errno.ts';
import { isAligned, PAGE_SIZE, pageOf } from '../../page.ts';
import { writeMemoryFault } from '../exits.ts';
import type { X64Vcpu } from './vcpu.ts';

const AT = kvm_pre_fault_memory.offsets;
const WRAP = 1n << 64n;

export function preFault(vcpu: X64Vcpu, arg: bigint): number {
  const { user } = vcpu.vm.process;
  const bytes = user.read(arg, kvm_pre_fault_memory.size);
  if (bytes === undefined) return -EFAULT;
  const range = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const result = faultRange(vcpu, range);
  // What is left is told also when nothing was done.
  return user.write(arg, bytes) ? result : -EFAULT;
}

function faultRange(vcpu: X64Vcpu, range: DataView): number {
  const gpa = range.getBigUint64(AT.gpa, true);
  const size = range.getBigUint64(AT.size, true);
  if (range.getBigUint64(AT.flags, true) !== 0n) return -EINVAL;
  if (!isAligned(gpa) || !isAligned(size) || size === 0n || gpa + size >= WRAP) return -EINVAL;
  let done = 0n;
  let result = 0;
  while (done < size) {
    result = faultPage(vcpu, pageOf(gpa + done));
    if (result < 0) break;
    done += BigInt(PAGE_SIZE);
  }
  range.setBigUint64(AT.gpa, gpa + done, true);
  range.setBigUint64(AT.size, size - done, true);
  return done > 0n ? 0 : result;
}

/** A read fault on one page: it may bring in a copy-on-write page as it is. */
function faultPage(vcpu: X64Vcpu, gfn: number): number {
  const { vm, page } = vcpu;
  const { technology } = vm;
  if (technology?.preFaults === false) return -EOPNOTSUPP;
  if (technology?.isAlias(gfn) === true) return -EINVAL;
  if (!vm.machine.twoDimensionalPaging) return -EOPNOTSUPP;
  vcpu.root.load();
  const found = vm.memory.fault(gfn, 'read');
  // The kernel tries again until a signal comes, and here one comes at once.
  if (vcpu.root.isObsolete && (found instanceof Uint8Array || found.kind === 'mmio')) return -EINTR;
  if (found instanceof Uint8Array) return technology?.preFaulted(gfn, vm.memory.isPrivate(gfn)) ?? 0;
  if (found.kind === 'mmio') return -ENOENT;
  // The fields of the exit are filled although this is not KVM_RUN.
  if (found.kind === 'memory-fault') writeMemoryFault(page, gfn * PAGE_SIZE, found.private);
  // A read of a slot neither tells the guest something nor goes on for ever.
  return 'errno' in found ? -found.errno : -EAGAIN;
}
