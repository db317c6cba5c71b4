/**
 * Guest programs: tiny programs written as TypeScript calls that assemble to machine code, and the data that a host
 * needs to run them (page tables, register settings) and to understand what they report.
 *
 * Addresses are guest physical, in bytes, as numbers; values are 64-bit bigints. Numbers that do not fit are RangeErrors,
 * things that do not exist are TypeErrors, both thrown where they are written.
 */
export * as a64 from './a64/index.ts';
export type { AccessOptions, GuestBuilder, ProgramCheck } from './builder.ts';
export type { ControlFlow } from './control-flow.ts';
export type { ProgramNote } from './frame.ts';
export type { AccessSize, Relation } from './generator.ts';
export type { GpaRange, Integer } from './numbers.ts';
export type { AddressPattern, Pattern } from './pattern.ts';
export { addressPattern, patternBytes } from './pattern.ts';
export type { Builders, GuestArch, GuestProgram, ProgramOptions } from './program.ts';
export { DEFAULT_BASE, listing, program } from './program.ts';
export type { GuestEvent, MmioExit, Report } from './report.ts';
export {
  CHECK_TAGS,
  EXCEPTION_TAGS,
  FIRST_RESERVED_TAG,
  HALT_TAG,
  REPORT_GPA,
  REPORT_WINDOW_SIZE,
  ReportCollector,
  readReport,
  reportAddress,
} from './report.ts';
export type { MemoryImage } from './start.ts';
export type { GuestTechnology, SideBit } from './technology.ts';
export { END_PORT, GHCB_GPA, SHARED_ALIAS, SIDE_BIT } from './technology.ts';
export type { Comparison, Operand } from './value.ts';
export { Value, Variable } from './value.ts';
export type { MapGpaRangeOptions } from './x64/builder.ts';
export * as x64 from './x64/index.ts';
