/** A mistake that the simulation could have, planted by replacing one method: for the proof that a differential run sees it. */
import type { Host } from './pair.ts';
import type { SuiteName } from './suites.ts';

export interface PlantedFault {
  readonly name: string;
  /** The commands that find it. */
  readonly suite: SuiteName;
  /** Whether it can show at all on a host. Default: wherever the suite runs. */
  readonly needs?: (host: Host) => boolean;
  /** Plants it; the result takes it away again. */
  plant(): () => void;
}

/** Replaces a method; `change` gets the original. */
export function method<T extends object, K extends keyof T & string>(
  target: T,
  key: K,
  change: (original: T[K]) => T[K],
): () => void {
  const descriptor = Object.getOwnPropertyDescriptor(target, key);
  const original = target[key];
  Object.defineProperty(target, key, { value: change(original), configurable: true, writable: true });
  return () => {
    if (descriptor === undefined) Reflect.deleteProperty(target, key);
    else Object.defineProperty(target, key, descriptor);
  };
}

export const getter = <T extends object>(target: T, key: keyof T & string, value: unknown): (() => void) => {
  const descriptor = Object.getOwnPropertyDescriptor(target, key);
  Object.defineProperty(target, key, { get: () => value, configurable: true });
  return () => {
    if (descriptor === undefined) Reflect.deleteProperty(target, key);
    else Object.defineProperty(target, key, descriptor);
  };
};
