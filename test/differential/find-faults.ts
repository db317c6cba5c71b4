/** Plants the mistakes of faults.ts one at a time and looks for each with random commands. */
import { sequences } from './engine.ts';
import { FAULTS } from './faults.ts';
import type { Host } from './pair.ts';
import type { PlantedFault } from './planting.ts';
import { type SuiteName, suiteOf } from './suites.ts';

export interface FaultReport {
  readonly suite: SuiteName;
  readonly name: string;
  /** Commands until it showed; null when it did not. */
  readonly foundAfter: number | null;
}

/** More would mean that the commands hardly reach the place. */
export const MOST_COMMANDS = 20_000;

/** One turn for each sequence; the fault is there only while they run. */
async function* look(
  host: Host,
  suite: SuiteName,
  { name, plant }: PlantedFault,
  seed: number,
): AsyncGenerator<number, FaultReport> {
  const take = plant();
  try {
    const run = <N extends SuiteName>(of: N) => sequences(suiteOf(host, of), seed, MOST_COMMANDS);
    let commands = 0;
    for (const steps = run(suite); ; ) {
      const turn = await steps.next();
      if (turn.done === true) {
        return { suite, name, foundAfter: turn.value === undefined ? null : commands + turn.value.commands.length };
      }
      commands = turn.value;
      yield commands;
    }
  } finally {
    take();
  }
}

export interface FaultSearch {
  readonly name: string;
  readonly steps: AsyncGenerator<number, FaultReport>;
}

export const faultsOf = (host: Host, suite: SuiteName): readonly PlantedFault[] =>
  FAULTS.filter((fault) => fault.suite === suite && (fault.needs?.(host) ?? true));

export function* findFaults(host: Host, suite: SuiteName, seed: number): Generator<FaultSearch> {
  for (const fault of faultsOf(host, suite)) yield { name: fault.name, steps: look(host, suite, fault, seed) };
}

/** All at once, for tests. */
export async function findFault(host: Host, fault: PlantedFault, seed: number): Promise<FaultReport> {
  const steps = look(host, fault.suite, fault, seed);
  for (let turn = await steps.next(); ; turn = await steps.next()) if (turn.done === true) return turn.value;
}
