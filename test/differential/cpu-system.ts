/** What a program, or its host, does to the machine itself: control registers, MSRs, segments, flags, tables. */
import type { Mode } from '../../lib/guest/x64/operands.ts';
import { little, load } from './cpu-bytes.ts';
import { codeCommand } from './cpu-code.ts';
import type { CpuCommand } from './cpu-commands.ts';
import { ASKED, ASKED_ABOVE } from './cpu-cpuid.ts';
import { farBranch, tableLoad } from './cpu-far.ts';
import { CODE, DESCRIPTORS, TABLES } from './cpu-places.ts';
import { SELECTORS } from './cpu-tables.ts';
import type { Random } from './random.ts';

/** Without paging outside long mode, whose tables there are not; of CR4 what every processor has, or none. */
const CONTROL_VALUES: Readonly<Record<number, readonly bigint[]>> = {
  0: [0x11n, 0x31n, 0x1_0031n, 0x6000_0031n, 0x4000_0031n, 0x2000_0031n, 0x10n, 0x30n, 0x13n, 2n ** 32n, 0x100_0031n],
  2: [0n, 0x1234n, 0xffff_ffffn],
  3: [BigInt(TABLES), BigInt(TABLES) | 0x18n],
  4: [0n, 0x20n, 0x21n, 0x2a0n, 0x620n, 0x8000n, 0x8_0020n, 0x100_0020n, 0x2000_0020n, 0x2000n],
  8: [0n, 5n, 15n, 16n, 0xffn],
};
/** The tables that there are: what becomes of a fault without any is told differently from kernel to kernel. */
const CR3_VALUES = [
  BigInt(TABLES),
  BigInt(TABLES) | 0x18n,
  BigInt(TABLES) | 0xfffn,
  (2n ** 63n) | BigInt(TABLES),
  (2n ** 52n) | BigInt(TABLES),
  (2n ** 51n) | BigInt(TABLES),
];
const PAGING = 0x8000_0000n;
const EFER_VALUES = [0n, 1n, 0x500n, 0xd00n, 0xd01n, 0x100n, 0x400n, 0x8_0000n, 0x1500n];
/** Bits of CR4 that depend on the processor. */
const CR4_BY_CPUID = 0x1077_5800n;
export const MSRS = [
  0xc000_0080, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0x174, 0x175, 0x176, 0xc000_0081, 0xc000_0082, 0x277, 0x1234_5678,
  0x1b,
];
/** Before long mode and after. */
export const USUAL_MSR_VALUES = [
  0n,
  1n,
  0x500n,
  0xd00n,
  0xd01n,
  0x8_0000n,
  0xffff_8000_0000_0000n,
  0x8000_0000_0000n,
  2n ** 63n,
];
/** Not the stack's: who delivers exceptions decides what a strange one does, and another level would need a task state segment. */
const SEGMENT_NAMES = ['cs', 'ds', 'es', 'fs', 'gs'];
const SEGMENT_FIELDS = ['base', 'limit', 'type', 'present', 'dpl', 'db', 's', 'l', 'g', 'unusable', 'selector'];

/** KVM_SET_SREGS with one field changed. */
export function changedSregs(random: Random, mode: Mode): CpuCommand {
  if (random.once(2)) {
    const index = random.pick([0, 2, 3, 4, 8]);
    if (random.once(4)) return { do: 'sregs', field: 'efer', value: random.pick(EFER_VALUES) };
    const wide = index === 3 ? random.pick(CR3_VALUES) : 2n ** BigInt(11 + random.below(53));
    const strange = index === 4 && (wide & CR4_BY_CPUID) !== 0n ? 0x8000n : wide;
    const usual = random.pick(CONTROL_VALUES[index] ?? []) | (index === 0 && mode === 64 ? PAGING : 0n);
    return { do: 'sregs', field: `cr${index}`, value: random.once(4) ? strange : usual };
  }
  const part = random.pick(SEGMENT_FIELDS);
  const name = random.pick(SEGMENT_NAMES);
  // Without a code segment no processor is entered.
  if (name === 'cs' && (part === 'unusable' || part === 'present')) return changedSregs(random, mode);
  const bit = BigInt(random.below(2));
  const value = part === 'base' ? BigInt(random.below(16)) * 16n : part === 'limit' ? 0xffffn : bit;
  return { do: 'sregs', field: `${name}.${part}`, value };
}

