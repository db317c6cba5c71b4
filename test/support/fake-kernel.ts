/** A kernel that answers what a test says and remembers what it was asked: for tests of what is built on the waist. */
import { CALLS, type CallName } from '../../lib/kernel/calls.ts';
import type { Kernel } from '../../lib/kernel/kernel.ts';

export interface FakeCall {
  readonly call: CallName;
  /** Buffers are copies of what was passed in. */
  readonly args: readonly unknown[];
}

export interface Fake {
  readonly kernel: Kernel;
  readonly calls: FakeCall[];
  /** The calls of one kind. */
  of(call: CallName): FakeCall[];
}

type Answer = (...args: never[]) => unknown;

const copyOf = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return value.slice();
  if (Array.isArray(value)) return value.map(copyOf);
  return value;
};

/** Every call that has no answer returns 0. */
export function fakeKernel(
  answers: Partial<Record<CallName, Answer>> = {},
  identity: Partial<Pick<Kernel, 'backend' | 'arch' | 'release'>> = {},
): Fake {
  const calls: FakeCall[] = [];
  const methods: Partial<Record<CallName, (...args: unknown[]) => unknown>> = {};
  for (const call of Object.keys(CALLS) as CallName[]) {
    const answer = answers[call] as ((...args: unknown[]) => unknown) | undefined;
    methods[call] = (...args) => {
      calls.push({ call, args: args.map(copyOf) });
      return answer === undefined ? 0 : answer(...args);
    };
  }
  const kernel = { backend: 'sim', arch: 'x64', release: '7.3.4', ...identity, ...methods } as unknown as Kernel;
  return { kernel, calls, of: (call) => calls.filter((made) => made.call === call) };
}

/** A kernel of which some calls are changed: for tests that somebody above notices. */
export function withCalls(inner: Kernel, changed: Partial<Kernel>): Kernel {
  return { ...inner, ...changed };
}
