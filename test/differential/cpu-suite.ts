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
    // A processor has what it is told of; where KVM emulates all, programs run without a word about it, or say it themselves.
    const known = kvm?.hardware ? kvm.cpuid : [];
    const simulated = new CpuWorld(simulate(), known);
    const real = new CpuWorld(kernel, known);
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
