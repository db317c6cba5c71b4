/** Programs that end in an exception, and the tables that deliver it. */
import type { Assembler } from '../../../../lib/guest/x64/index.ts';
import type { Setup } from './ram.ts';

export interface Scenario extends Setup {
  readonly code: (a: Assembler) => unknown;
  /** For each run in turn, the answer to the exit before. */
  readonly answers?: readonly (number | bigint | undefined)[];
  readonly runs?: number;
  /** KVM shows the flags of a compare that is under way only when the instruction is done. */
  readonly hidesFlags?: true;
}

const GATES = 0x9000;
const DESCRIPTORS = 0xa000;
const HANDLERS = 0x3000;

/** mov al, vector; out 0x80, al; hlt: in all modes. */
const handlers = Array.from({ length: 32 }, (_, i) => [0xb0, i, 0xe6, 0x80, 0xf4, ...new Array(11).fill(0x90)]).flat();
const gate64 = (at: number): number[] => [at & 255, at >> 8, 8, 0, 0, 0x8e, ...new Array(10).fill(0)];
const gate32 = (at: number): number[] => [at & 255, at >> 8, 8, 0, 0, 0x8e, 0, 0];
const gate16 = (at: number): number[] => [at & 255, at >> 8, 0, 0];
const table = (gate: (at: number) => number[]): number[] =>
  Array.from({ length: 32 }, (_, i) => gate(HANDLERS + 16 * i)).flat();
const descriptors = (code: number): number[] => [
  ...new Array(8).fill(0),
  ...[0xff, 0xff, 0, 0, 0, 0x9b, code, 0],
  ...[0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0],
  ...[0xff, 0x0f, 0, 0x50, 0, 0x92, 0x40, 0],
];

const gdt = { base: BigInt(DESCRIPTORS), limit: 31, padding: [0, 0, 0] };
export const WITH_IDT: Setup = {
  memory: [
    [GATES, table(gate64)],
    [DESCRIPTORS, descriptors(0xaf)],
    [HANDLERS, handlers],
  ],
  sregs: { idt: { base: BigInt(GATES), limit: 0x1ff, padding: [0, 0, 0] }, gdt },
};
export const WITH_IDT_32: Setup = {
  mode: 32,
  memory: [
    [GATES, table(gate32)],
    [DESCRIPTORS, descriptors(0xcf)],
    [HANDLERS, handlers],
  ],
  sregs: { idt: { base: BigInt(GATES), limit: 0xff, padding: [0, 0, 0] }, gdt },
};
export const WITH_IVT: Setup = {
  mode: 16,
  memory: [
    [0, table(gate16)],
    [HANDLERS, handlers],
  ],
  sregs: { idt: { base: 0n, limit: 0x3ff, padding: [0, 0, 0] } },
};
const NO_IDT: Setup = { sregs: { idt: { base: 0n, limit: 0, padding: [0, 0, 0] } } };

/** Faults of each kind; in every mode, with and without a table. */
const FAULTS: Readonly<Record<string, (a: Assembler) => unknown>> = {
  ud2: (a) => a.nop().ud2(),
  'division by zero': (a) => a.xor('ecx', 'ecx').div('ecx'),
  'lock before what cannot be locked': (a) => a.nop().data([0xf0, 0x90, 0xf4]),
  'rdmsr of nothing': (a) => a.mov('ecx', 0x1234_5678).rdmsr(),
  'far beyond memory': (a) => a.mov('al', { disp: 0x7fff_0000, size: 1 }).hlt(),
};
const { 'far beyond memory': _, ...FAULTS_16 } = FAULTS;
const FAULTS_64: Readonly<Record<string, (a: Assembler) => unknown>> = {
  ...FAULTS,
  'push es': (a) => a.nop().data([0x06]),
  vex: (a) => a.nop().data([0xc5, 0xf8, 0x77]),
  'page fault': (a) => a.mov('rbx', 0x1_2345_6789).mov('rax', { base: 'rbx' }).hlt(),
  'page fault of a write': (a) => a.mov('rbx', 0x1_2345_6789).mov({ base: 'rbx' }, 'rax').hlt(),
  'page fault of both': (a) => a.mov('rbx', 0x1_2345_6789).add({ base: 'rbx' }, 'rax').hlt(),
  'page fault of a push': (a) => a.mov('rsp', 0x1_2345_6780).push('rax').hlt(),
  'not canonical': (a) => a.mov('rbx', 0x8000_1234_5678_9000n).mov('rax', { base: 'rbx' }).hlt(),
  'not canonical by the stack': (a) => a.mov('rbp', 0x8000_1234_5678_9000n).mov('rax', { base: 'rbp' }).hlt(),
  'jump to nothing': (a) => a.mov('rbx', 0x1_2345_6789).jmp('rbx'),
  'jump to what is not canonical': (a) => a.mov('rbx', 0x8000_1234_5678_9000n).jmp('rbx'),
  'fault in the middle of a copy': (a) => a.mov('rdi', 0x5f_ff00).mov('rcx', 64).stos(64, 'rep').hlt(),
};

function withSetup(title: string, faults: typeof FAULTS, setup: Setup): Record<string, Scenario> {
  return Object.fromEntries(Object.entries(faults).map(([name, code]) => [`${name}, ${title}`, { ...setup, code }]));
}

export const FAULT_SCENARIOS: Readonly<Record<string, Scenario>> = {
  ...withSetup('64 bits', FAULTS_64, WITH_IDT),
  ...withSetup('64 bits without table', FAULTS_64, NO_IDT),
  ...withSetup('32 bits', FAULTS, WITH_IDT_32),
  ...withSetup('16 bits', FAULTS_16, WITH_IVT),
};
