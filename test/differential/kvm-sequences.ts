/** Commands of KVM that only show something together, and that chance alone would seldom put in a row. */
import type { KvmCommand, RegionCommand } from './kvm-commands.ts';
import { PAGE } from './kvm-world.ts';
import type { Random } from './random.ts';

const P = BigInt(PAGE);

/** Two slots with neighbouring or overlapping parts of one file. */
export function bindTwice(random: Random): KvmCommand[] {
  const pages = () => BigInt(1 + random.below(3)) * P;
  const bind = (slot: number, gpa: bigint, offset: bigint): RegionCommand => ({
    ...{ do: 'region', vm: 0, v2: true, slot, flags: 4, gpa, size: pages(), hva: gpa, absolute: false },
    ...{ file: random.below(2), offset },
  });
  const remove = [4, 5].map((slot): RegionCommand => ({ ...bind(slot, 0n, 0n), v2: false, flags: 0, size: 0n }));
  return [...remove, bind(4, 0n, pages()), { ...bind(5, 8n * P, pages() - P) }];
}

/** A log that is taken between two writes to one page. */
export function logTwice(random: Random, gfns: number): KvmCommand[] {
  const slot = random.below(4);
  const gpa = BigInt(random.below(gfns)) * P;
  const region = { do: 'region', vm: 0, v2: false, slot, absolute: false, file: -1, offset: 0n } as const;
  const write = {
    do: 'guest',
    access: 'write',
    gpa: Number(gpa),
    size: 4,
    answer: 0,
    pause: false,
    serve: false,
  } as const;
  const log = { do: 'dirtyLog', vm: 0, slot } as const;
  const created = { ...region, flags: 1, gpa, size: 2n * P, hva: 0n };
  const moved = { ...created, gpa: BigInt(random.below(gfns)) * P };
  const writes = [1, 2].map((value) => ({ ...write, value }));
  return [{ ...created, size: 0n, flags: 0 }, created, ...writes.slice(0, 1), log, ...writes, moved, log, log];
}

/** A log that is cleared by hand, in part, between writes. */
export function clearByHand(random: Random): KvmCommand[] {
  const slot = random.below(4);
  const gpa = BigInt(random.below(8)) * P;
  const region = { do: 'region', vm: 0, v2: false, slot, absolute: false, file: -1, offset: 0n } as const;
  const created = { ...region, flags: 0, gpa, size: 4n * P, hva: 0n };
  const write = (page: number): KvmCommand => ({
    ...{ do: 'guest', access: 'write', gpa: Number(gpa) + page * PAGE, size: 4, value: random.next() },
    ...{ answer: 0, pause: false, serve: false },
  });
  const log = { do: 'dirtyLog', vm: 0, slot } as const;
  const bits = BigInt(1 + random.below(15));
  const clear = { do: 'clearLog', vm: 0, slot, first: 0n, pages: 4, bits } as const;
  const enable = { do: 'enableCap', vm: 0, cap: 168, flags: 0, arg: random.pick([0n, 1n, 3n]) } as const;
  const writes = [write(random.below(4)), write(random.below(4))];
  const begin = [{ ...created, size: 0n }, created, enable, { ...created, flags: 1 }];
  return [...begin, ...writes, log, clear, log, ...writes, log];
}

/** A page that has both sides, written and read on each of them, with a hole punched on the way. */
export function convert(random: Random): KvmCommand[] {
  const slot = 4 + random.below(2);
  const page = random.below(4);
  const at = BigInt(page) * P;
  const region: RegionCommand = {
    ...{ do: 'region', vm: 0, v2: true, slot, flags: 4, gpa: 0n, size: 4n * P, hva: BigInt(random.below(8)) * P },
    ...{ absolute: false, file: random.below(3), offset: BigInt(random.below(3)) * P },
  };
  const access = (kind: 'read' | 'write' | 'hypercall', value: number): KvmCommand => ({
    ...{ do: 'guest', access: kind, gpa: page * PAGE, size: 4, value, answer: 0, pause: false, serve: true },
  });
  const turn = (attributes: bigint): KvmCommand =>
    random.once(3)
      ? access('hypercall', attributes === 0n ? 0x30c : 0x31c)
      : { do: 'attributes', vm: 0, address: at, size: P * BigInt(1 + random.below(2)), attributes, flags: 0n };
  const punch: KvmCommand = {
    do: 'fallocate',
    file: random.below(3),
    punch: !random.once(4),
    offset: 0n,
    length: 8n * P,
  };
  const fault: KvmCommand = { do: 'preFault', gpa: at, size: P * BigInt(1 + random.below(4)), flags: 0n };
  const steps = [turn(8n), access('write', random.next()), turn(0n), access('read', 1), access('write', random.next())];
  const more = [turn(8n), access('read', 2), fault, turn(0n), access('read', 3)];
  const order = random.once(2) ? [...steps, ...more] : [...steps, punch, ...more];
  return [{ ...region, v2: false, flags: 0, size: 0n }, region, ...order];
}
