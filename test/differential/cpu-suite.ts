/** The vCPU: the commands of cpu-commands.ts. */
import type { CpuCommand } from './cpu-commands.ts';
import { CpuGenerator } from './cpu-generate.ts';
import { CpuWorld } from './cpu-world.ts';
import type { Suite } from './engine.ts';
import type { Host } from './pair.ts';

const SEQUENCE = 60;

export const cpuSuite = ({ real: kernel, kvm, simulate }: Host): Suite<CpuCommand> => ({
  sequence: SEQUENCE,
  begin: () => {
    const simulated = new CpuWorld(simulate());
    const real = new CpuWorld(kernel);
    return {
      step: (command) => [simulated.step(command), real.step(command)],
      lastLook: () => [[], []],
      generator: (random) => new CpuGenerator(random, kvm?.hardware ?? false),
      end: () => {
        simulated.end();
        real.end();
      },
    };
  },
});
