/** Random stories of two guests, a host and their flags. */
import type { BesideCommand, Program, VcpuIndex } from './beside-commands.ts';
import type { Random } from './random.ts';

const PROGRAMS: readonly Program[] = ['none', 'wait', 'wait', 'wait', 'relay', 'relay', 'signal', 'later'];

export class BesideGenerator {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  next(): BesideCommand {
    const random = this.#random;
    const vcpu = random.below(2) as VcpuIndex;
    const program = random.pick(PROGRAMS);
    const dice = random.below(20);
    if (dice < 8) return { do: 'start', vcpu, program };
    if (dice < 10) return { do: 'run', vcpu, program };
    if (dice < 12) return { do: 'run', vcpu, program: 'wait', beside: 'later' };
    if (dice < 15) return { do: 'flag', vcpu, value: random.once(3) ? 0 : 1 + random.below(255) };
    if (dice < 17) return { do: 'kick', vcpu };
    if (dice < 18) return { do: 'kickAndAsk', vcpu };
    return dice < 19 ? { do: 'detach', vcpu } : { do: 'other', waits: random.once(2) };
  }
}
