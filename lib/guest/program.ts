import { A64Builder } from './a64/builder.ts';
import { disassemble as disassembleA64 } from './a64/disassemble.ts';
import { A64Generator } from './a64/generator.ts';
import type { ProgramCheck } from './builder.ts';
import { ProgramFrame, type ProgramNote } from './frame.ts';
import type { CodeGenerator } from './generator.ts';
import type { GpaRange, Integer } from './numbers.ts';
import { mergeRanges, toGpa, toRange } from './numbers.ts';
import { REPORT_GPA, REPORT_WINDOW_SIZE } from './report.ts';
import type { GuestTechnology } from './technology.ts';
import { X64Builder } from './x64/builder.ts';
import { disassemble as disassembleX64 } from './x64/disassemble.ts';
import type { HypercallInstruction } from './x64/generator.ts';
import { X64Generator } from './x64/generator.ts';

/** Reachable from every mode, above the usual place of page tables, below the legacy hole. */
export const DEFAULT_BASE = 0x10000;

/** What writes the programs of each architecture. */
export interface Builders {
  readonly x64: X64Builder;
  readonly arm64: A64Builder;
}
export type GuestArch = keyof Builders;

export interface ProgramOptions<A extends GuestArch = 'x64'> {
  readonly arch: A;
  /** Where the first byte will be placed (default {@link DEFAULT_BASE}). Programs run at that address only. */
  readonly base?: Integer;
  /**
   * What protects the guest (default: nothing). Then memory is private at its gpa and shared at `g.shared(gpa)`, and reports, conversions and
   * the end go the technology's own way. It must be what the VM is: the instructions differ.
   */
  readonly technology?: GuestTechnology;
  /** x86-64: default `vmcall` (Intel); processors of AMD know `vmmcall`, which SEV guests have by default. */
  readonly hypercall?: HypercallInstruction;
  /** Start of the report window: page-aligned, and no memslot may back it (default {@link REPORT_GPA}). */
  readonly reportGpa?: Integer;
}

/** A finished program: bytes for guest memory and what a host must know to run them. */
export interface GuestProgram {
  readonly arch: GuestArch;
  readonly technology: GuestTechnology;
  /** The vCPU runs 64-bit code with guest physical = virtual addresses. */
  readonly mode: 64;
  /** Address of the first byte. */
  readonly base: number;
  /** Where the vCPU starts. */
  readonly entry: number;
  /** The code, to be placed at `base`. */
  readonly bytes: Uint8Array;
  /** The values' slots, behind the code: writable memory whose contents do not matter. One vCPU per frame. */
  readonly frame: GpaRange;
  /** Bytes from `base` to the end of the frame: how much memory the program itself needs. */
  readonly size: number;
  readonly reportGpa: number;
  /** All memory known to be touched, in order and merged: code, frame, report window, data. For page tables. */
  readonly touches: readonly GpaRange[];
  /** Indexed by id. */
  readonly checks: readonly ProgramCheck[];
  readonly notes: readonly ProgramNote[];
}

interface Kit<B> {
  readonly frame: ProgramFrame;
  readonly builder: B;
  readonly finish: CodeGenerator['finish'];
}

type KitMaker<B> = (base: number, reportGpa: number, options: ProgramOptions<GuestArch>) => Kit<B>;

const KITS: { readonly [A in GuestArch]: KitMaker<Builders[A]> } = {
  x64: (base, reportGpa, { technology = 'none', hypercall = technology.startsWith('sev') ? 'vmmcall' : 'vmcall' }) => {
    const generator = new X64Generator(base, hypercall, technology);
    const frame = new ProgramFrame(generator);
    const builder = new X64Builder(frame, reportGpa, generator, technology);
    return { frame, builder, finish: (slots) => generator.finish(slots) };
  },
  arm64: (base, reportGpa) => {
    const generator = new A64Generator(base, reportGpa);
    const frame = new ProgramFrame(generator);
    return { frame, builder: new A64Builder(frame, reportGpa, generator), finish: (slots) => generator.finish(slots) };
  },
};

/**
 * Writes a program: `write` is called once and its operations become code in the order in which they are called. A
 * `halt` at the end is added.
 *
 *     const p = program({ arch: 'x64' }, (g) => {
 *       g.store(0x200008, g.load(0x200000).add(1));
 *       g.check(0x201000, 4096, 0xaa);
 *     });
 *
 * Throws RangeError for addresses and numbers out of range.
 */
export function program<A extends GuestArch>(
  options: ProgramOptions<A>,
  write: (g: Builders[A]) => void,
): GuestProgram {
  const base = toGpa(options.base ?? DEFAULT_BASE, 'base');
  const reportGpa = toGpa(options.reportGpa ?? REPORT_GPA, 'reportGpa');
  if (reportGpa % REPORT_WINDOW_SIZE !== 0) throw new RangeError('reportGpa must be page-aligned');
  const { arch, technology = 'none' } = options;
  if (arch === 'arm64' && technology !== 'none') throw new RangeError(`${technology} is a technology of x86-64`);
  const { frame, builder, finish } = KITS[options.arch](base, reportGpa, options);
  write(builder);
  builder.halt();
  frame.finish();
  const { code, frameOffset, frameSize } = finish(frame.slots);
  const size = frameOffset + frameSize;
  const own = [toRange(base, size, 'program'), toRange(reportGpa, REPORT_WINDOW_SIZE, 'report window')];
  return {
    arch: options.arch,
    technology: options.technology ?? 'none',
    mode: 64,
    base,
    entry: base,
    bytes: code,
    frame: { gpa: base + frameOffset, size: frameSize },
    size,
    reportGpa,
    touches: mergeRanges([...own, ...frame.touched]),
    checks: builder.checks,
    notes: frame.notes,
  };
}

/** The program as text: its steps, and the instructions of each with addresses and bytes. */
export function listing(guest: GuestProgram): string {
  const lines: string[] = [];
  const notes = [...guest.notes];
  const instructions =
    guest.arch === 'x64'
      ? disassembleX64(guest.bytes, guest.mode, guest.base)
      : disassembleA64(guest.bytes, guest.base);
  for (const { address, bytes, text } of instructions) {
    while (notes[0] !== undefined && notes[0].offset <= address - guest.base) lines.push(`; ${notes.shift()?.text}`);
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    lines.push(`${address.toString(16).padStart(8)}:  ${hex.padEnd(30)} ${text}`);
  }
  return lines.join('\n');
}
