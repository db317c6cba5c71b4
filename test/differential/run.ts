/** Runs commands on two kernels and finds the first place at which they differ; cuts a sequence that differs down to what is needed. */
import { carryOut } from './carry-out.ts';
import type { Command } from './commands.ts';
import { lookAtMemory, observe } from './observe.ts';
import type { World } from './world.ts';

export interface Disagreement {
  /** Index of the command after which it showed. */
  readonly index: number;
  readonly what: string;
  readonly simulated: string;
  readonly real: string;
}

export interface Pair {
  readonly simulated: World;
  readonly real: World;
}

export type MakePair = () => Pair;

function firstDifference(
  index: number,
  simulated: readonly string[],
  real: readonly string[],
): Disagreement | undefined {
  for (let i = 0; i < Math.max(simulated.length, real.length); i++) {
    if (simulated[i] === real[i]) continue;
    return { index, what: 'what is seen afterwards', simulated: simulated[i] ?? '-', real: real[i] ?? '-' };
  }
  return undefined;
}

/** One command on both, and what is seen afterwards. */
export function step({ simulated, real }: Pair, command: Command, index: number): Disagreement | undefined {
  const a = carryOut(simulated, command);
  const b = carryOut(real, command);
  if (a !== b) return { index, what: 'the outcome', simulated: a, real: b };
  return firstDifference(index, observe(simulated), observe(real));
}

export const lastLook = ({ simulated, real }: Pair, index: number): Disagreement | undefined =>
  firstDifference(index, lookAtMemory(simulated), lookAtMemory(real));

/** The whole sequence in fresh worlds. */
export function replay(make: MakePair, commands: readonly Command[]): Disagreement | undefined {
  const pair = make();
  try {
    for (const [index, command] of commands.entries()) {
      const found = step(pair, command, index);
      if (found !== undefined) return found;
    }
    return lastLook(pair, commands.length - 1);
  } finally {
    pair.simulated.end();
    pair.real.end();
  }
}

/** Takes out whatever is not needed for a disagreement to show: halves first, then single commands. */
export function shrink(make: MakePair, commands: readonly Command[]): Command[] {
  let rest = [...commands];
  for (let size = Math.ceil(rest.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < rest.length; ) {
      const without = [...rest.slice(0, at), ...rest.slice(at + size)];
      if (replay(make, without) !== undefined) rest = without;
      else at += size;
    }
  }
  return rest;
}

const literal = (value: unknown): string => {
  if (typeof value === 'bigint') return value > 4095n ? `0x${value.toString(16)}n` : `${value}n`;
  if (typeof value === 'number') return value > 4095 ? `0x${value.toString(16)}` : String(value);
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value !== 'object' || value === null) return String(value);
  return `{ ${Object.entries(value)
    .map(([key, one]) => `${key}: ${literal(one)}`)
    .join(', ')} }`;
};

/** The sequence as TypeScript that can be pasted into a test (see known.test.ts). */
export const asScript = (commands: readonly Command[]): string =>
  `[\n${commands.map((command) => `  ${literal(command)},`).join('\n')}\n]`;
