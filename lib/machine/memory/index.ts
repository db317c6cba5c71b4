/** Guest memory: named regions in a guest-physical map, their private and shared sides, and conversions between them. */
export type { PrivateSide, SharedSide } from './backing.ts';
export { type ConversionEnd, ConversionError, GuestMemoryError, type GuestMemoryFault } from './errors.ts';
export { GuestMemory } from './guest-memory.ts';
export type { LedgerView } from './ledger.ts';
export type { AliasOptions, GuestMemoryOptions, RamOptions, RomOptions } from './options.ts';
export type { Region } from './region.ts';
export type * from './words.ts';
