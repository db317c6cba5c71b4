/** Files and memory: the commands of commands.ts. */
import { carryOut } from './carry-out.ts';
import type { Command } from './commands.ts';
import type { Suite } from './engine.ts';
import { Generator } from './generate.ts';
import { lookAtMemory, observe } from './observe.ts';
import { type Host, vmOf } from './pair.ts';
import { World } from './world.ts';

const SEQUENCE = 60;

/** Fresh worlds each time; the real one keeps its VM, since making VMs is slow. */
export const filesSuite = ({ real: kernel, kvm, simulate }: Host): Suite<Command> => ({
  sequence: SEQUENCE,
  begin: () => {
    const twin = simulate();
    const twinVm = kvm === undefined ? undefined : vmOf(twin);
    if (typeof twinVm === 'string') throw new Error(twinVm);
    const simulated = new World({ kernel: twin, vm: twinVm });
    const real = new World({ kernel, vm: kvm?.vm });
    return {
      step: (command) => {
        const outcomes = [carryOut(simulated, command), carryOut(real, command)] as const;
        if (outcomes[0] !== outcomes[1]) return [[outcomes[0]], [outcomes[1]]];
        return [
          [outcomes[0], ...observe(simulated)],
          [outcomes[1], ...observe(real)],
        ];
      },
      lastLook: () => [lookAtMemory(simulated), lookAtMemory(real)],
      generator: (random) => new Generator(random, real, kvm !== undefined),
      end: () => {
        simulated.end();
        real.end();
      },
    };
  },
});
