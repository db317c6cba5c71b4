/** What reaches memory by pinning its pages, as devices and debuggers do: get_user_pages. mm/gup.c, mm/process_vm_access.c */
import { type AddressSpace, isPage } from './address-space.ts';
import { EFAULT } from './errno.ts';
import { PAGE_SIZE, ZERO_PAGE } from './page.ts';
import { userPage } from './physical.ts';

const PROT_READ = 1;
const PROT_WRITE = 2;

/**
 * get_user_pages_fast, for reading: what is in the page tables is had without a look at the mapping, so that also pages that can only be
 * written are, once they were touched. Whether a file's page was touched through this very mapping is not kept.
 */
export function pinFast(space: AddressSpace, page: number): Uint8Array | undefined {
  const vma = page < space.endPage ? space.vmas.get(page) : undefined;
  if (vma === undefined || vma.prot === 0 || (vma.prot & PROT_READ) !== 0) return userPage(space, page, false);
  // Anonymous memory that was only read is the zero page, which is not had so.
  const written = space.private.has(page) && space.private.peek(page) !== ZERO_PAGE;
  const touched = written || vma.file?.pages?.isFilled(page + vma.delta) === true;
  if (!touched || vma.file?.pinnable === false) return undefined;
  const found = space.fault(vma, page, false);
  return isPage(found) ? found : undefined;
}

/** Calls `visit` for the pinned parts of [address, address + length); the bytes that could be pinned. */
function eachPinned(
  space: AddressSpace,
  address: bigint,
  length: number,
  write: boolean,
  visit: (part: Uint8Array, done: number) => void,
): number {
  let done = 0;
  while (done < length) {
    const at = address + BigInt(done);
    const offset = Number(at & 4095n);
    const part = Math.min(PAGE_SIZE - offset, length - done);
    const number = Number(at >> 12n);
    // A page that pKVM gave to a guest is in the host's page tables all the same: the copy faults, and its handler takes the page from the guest.
    // arch/arm64/mm/fault.c: is_spurious_el1_translation_fault
    const prot = (number < space.endPage ? space.vmas.get(number)?.prot : undefined) ?? 0;
    if ((prot & (write ? PROT_WRITE : PROT_READ)) !== 0 && space.isTaken(number)) space.reclaim(number);
    const page = userPage(space, number, write);
    if (page === undefined) break;
    visit(page.subarray(offset, offset + part), done);
    done += part;
  }
  return done;
}

/** process_vm_readv(2) of this process. */
export function processVmReadv(space: AddressSpace, address: bigint, into: Uint8Array): number {
  const done = eachPinned(space, address, into.length, false, (part, at) => into.set(part, at));
  return done === 0 && into.length > 0 ? -EFAULT : done;
}

/** process_vm_writev(2) of this process. */
export function processVmWritev(space: AddressSpace, address: bigint, from: Uint8Array): number {
  const write = (part: Uint8Array, at: number): void => part.set(from.subarray(at, at + part.length));
  const done = eachPinned(space, address, from.length, true, write);
  return done === 0 && from.length > 0 ? -EFAULT : done;
}
