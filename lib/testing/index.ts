/** `privmem/testing`: for vitest suites of kernels and of programs on private memory. Needs vitest 3.2 or newer beside it. */
export { describeExit, Guest, type GuestRun, halted } from '../conformance/guest.ts';
export { Environment, missing, type Needs, VM_TYPES, type VmType } from '../conformance/needs.ts';
export { type Attempt, Broken, expectErrno, expectFault, type FaultExpectation } from './expect.ts';
export { type Fixtures, requires, test } from './fixtures.ts';
export { environmentUnderTest } from './kernel.ts';
export { type OnKernelOptions, onKernel, runFileInKernel } from './on-kernel.ts';
