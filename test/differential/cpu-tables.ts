/** Descriptor tables for exceptions in each mode: each handler tells its vector at port 0x80 and halts. */
import { identityPageTables, longMode, protectedMode, realMode } from '../../lib/guest/x64/index.ts';
import type { Mode } from '../../lib/guest/x64/operands.ts';
import { DESCRIPTORS, GATES, HANDLERS, MEMORY, NOWHERE, TABLES } from './cpu-places.ts';

type Piece = readonly [at: number, bytes: ArrayLike<number>];

const VECTORS = 32;
const HANDLER_BYTES = 16;

/** mov al, vector; out 0x80, al; hlt: the same bytes in all modes. */
const handlers = Array.from({ length: VECTORS }, (_, i) => [
  ...[0xb0, i, 0xe6, 0x80, 0xf4],
  ...new Array(HANDLER_BYTES - 5).fill(0x90),
]).flat();

const gates: Readonly<Record<Mode, (at: number) => number[]>> = {
  64: (at) => [at & 255, at >> 8, 8, 0, 0, 0x8e, ...new Array(10).fill(0)],
  32: (at) => [at & 255, at >> 8, 8, 0, 0, 0x8e, 0, 0],
  16: (at) => [at & 255, at >> 8, 0, 0],
};
const gateBytes = { 64: 16, 32: 8, 16: 4 } as const;
const granularity = { 64: 0xaf, 32: 0xcf, 16: 0 } as const;

/** Null, code, data, a short expand-up data segment, one that is not present, a read-only one, one for level 3. */
const descriptors = (mode: Mode): number[] => [
  ...new Array(8).fill(0),
  ...[0xff, 0xff, 0, 0, 0, 0x9b, granularity[mode], 0],
  ...[0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0],
  ...[0xff, 0x0f, 0, 0x50, 0, 0x92, 0x40, 0],
  ...[0xff, 0xff, 0, 0, 0, 0x12, 0xcf, 0],
  ...[0xff, 0xff, 0, 0, 0, 0x90, 0xcf, 0],
  ...[0xff, 0xff, 0, 0, 0, 0xf2, 0xcf, 0],
  // From 56: code of 32, 16 and 64 bits that was never entered, conforming, not present, of level 3, of both sizes at once, a task segment, short.
  ...[0xff, 0xff, 0, 0, 0, 0x9a, 0xcf, 0],
  ...[0xff, 0xff, 0, 0, 0, 0x9a, 0x00, 0],
  ...[0xff, 0xff, 0, 0, 0, 0x9a, 0xaf, 0],
  ...[0xff, 0xff, 0, 0, 0, 0x9e, granularity[mode], 0],
  ...[0xff, 0xff, 0, 0, 0, 0x1a, granularity[mode], 0],
  ...[0xff, 0xff, 0, 0, 0, 0xfa, granularity[mode], 0],
  ...[0xff, 0xff, 0, 0, 0, 0x9a, 0xef, 0],
  ...[0x67, 0x00, 0, 0, 0, 0x89, 0x00, 0],
  ...[0xff, 0x1f, 0, 0, 0, 0x9a, 0x40, 0],
];
const DESCRIPTORS_LIMIT = 127;
export const CODE_SELECTORS = [8, 8, 56, 64, 72, 80, 88, 96, 104, 112, 120, 9, 83];
export const SELECTORS = [0, 8, 16, 24, 32, 40, 48, 51, 56, 3, 0xfff8, 19];

export function memoryOf(mode: Mode): Piece[] {
  const gatesAt = mode === 16 ? 0 : GATES;
  const gate = gates[mode];
  const table = Array.from({ length: VECTORS }, (_, i) => gate(HANDLERS + HANDLER_BYTES * i)).flat();
  const ranges = [
    { gpa: 0, size: MEMORY },
    { gpa: NOWHERE, size: 0x20_0000 },
  ];
  return [
    [gatesAt, table],
    [DESCRIPTORS, descriptors(mode)],
    [HANDLERS, handlers],
    [TABLES, identityPageTables({ at: TABLES, ranges }).bytes],
  ];
}

const modes = { 16: () => realMode(), 32: protectedMode, 64: () => longMode(TABLES) } as const;

/** What is changed of the sregs that a new vCPU has. */
export function sregsOf(mode: Mode, tables: boolean): object {
  const padding = [0, 0, 0];
  const base = BigInt(mode === 16 ? 0 : GATES);
  const idt = { base, limit: tables ? gateBytes[mode] * VECTORS - 1 : 0, padding };
  return { ...modes[mode](), idt, gdt: { base: BigInt(DESCRIPTORS), limit: DESCRIPTORS_LIMIT, padding } };
}