/** Code for it. */
export function systemCode(random: Random, mode: Mode): CpuCommand {
  switch (random.below(12)) {
    case 11: {
      // The time is nobody's: rdtsc, or rdmsr of it, then xor eax, eax; xor edx, edx.
      const read = random.once(2) ? [0x0f, 0x31] : [...load(mode, 1, 0x10n), 0x0f, 0x32];
      const wide = mode === 16 ? [0x66] : [];
      return codeCommand(random, mode, [...read, ...wide, 0x31, 0xc0, ...wide, 0x31, 0xd2], 0x10);
    }
    case 8:
    case 9:
      return codeCommand(random, mode, farBranch(random, mode));
    case 10:
      return codeCommand(random, mode, tableLoad(random, mode, BigInt(DESCRIPTORS)));
    case 0: {
      const index = random.pick([0, 2, 3, 4, 0, 4]);
      const value = random.pick(CONTROL_VALUES[index] ?? []) | (index === 0 && mode === 64 ? PAGING : 0n);
      return codeCommand(random, mode, [
        ...load(mode, 0, value),
        0x0f,
        0x22,
        0xc0 | (index << 3),
        0x0f,
        0x20,
        0xc1 | (index << 3),
      ]);
    }
    case 1: {
      const msr = BigInt(random.pick(MSRS));
      const value = random.pick(USUAL_MSR_VALUES);
      const loads = [...load(mode, 1, msr), ...load(mode, 0, value & 0xffff_ffffn), ...load(mode, 2, value >> 32n)];
      return codeCommand(random, mode, [...loads, 0x0f, random.once(2) ? 0x30 : 0x32]);
    }
    case 2:
    case 3: {
      const to = random.pick([0, 2, 3, 4, 5]);
      return codeCommand(random, mode, [
        ...load(mode, 0, BigInt(random.pick(SELECTORS))),
        0x8e,
        0xc0 | (to << 3),
        0x8c,
        0xc1 | (to << 3),
      ]);
    }
    case 4: {
      const flags = BigInt(random.pick([0x2, 0x202, 0x4d5, 0xcd5, 0x20_0002, 0x2, 0x3202, 0x4_0002]));
      // push imm; popf; pushf; pop ax; push 2; popf: what is left must not trap.
      const push = mode === 16 ? [0x66, 0x68, ...little(flags, 4), 0x66, 0x9d] : [0x68, ...little(flags, 4), 0x9d];
      return codeCommand(random, mode, [...push, 0x9c, 0x58, 0x6a, 0x02, 0x9d]);
    }
    case 5: {
      // Over what would be seen: jmp, jcc, loop and call forward by three bytes.
      const jump = random.pick([
        [0xeb, 3],
        [0x70 | random.below(16), 3],
        [0xe0 | random.below(4), 3],
        [0xe8, 3, 0, ...(mode === 16 ? [] : [0, 0])],
      ]);
      return codeCommand(random, mode, [...jump, 0xfe, 0xc3, 0x90, 0xfe, 0xc7]);
    }
    case 6: {
      const leaf = BigInt(random.pick([...ASKED, ...ASKED_ABOVE]));
      return codeCommand(random, mode, [...load(mode, 0, leaf), ...load(mode, 1, BigInt(random.below(3))), 0x0f, 0xa2]);
    }
    default: {
      // push; ret to what follows.
      const next = BigInt(CODE + (mode === 16 ? 4 : 6));
      return codeCommand(random, mode, [0x68, ...little(next, mode === 16 ? 2 : 4), 0xc3, 0xfe, 0xc3]);
    }
  }
}
