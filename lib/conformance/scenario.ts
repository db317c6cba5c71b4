/** What a scenario is: one behaviour of the kernel, where it is promised, what it needs, and how to see it. */
import type { Context } from './context.ts';
import type { Needs } from './needs.ts';

export interface Scenario {
  /** `area/topic/behaviour`, in words of the interface: `guest_memfd/punch_hole/unaligned_offset_is_EINVAL`. */
  readonly name: string;
  /** Where the behaviour is promised: document or kernel source with the function, and the release it holds since. */
  readonly promise: string;
  readonly needs: Needs;
  /** Milliseconds after which it counts as failed. Default {@link DEFAULT_TIMEOUT_MS}. */
  readonly timeoutMs?: number;
  /** Throws when the kernel behaves otherwise. */
  readonly run: (t: Context) => void | Promise<void>;
}

/** Guests are slow under emulation of the whole machine; none of the scenarios takes a tenth of this there. */
export const DEFAULT_TIMEOUT_MS = 30_000;

export type Body = Scenario['run'];

/** How a topic's file adds its scenarios. */
export interface Topic {
  /** One behaviour. `needs` come on top of the topic's. */
  (behaviour: string, body: Body): void;
  (behaviour: string, options: ScenarioOptions, body: Body): void;
}

export interface ScenarioOptions {
  readonly needs?: Needs;
  /** Replaces the topic's, where the behaviour is promised elsewhere. */
  readonly promise?: string;
  readonly timeoutMs?: number;
}

const NAME = /^[A-Za-z0-9_-]+(\/[A-Za-z0-9_-]+)*$/;

/** Collects the scenarios of one topic. Throws for a name that does not fit or comes twice. */
export function topic(
  path: string,
  options: { readonly promise: string; readonly needs?: Needs },
  write: (scenario: Topic) => void,
): readonly Scenario[] {
  const scenarios: Scenario[] = [];
  const seen = new Set<string>();
  const add = (behaviour: string, second: Body | ScenarioOptions, third?: Body): void => {
    const own: ScenarioOptions = typeof second === 'function' ? {} : second;
    const run = typeof second === 'function' ? second : third;
    const name = `${path}/${behaviour}`;
    if (run === undefined) throw new TypeError(`${name}: no body`);
    if (!NAME.test(name)) throw new RangeError(`${name}: letters, digits, _ and - only`);
    if (seen.has(name)) throw new RangeError(`${name}: is there already`);
    seen.add(name);
    const { timeoutMs } = own;
    scenarios.push({
      name,
      promise: own.promise ?? options.promise,
      needs: { ...options.needs, ...own.needs },
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      run,
    });
  };
  write(add);
  return scenarios;
}
