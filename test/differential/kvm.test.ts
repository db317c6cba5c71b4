/**
 * The simulated KVM against this host's: the same random requests, host accesses and guest programs on both, the same outcomes, exits and
 * contents after each. PRIVMEM_SEED repeats a run, PRIVMEM_COMMANDS makes it longer.
 */
import { expect, it } from 'vitest';
import type { Kernel } from '../../lib/kernel/kernel.ts';
import { nearestRelease } from '../../lib/sim/profile.ts';
import { simulate } from '../../lib/sim/simulate.ts';
import { KVM_CAP, KVM_CHECK_EXTENSION } from '../../lib/uapi/index.ts';
import { describeKvm } from '../support/kvm.ts';
import { carryOut, observe } from './kvm-carry-out.ts';
import type { KvmCommand } from './kvm-commands.ts';
import { KvmGenerator } from './kvm-generate.ts';
import { makesHypercalls } from './kvm-guest.ts';
import { KvmWorld } from './kvm-world.ts';
import { Random } from './random.ts';

const SEQUENCE = 50;
const seed = Number(process.env.PRIVMEM_SEED ?? Date.now() % 1_000_000);
const wanted = Number(process.env.PRIVMEM_COMMANDS ?? 4000);

/** What the host has decides what is simulated. */
function twin(real: Kernel, kvm: number, hardware: boolean): Kernel {
  const ask = (name: keyof typeof KVM_CAP.value): number =>
    real.ioctl(kvm, KVM_CHECK_EXTENSION.request, KVM_CAP.value[name]);
  return simulate({
    release: nearestRelease(real.release),
    technologies: (ask('KVM_CAP_VM_TYPES') & 2) === 0 ? [] : ['sw-protected'],
    twoDimensionalPaging: ask('KVM_CAP_PRE_FAULT_MEMORY') !== 0,
    cpus: ask('KVM_CAP_NR_VCPUS'),
    emulatesGuests: !hardware,
    fdLimit: 20_000,
  });
}

interface Pair {
  readonly simulated: KvmWorld;
  readonly real: KvmWorld;
}

/** The first command after which the two differ, and how. */
function play(make: () => Pair, commands: Iterable<KvmCommand>): { index: number; text: string } | undefined {
  const { simulated, real } = make();
  try {
    let index = 0;
    for (const command of commands) {
      const a = [carryOut(simulated, command), ...observe(simulated)];
      const b = [carryOut(real, command), ...observe(real)];
      const at = a.findIndex((line, i) => line !== b[i]);
      if (at >= 0) return { index, text: `simulated: ${a[at]}\nreal:      ${b[at]}` };
      index++;
    }
    return undefined;
  } finally {
    simulated.end();
    real.end();
  }
}

/** Takes out whatever is not needed for the difference to show. */
function shrink(make: () => Pair, commands: readonly KvmCommand[]): KvmCommand[] {
  let rest = [...commands];
  for (let size = Math.ceil(rest.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < rest.length; ) {
      const without = [...rest.slice(0, at), ...rest.slice(at + size)];
      if (play(make, without) !== undefined) rest = without;
      else at += size;
    }
  }
  return rest;
}

const literal = (command: KvmCommand): string =>
  JSON.stringify(command, (_, value) => (typeof value === 'bigint' ? `${value}n` : value)).replace(/"(\d+n)"/g, '$1');

describeKvm(
  'the simulated KVM and the real one',
  ({ sys, kvm }) => {
    it(`agree on ${wanted} commands, seed ${seed}`, { timeout: 0 }, () => {
      const real = sys.kernel;
      const probe = new KvmWorld(real);
      const hardware = makesHypercalls(probe);
      probe.end();
      if (!hardware) console.warn('guests of this KVM cannot make hypercalls: they are left out');
      const make = (): Pair => ({ simulated: new KvmWorld(twin(real, kvm.fd, hardware)), real: new KvmWorld(real) });
      for (let done = 0, run = 0; done < wanted; done += SEQUENCE, run++) {
        const generator = new KvmGenerator(new Random((seed + run * 1_000_003) >>> 0), hardware);
        const commands = Array.from({ length: SEQUENCE }, () => generator.next());
        const found = play(make, commands);
        if (found === undefined) continue;
        const short = shrink(make, commands.slice(0, found.index + 1));
        const again = play(make, short);
        expect.fail(`seed ${seed + run * 1_000_003}:\n${again?.text}\nafter\n${short.map(literal).join('\n')}`);
      }
    });
  },
  { arch: 'x64' },
);
