import type { ProgramCheck } from './builder.ts';
import { ProgramFrame, type ProgramNote } from './frame.ts';
import type { GpaRange, Integer } from './numbers.ts';
import { mergeRanges, toGpa, toRange } from './numbers.ts';
import { REPORT_GPA, REPORT_WINDOW_SIZE } from './report.ts';
import type { GuestTechnology } from './technology.ts';
import { X64Builder } from './x64/builder.ts';
import { disassemble } from './x64/disassemble.ts';
import type { HypercallInstruction } from './x64/generator.ts';
import { X64Generator } from './x64/generator.ts';

/** Reachable from every mode, above the usual place of page tables, below the legacy hole. */
export const DEFAULT_BASE = 0x10000;

export interface ProgramOptions {
  readonly arch: 'x64';
  /** Where the first byte will be placed (default {@link DEFAULT_BASE}). Programs run at that address only. */
  readonly base?: Integer;
  /**
   * What protects the guest (default: nothing). Then memory is private at its gpa and shared at `g.shared(gpa)`, and reports, conversions and
   * the end go the technology's own way. It must be what the VM is: the instructions differ.
   */
  readonly technology?: GuestTechnology;
  /** Default `vmcall` (Intel); processors of AMD know `vmmcall`, which SEV guests have by default. */
  readonly hypercall?: HypercallInstruction;
  /** Start of the report window: page-aligned, and no memslot may back it (default {@link REPORT_GPA}). */
  readonly reportGpa?: Integer;
}

/** A finished program: bytes for guest memory and what a host must know to run them. */
export interface GuestProgram {
  readonly arch: 'x64';
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
export function program(options: ProgramOptions, write: (g: X64Builder) => void): GuestProgram {
  const base = toGpa(options.base ?? DEFAULT_BASE, 'base');
  const reportGpa = toGpa(options.reportGpa ?? REPORT_GPA, 'reportGpa');
  if (reportGpa % REPORT_WINDOW_SIZE !== 0) throw new RangeError('reportGpa must be page-aligned');
  const { technology = 'none' } = options;
  const amd = technology.startsWith('sev');
  const generator = new X64Generator(base, options.hypercall ?? (amd ? 'vmmcall' : 'vmcall'), technology);
  const frame = new ProgramFrame(generator);
  const builder = new X64Builder(frame, reportGpa, generator, technology);
  write(builder);
  builder.halt();
  frame.finish();
  const { code, frameOffset, frameSize } = generator.finish(frame.slots);
  const size = frameOffset + frameSize;
  const own = [toRange(base, size, 'program'), toRange(reportGpa, REPORT_WINDOW_SIZE, 'report window')];
  return {
    arch: 'x64',
    technology,
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
  for (const { address, bytes, text } of disassemble(guest.bytes, guest.mode, guest.base)) {
    while (notes[0] !== undefined && notes[0].offset <= address - guest.base) lines.push(`; ${notes.shift()?.text}`);
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    lines.push(`${address.toString(16).padStart(8)}:  ${hex.padEnd(30)} ${text}`);
  }
  return lines.join('\n');
}
