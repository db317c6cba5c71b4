/** What a simulated kernel has besides its system calls: what no program can do to a real one, and what it cannot see there. */
import type { Kernel } from '../kernel/kernel.ts';
import type { SimEvent } from './events.ts';
import { PAGE_SIZE } from './page.ts';
import { frameAt, userPage } from './physical.ts';
import type { Process } from './process.ts';

export interface SimulatedKernel extends Kernel {
  /** What happened inside, oldest first. Yours to empty. */
  readonly events: SimEvent[];
  /**
   * Moves the pages of an address range to other page frames, as compaction and page migration do behind a program's back. Answers how many
   * were moved: those that are pinned stay, and those that were never touched are nowhere.
   */
  migratePages(address: number, length: number): number;
  /**
   * Pins the pages of an address range until the function that it answers is called, as vmsplice, O_DIRECT, io_uring or VFIO do. RangeError
   * where no page can be had.
   */
  pinPages(address: number, length: number): () => void;
}

function pagesOf(address: number, length: number): number[] {
  const from = Math.floor(address / PAGE_SIZE);
  return Array.from({ length: Math.ceil((address + length) / PAGE_SIZE) - from }, (_, i) => from + i);
}

export function migratePages({ space, physical }: Process, address: number, length: number): number {
  let moved = 0;
  for (const page of pagesOf(address, length)) {
    const frame = frameAt(space, page);
    if (frame !== undefined && physical.move(frame)) moved++;
  }
  // Who mapped the old frames looks them up anew.
  if (moved > 0) space.touched(Math.floor(address / PAGE_SIZE), Math.ceil((address + length) / PAGE_SIZE));
  return moved;
}

export function pinPages({ space, physical }: Process, address: number, length: number): () => void {
  const pins: (() => void)[] = [];
  const release = (): void => {
    for (const unpin of pins.splice(0)) unpin();
  };
  for (const page of pagesOf(address, length)) {
    const found = userPage(space, page, false);
    const frame = frameAt(space, page);
    if (found === undefined || frame === undefined) {
      release();
      throw new RangeError(`no page at 0x${(page * PAGE_SIZE).toString(16)} can be pinned`);
    }
    pins.push(physical.pin(frame));
  }
  return release;
}
