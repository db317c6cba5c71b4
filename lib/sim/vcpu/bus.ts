/** The seam between a vCPU and guest-physical memory. */

/**
 * Why a page cannot be had:
 * - `mmio`: no slot is there, or the access is a write to a read-only slot
 * - `memory-fault`: the private or shared state or the backing must change first (KVM_EXIT_MEMORY_FAULT)
 * - `unreachable`: KVM_RUN fails with `errno` and exit_reason 0
 * - `exception`: the guest itself is told (#VC, #VE)
 * - `retry`: the access faults again and again
 */
export type BusMiss =
  | { readonly kind: 'mmio' }
  | { readonly kind: 'memory-fault'; readonly private: boolean; readonly errno: number }
  | { readonly kind: 'unreachable'; readonly errno: number }
  | { readonly kind: 'exception'; readonly vector: number; readonly errorCode: number }
  | { readonly kind: 'retry' };

export type BusAccess = 'read' | 'write' | 'fetch';

export interface GuestBus {
  /**
   * Changes whenever a page answer given earlier may be stale: slots, attributes, punched holes, mappings, a page that
   * was read as a common zero page and now has bytes of its own, the start of dirty logging (so that writes are asked
   * for again). Contents may change without it.
   */
  readonly generation: number;
  /**
   * The bytes of the 4 KiB page `gfn` for access in place, or why it cannot be had. `write` is where a page is marked
   * dirty: the vCPU asks once and then writes until the generation changes. Pages that are one memory must be views of
   * one buffer at one offset: that is how the vCPU notices that it writes over its own code.
   */
  page(gfn: number, access: BusAccess): Uint8Array | BusMiss;
  /** As `page`, for page tables, where these are reached in another way (always as private memory). */
  table?(gfn: number, write: boolean): Uint8Array | BusMiss;
}
