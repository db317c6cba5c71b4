/** What can be refused of a KVM_SET_USER_MEMORY_REGION before any slot is looked at. virt/kvm/kvm_main.c, check_memory_region_flags and kvm_set_memory_region */
import { EINVAL } from '../errno.ts';
import { isAligned, PAGE_SHIFT } from '../page.ts';
import { KVM_MEM_GUEST_MEMFD, KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, type RegionRequest } from './slot.ts';

/** What differs between kernels and VM types. */
export interface RequestRules {
  readonly addressSpaces: number;
  /** Ids in each of them. */
  readonly memslots: number;
  /** First address that no user has. */
  readonly userLimit: bigint;
  readonly readonlyMemory: boolean;
  /** Whether this VM takes KVM_MEM_GUEST_MEMFD: since 6.18 every one, before only those with private memory. */
  readonly guestMemfd: boolean;
}

const WRAP = 1n << 64n;
const MAX_ID = 0xffff;
const MOST_PAGES = (1n << 31n) - 1n;
const V1_FLAGS = KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY;

function validFlags(flags: number, rules: RequestRules): number {
  const gmem = (flags & KVM_MEM_GUEST_MEMFD) !== 0;
  // Private memory cannot be logged, and writes to read-only memory would be emulated MMIO, which private memory has not.
  const others = gmem ? 0 : KVM_MEM_LOG_DIRTY_PAGES | (rules.readonlyMemory ? KVM_MEM_READONLY : 0);
  return others | (rules.guestMemfd ? KVM_MEM_GUEST_MEMFD : 0);
}

/** access_ok. */
const isUserRange = (hva: bigint, size: bigint, limit: bigint): boolean => hva + size <= limit;

/** 0 or a negated errno; every refusal is EINVAL, so their order does not show. */
export function checkRequest(request: RegionRequest, rules: RequestRules): number {
  const { slot, flags, gpa, size, hva, file } = request;
  const gmem = (flags & KVM_MEM_GUEST_MEMFD) !== 0;
  const valid = file === undefined ? V1_FLAGS & validFlags(flags, rules) : validFlags(flags, rules);
  if ((flags & ~valid) !== 0) return -EINVAL;
  if ((slot & MAX_ID) >= rules.memslots || slot >>> 16 >= rules.addressSpaces) return -EINVAL;
  if (!isAligned(size) || !isAligned(gpa) || !isAligned(hva)) return -EINVAL;
  if (!isUserRange(hva, size, rules.userLimit)) return -EINVAL;
  if (gmem && file !== undefined && (!isAligned(file.offset) || file.offset + size >= WRAP)) return -EINVAL;
  if (gpa + size >= WRAP) return -EINVAL;
  return size >> PAGE_SHIFT > MOST_PAGES ? -EINVAL : 0;
}
