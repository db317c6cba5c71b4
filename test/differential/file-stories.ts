/** Commands for files that single ones hardly ever bring about in order: contents that go into a pipe and change, locks that outlive a descriptor. */
import { NODEMASKS } from './choices.ts';
import type { Command } from './commands.ts';
import type { Random } from './random.ts';
import { ARENA, FILE_SLOTS, PAGE } from './world.ts';

const P = BigInt(PAGE);

export function story(random: Random): [first: Command, ...rest: Command[]] {
  const [one, two, three] = [0, 1, 2].map((i) => (random.below(FILE_SLOTS) + i * 3) % FILE_SLOTS) as [
    number,
    number,
    number,
  ];
  const made: Command = { do: 'memfd', slot: one, name: 'story', flags: 2 };
  const filled: Command = {
    do: 'pwrite',
    slot: one,
    length: random.pick([PAGE, 2 * PAGE + 5]),
    byte: random.below(256),
    offset: 0n,
  };
  const piped: Command = { do: 'pipe', slot: two, other: three, flags: 0x800 };
  const look: Command = { do: 'read', slot: two, length: random.pick([100, PAGE, 3 * PAGE]) };
  switch (random.below(4)) {
    case 0: {
      const changed: Command = {
        do: 'pwrite',
        slot: one,
        length: 50,
        byte: random.below(256),
        offset: BigInt(random.below(PAGE)),
      };
      const length = BigInt(random.pick([60, PAGE, 2 * PAGE]));
      const goes: Command = random.once(2)
        ? { do: 'sendfile', slot: one, to: three, count: length }
        : { do: 'splice', slot: one, to: three, length, flags: 2 };
      return [made, filled, piped, { do: 'lseek', slot: one, offset: 0n, whence: 0 }, goes, changed, look];
    }
    case 1: {
      // Odd bytes share a slot of the pipe; how many pages still fit tells.
      const odd = (): Command => ({ do: 'write', slot: three, length: random.pick([1, 100, 3000]), byte: 1 });
      const at = BigInt(ARENA);
      const fixed: Command = { do: 'mmap', at, length: 20n * P, prot: 3, flags: 0x32, slot: one, offset: 0n };
      return [piped, odd(), odd(), fixed, { do: 'vmsplice', slot: three, at, length: 20n * P, flags: 2 }, look];
    }
    case 2: {
      const lock = (slot: number): Command => ({ do: 'flock', slot, operation: random.pick([5, 6, 6]) });
      const again: Command = { do: 'reopen', slot: two, from: one, flags: 2 };
      return [made, lock(one), again, lock(two), { do: 'close', slot: one }, lock(two)];
    }
    default: {
      const at = BigInt(ARENA + random.below(4) * PAGE);
      const shared: Command = { do: 'mmap', at, length: 2n * P, prot: 3, flags: 0x11, slot: one, offset: 0n };
      const bind: Command = {
        do: 'mbind',
        at,
        length: P,
        mode: random.pick([1, 2, 3]),
        nodes: NODEMASKS[3] ?? [],
        flags: 0,
      };
      const policy: Command = { do: 'policy', at, room: 8, flags: 2 };
      return [made, filled, shared, bind, policy, shared, policy];
    }
  }
}
