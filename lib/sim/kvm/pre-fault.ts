/** KVM_PRE_FAULT_MEMORY. virt/kvm/kvm_main.c, kvm_vcpu_pre_fault_memory; arch/x86/kvm/mmu/mmu.c, kvm_arch_vcpu_pre_fault_memory */
import { kvm_pre_fault_memory } from '../../uapi/kvm-private.ts';
import { EFAULT, EINVAL, ENOENT, EOPNOTSUPP } from '../errno.ts';
import { isAligned, PAGE_SIZE, pageOf } from '../page.ts';
import { writeMemoryFault } from './exits.ts';
import type { Vcpu } from './vcpu.ts';

const AT = kvm_pre_fault_memory.offsets;
const WRAP = 1n << 64n;

/** @param paged whether the guest's memory has page tables of its own to fill: without, there is nothing to do in advance. */
export function preFault(vcpu: Vcpu, arg: bigint, paged: boolean): number {
  const { user } = vcpu.vm.process;
  const bytes = user.read(arg, kvm_pre_fault_memory.size);
  if (bytes === undefined) return -EFAULT;
  const range = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const result = faultRange(vcpu, range, paged);
  // What is left is told also when nothing was done.
  return user.write(arg, bytes) ? result : -EFAULT;
}

function faultRange(vcpu: Vcpu, range: DataView, paged: boolean): number {
  const gpa = range.getBigUint64(AT.gpa, true);
  const size = range.getBigUint64(AT.size, true);
  if (range.getBigUint64(AT.flags, true) !== 0n) return -EINVAL;
  if (!isAligned(gpa) || !isAligned(size) || size === 0n || gpa + size >= WRAP) return -EINVAL;
  let done = 0n;
  let result = 0;
  while (done < size) {
    result = paged ? faultPage(vcpu, pageOf(gpa + done)) : -EOPNOTSUPP;
    if (result < 0) break;
    done += BigInt(PAGE_SIZE);
  }
  range.setBigUint64(AT.gpa, gpa + done, true);
  range.setBigUint64(AT.size, size - done, true);
  return done > 0n ? 0 : result;
}

/** A read fault on one page: it may bring in a copy-on-write page as it is. */
function faultPage({ vm, page }: Vcpu, gfn: number): number {
  const found = vm.memory.page(gfn, 'read');
  if (found instanceof Uint8Array) return 0;
  if (found.kind === 'mmio') return -ENOENT;
  // The fields of the exit are filled although this is not KVM_RUN.
  if (found.kind === 'memory-fault') writeMemoryFault(page, gfn * PAGE_SIZE, found.private);
  return -found.errno;
}
