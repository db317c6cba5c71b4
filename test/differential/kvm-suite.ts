/** KVM: the commands of kvm-commands.ts, on VMs of one type. */
import type { Suite } from './engine.ts';
import { carryOut, observe } from './kvm-carry-out.ts';
import type { KvmCommand } from './kvm-commands.ts';
import { KvmGenerator } from './kvm-generate.ts';
import { KvmWorld } from './kvm-world.ts';
import type { Host } from './pair.ts';

const SEQUENCE = 50;

export const kvmSuite = ({ real: kernel, kvm, simulate }: Host, type: number): Suite<KvmCommand> => ({
  sequence: SEQUENCE,
  begin: () => {
    const simulated = new KvmWorld(simulate(), type);
    const real = new KvmWorld(kernel, type);
    const see = (world: KvmWorld, command: KvmCommand): string[] => [carryOut(world, command), ...observe(world)];
    return {
      step: (command) => [see(simulated, command), see(real, command)],
      lastLook: () => [[], []],
      generator: (random) => new KvmGenerator(random, { hardware: kvm?.hardware ?? false, type }),
      end: () => {
        simulated.end();
        real.end();
      },
    };
  },
});
