/** privmem: KVM guest private memory from TypeScript. Importing this loads no addon; opening a kernel does. */

export {
  defaultCandidates,
  hostCandidate,
  type KernelCandidate,
  type KernelNeed,
  simulationCandidate,
} from './kernel/candidates.ts';
export { errnoName, errnoOf, errnoText } from './kernel/errno.ts';
export {
  DisposedError,
  type FaultKind,
  KernelError,
  type MemoryFault,
  MemoryFaultError,
  StateError,
  UnsupportedError,
} from './kernel/errors.ts';
export type { Int, Kernel, PointerPatch } from './kernel/kernel.ts';
export type { Raw, Refusal, Result } from './kernel/raw.ts';
export {
  type Backend,
  kvmAccess,
  openKernel,
  type Selection,
  type SelectOptions,
  selectKernel,
} from './kernel/select.ts';
export { type CacheStat, type FileStat, Sys } from './kernel/sys.ts';
export { type TraceRecord, type TraceSink, traceKernel } from './kernel/trace.ts';
export { jsonFileSink, recordToJson, textSink } from './kernel/trace-sinks.ts';
export type { Arm64Core, Arm64State } from './kvm/arm64-state.ts';
export type * from './kvm/exits.ts';
export type { CpuidEntry } from './kvm/growing.ts';
export { GuestMemfd } from './kvm/guest-memfd.ts';
export { Kvm } from './kvm/kvm.ts';
export { Memslot, type MemslotOptions } from './kvm/memslot.ts';
export { Sev } from './kvm/sev.ts';
export { type MemRegion, Tdx } from './kvm/tdx.ts';
export { type RunOptions, Vcpu } from './kvm/vcpu.ts';
export { Vm } from './kvm/vm.ts';
export type { Msr, X64Regs, X64Sregs, X64State } from './kvm/x64-state.ts';
export { type Cell, type CompareOptions, type Comparison, compare } from './lifecycle/compare.ts';
export { type LifecycleOptions, runLifecycle } from './lifecycle/lifecycle.ts';
export { designSupport, type Support, technologySupport } from './lifecycle/support.ts';
export { WALK_STEPS, Walk, type WalkStep } from './lifecycle/walk.ts';
export type {
  Enforcer,
  LibraryRefusal,
  LifecycleReport,
  MemoryRun,
  MemoryState,
  Outcome,
  State,
  Step,
} from './lifecycle/words.ts';
export { type MapOptions, Mapping, PAGE_SIZE } from './memory/mapping.ts';
export { MemFile } from './memory/mem-file.ts';
export { Memfd, type MemfdOptions } from './memory/memfd.ts';
export type { MemoryPolicy } from './memory/nodes.ts';
export { Pipe, type PipeOptions } from './memory/pipe.ts';
export { SecretMem } from './memory/secret-mem.ts';
export {
  type SimEvent,
  type SimPatch,
  type SimTechnology,
  type SimulatedKernel,
  type SimulateOptions,
  simulate,
} from './sim/simulate.ts';
export { type DiffEntry, diffTraces, type TraceDiff } from './trace/diff.ts';
export { type ExportedTrace, exportTrace } from './trace/export/export.ts';
export { TraceFormatError } from './trace/json-line.ts';
export type { Difference } from './trace/outcome.ts';
export { parseTrace, readTrace } from './trace/reader.ts';
export type { RecordedCall, Recording } from './trace/recording.ts';
export { replayTrace } from './trace/replay.ts';
export {
  isFaithful,
  type ReplayedCall,
  type ReplayOptions,
  type ReplayReport,
  type SkippedCall,
} from './trace/replay-report.ts';
export { defineFlag, defineIoctl, defineLayout, defineNames } from './uapi/registry.ts';
