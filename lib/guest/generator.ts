import type { PatternUnits } from './pattern.ts';

/** Where an operation finds a 64-bit number: known now, or in a slot of the program's frame when it runs. */
export type Source = { readonly constant: bigint } | { readonly slot: number };

export type BinaryOperation = 'add' | 'sub' | 'and' | 'or' | 'xor' | 'mul' | 'shl' | 'shr';
/** Unsigned comparisons. */
export type Relation = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge';
export type AccessSize = 1 | 2 | 4 | 8;

/** A place in the code; opaque to everybody but the generator that made it. */
export interface CodeLabel {
  readonly name: string;
}

/**
 * Turns the steps of a guest program into one architecture's instructions. All values live in 8-byte slots of a frame
 * in guest memory; between two operations nothing is kept in registers, so no operation can disturb another.
 */
export interface CodeGenerator {
  /** Bytes emitted so far. */
  readonly offset: number;
  label(name: string): CodeLabel;
  bind(label: CodeLabel): void;

  move(to: number, from: Source): void;
  load(to: number, address: Source, size: AccessSize): void;
  store(address: Source, value: Source, size: AccessSize): void;
  binary(operation: BinaryOperation, to: number, left: Source, right: Source): void;
  jump(label: CodeLabel): void;
  /** Jumps when the relation holds. */
  branch(relation: Relation, left: Source, right: Source, label: CodeLabel): void;

  /** `length` is in bytes and a multiple of the pattern's unit. */
  fill(address: Source, length: Source, pattern: PatternUnits): void;
  /**
   * Compares memory with a pattern. Jumps to `passed`, or goes on behind with the first mismatch in the given slots.
   */
  check(address: Source, length: Source, pattern: PatternUnits, passed: CodeLabel, mismatch: MismatchSlots): void;
  /** Sum of the 64-bit words, modulo 2^64. */
  checksum(to: number, address: Source, length: Source): void;
  copy(to: Source, from: Source, length: Source): void;
  /** Adds atomically; the old value goes to slot `old`. */
  fetchAdd(old: number, address: Source, value: Source): void;
  /** Stores `desired` atomically when memory holds `expected`; what it held goes to slot `old`. */
  compareExchange(old: number, address: Source, expected: Source, desired: Source): void;

  hypercall(result: number, number: bigint, parameters: readonly Source[]): void;
  /** Orders all memory accesses before it before all behind it. */
  fence(): void;
  /** Says that the vCPU is spinning. */
  pause(): void;
  halt(): void;

  /** Ends the program. The frame lies behind the code; it needs `slots` slots of 8 bytes. */
  finish(slots: number): { readonly code: Uint8Array; readonly frameOffset: number; readonly frameSize: number };
}

export interface MismatchSlots {
  readonly gpa: number;
  readonly expected: number;
  readonly actual: number;
}
