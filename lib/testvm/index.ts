/** Test kernels: build one, boot it, and run a command in it. */
export { BuildError, type BuildOptions, type BuildResult, buildKernel } from './build/build.ts';
export { DEBUG_FLAGS, type DebugFlag } from './build/options.ts';
export { guestEnvironment } from './environment.ts';
export { type ImageInfo, NotAKernelError, readImage } from './image.ts';
export { type FetchOptions, fetchPrograms, findPrograms, type Programs } from './programs.ts';
export { runInKernel } from './run.ts';
export { findKernel, listKernels, type StoredKernel } from './store.ts';
export type {
  Accelerator,
  Outcome,
  Splat,
  SplatKind,
  TestArch,
  VmOptions,
  VmResult,
  VmTimings,
} from './words.ts';
