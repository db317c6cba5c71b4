/** What KVM itself answers to a hypercall. arch/x86/kvm/x86.c, ____kvm_emulate_hypercall */
import { KVM_HC, KVM_HC_ERROR } from '../../../uapi/kvm-exits.ts';
import { isAligned } from '../../page.ts';
import type { HypercallStop } from '../../x64/stop.ts';

const HC = KVM_HC.value;
const ERROR = KVM_HC_ERROR.value;
const WRAP = 1n << 64n;
/** APIC_DEST_MASK and APIC_SHORT_MASK. */
const ICR_DESTINATION = 0xc_0800n;

/** The result for the guest; undefined when userspace is asked. `enabled` is a mask of 1 << number. */
export function hypercallResult(stop: HypercallStop, enabled: bigint): bigint | undefined {
  if (stop.cpl !== 0) return -BigInt(ERROR.KVM_EPERM);
  switch (Number(stop.nr)) {
    // Nothing is to be polled, no halted processor waits for a kick, no other one could be yielded to.
    case HC.KVM_HC_VAPIC_POLL_IRQ:
    case HC.KVM_HC_KICK_CPU:
    case HC.KVM_HC_SCHED_YIELD:
      return 0n;
    // The clock source is none that guests could be told of.
    case HC.KVM_HC_CLOCK_PAIRING:
      return -BigInt(ERROR.KVM_EOPNOTSUPP);
    // There are no local APICs in the kernel, which is found out after the destination has been looked at.
    case HC.KVM_HC_SEND_IPI:
      return -BigInt(((stop.args[3] ?? 0n) & ICR_DESTINATION) === 0n ? ERROR.KVM_EOPNOTSUPP : ERROR.KVM_EINVAL);
    case HC.KVM_HC_MAP_GPA_RANGE:
      return mapGpaRange(stop, enabled);
    default:
      return -BigInt(ERROR.KVM_ENOSYS);
  }
}

function mapGpaRange({ args }: HypercallStop, enabled: bigint): bigint | undefined {
  if ((enabled & (1n << BigInt(HC.KVM_HC_MAP_GPA_RANGE))) === 0n) return -BigInt(ERROR.KVM_ENOSYS);
  const [gpa = 0n, pages = 0n] = args;
  // gpa_to_gfn(gpa) + npages, as 64 bits, must be beyond gpa_to_gfn(gpa).
  const wraps = (gpa >> 12n) + pages >= WRAP;
  return !isAligned(gpa) || pages === 0n || wraps ? -BigInt(ERROR.KVM_EINVAL) : undefined;
}
