/** The raw twin of any object whose methods throw {@link KernelError} or {@link MemoryFaultError}: for negative tests. */
import { KernelError, type MemoryFault, MemoryFaultError } from './errors.ts';

export interface Refusal {
  readonly ok: false;
  /** Positive, as in errno.h; 0 when it was not a system call that failed but an access to memory. */
  readonly errno: number;
  /** `EINVAL`, or the signal of a fault: `SIGBUS`, `SIGSEGV`. */
  readonly code: string;
  readonly value: undefined;
  /** Where and why an access to memory stopped. */
  readonly fault?: MemoryFault;
  readonly error: KernelError | MemoryFaultError;
}

export type Result<T> = { readonly ok: true; readonly errno: 0; readonly value: T } | Refusal;

/** The same methods with the same arguments, returning a {@link Result} in place of throwing. Other errors are still thrown. */
export type Raw<T> = {
  readonly [K in MethodOf<T>]: T[K] extends (...args: infer A) => infer R
    ? (...args: A) => R extends Promise<infer P> ? Promise<Result<P>> : Result<R>
    : never;
};

// `raw` itself is left out first: looking at its type from within would never end.
type MethodOf<T> = {
  [K in keyof T]: K extends 'raw' ? never : T[K] extends (...args: never[]) => unknown ? K : never;
}[keyof T];

const success = <T>(value: T): Result<T> => ({ ok: true, errno: 0, value });

function failure(error: unknown): Refusal {
  if (error instanceof KernelError) return { ok: false, errno: error.errno, code: error.code, value: undefined, error };
  if (!(error instanceof MemoryFaultError)) throw error;
  const { fault } = error;
  return { ok: false, errno: 0, code: fault.kind, value: undefined, fault, error };
}

export function rawOf<T extends object>(target: T): Raw<T> {
  return new Proxy(target, {
    get(_, key) {
      const method: unknown = Reflect.get(target, key, target);
      if (typeof method !== 'function') return undefined;
      return (...args: unknown[]) => {
        try {
          const value: unknown = Reflect.apply(method, target, args);
          return value instanceof Promise ? value.then(success, failure) : success(value);
        } catch (error) {
          return failure(error);
        }
      };
    },
  }) as unknown as Raw<T>;
}
