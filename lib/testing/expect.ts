/** Expectations for negative tests. They throw what any test runner shows; they do not need vitest. */
import { Broken, type FaultExpectation, faulted, refused } from '../conformance/check.ts';
import { KernelError, type MemoryFault, MemoryFaultError } from '../kernel/errors.ts';
import type { Refusal, Result } from '../kernel/raw.ts';

/** What a raw twin gives, or a function that throws what its strict twin throws. */
export type Attempt = Result<unknown> | (() => unknown);

function resultOf(attempt: Attempt): Result<unknown> {
  if (typeof attempt !== 'function') return attempt;
  try {
    return { ok: true, errno: 0, value: attempt() };
  } catch (error) {
    if (error instanceof KernelError)
      return { ok: false, errno: error.errno, code: error.code, value: undefined, error };
    if (!(error instanceof MemoryFaultError)) throw error;
    return { ok: false, errno: 0, code: error.fault.kind, value: undefined, fault: error.fault, error };
  }
}

/**
 * The call must fail with this errno, or one of these: `expectErrno(vm.raw.createGuestMemfd(0), 'EINVAL')`. Returns the refusal, whose
 * `error` names the call and its arguments. Other errors than the kernel's are thrown on.
 */
export function expectErrno(attempt: Attempt, code: string | readonly string[], what = 'the call'): Refusal {
  return refused(resultOf(attempt), code, what);
}

/** The access must fault: `expectFault(mapping.raw.read(0, 8), { kind: 'SIGBUS', offset: 0 })`. Returns the fault. */
export function expectFault(attempt: Attempt, expected: FaultExpectation, what = 'the access'): MemoryFault {
  return faulted(resultOf(attempt), expected, what);
}

export { Broken, type FaultExpectation };
