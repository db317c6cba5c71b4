/** Guests beside the program: the commands of beside-commands.ts. */
import type { BesideCommand } from './beside-commands.ts';
import { BesideGenerator } from './beside-generate.ts';
import { BesideWorld } from './beside-world.ts';
import type { Suite } from './engine.ts';
import type { Host } from './pair.ts';

const SEQUENCE = 40;

export const besideSuite = ({ real: kernel, simulate }: Host): Suite<BesideCommand> => ({
  sequence: SEQUENCE,
  begin: () => {
    const simulated = new BesideWorld(simulate());
    const real = new BesideWorld(kernel);
    return {
      step: async (command) => [await simulated.step(command), await real.step(command)],
      lastLook: () => [[], []],
      generator: (random) => new BesideGenerator(random),
      end: async () => {
        await simulated.end();
        await real.end();
      },
    };
  },
});
