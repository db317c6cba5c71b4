/**
 * Accesses of the process to its own memory: the fault-safe copies, exact to the byte, and what the kernel's copies to and from user
 * memory do.
 */
import { type AccessFault, type AddressSpace, isPage, NON_CANONICAL, SEGV_MAPERR } from './address-space.ts';
import { PAGE_SIZE } from './page.ts';

/** Where an access stopped, and why. */
export interface Stop {
  readonly done: number;
  readonly fault: AccessFault | undefined;
}

/** Kernel addresses begin here on every architecture: bit 63 and all below it down to the canonical boundary are set. */
const KERNEL_HALF = 0xffff_8000_0000_0000n;

/** What an access to an address that no user has raises. */
export function strayFault(space: AddressSpace, address: number | bigint): AccessFault | undefined {
  if (address < space.endPage * PAGE_SIZE) return undefined;
  return address >= (space.endPage + 1) * PAGE_SIZE && address < KERNEL_HALF ? NON_CANONICAL : SEGV_MAPERR;
}

/**
 * Walks [address, address + length) page by page. `visit` gets the page, the offset in it, how many bytes, and how many were visited
 * before; it ends the walk by returning false.
 */
export function walk(
  space: AddressSpace,
  address: number,
  length: number,
  write: boolean,
  visit: (page: Uint8Array, offset: number, length: number, done: number) => boolean,
): Stop {
  let done = 0;
  while (done < length) {
    const at = address + done;
    const number = Math.floor(at / PAGE_SIZE);
    const offset = at - number * PAGE_SIZE;
    const part = Math.min(PAGE_SIZE - offset, length - done);
    const page = space.resolve(number, write);
    if (!isPage(page)) return { done, fault: page };
    if (!visit(page, offset, part, done)) break;
    done += part;
  }
  return { done, fault: undefined };
}

export function copyOut(space: AddressSpace, address: number, into: Uint8Array): Stop {
  return walk(space, address, into.length, false, (page, offset, length, done) => {
    into.set(length === PAGE_SIZE ? page : page.subarray(offset, offset + length), done);
    return true;
  });
}

export function copyIn(space: AddressSpace, address: number, from: Uint8Array): Stop {
  return walk(space, address, from.length, true, (page, offset, length, done) => {
    page.set(from.subarray(done, done + length), offset);
    return true;
  });
}

export function fill(space: AddressSpace, address: number, length: number, byte: number): Stop {
  return walk(space, address, length, true, (page, offset, part) => {
    page.fill(byte, offset, offset + part);
    return true;
  });
}

/** `done` is the index of the first difference when there is one before any fault. */
export function compare(space: AddressSpace, address: number, expected: Uint8Array): Stop {
  let differs = -1;
  const stop = walk(space, address, expected.length, false, (page, offset, length, done) => {
    for (let i = 0; i < length; i++) {
      if (page[offset + i] === expected[done + i]) continue;
      differs = done + i;
      return false;
    }
    return true;
  });
  return differs < 0 ? stop : { done: differs, fault: undefined };
}
