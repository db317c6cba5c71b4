/** What can be seen of a world between commands without changing it, and what a last look sees. */
import { FAULT_LENGTH, type Kernel, STAT, STAT_LENGTH } from '../../lib/kernel/kernel.ts';
import { digest, errnoOrValue } from './outcome.ts';
import { ARENA, ARENA_PAGES, FILE_SLOTS, MAP_SLOTS, PAGE, type World } from './world.ts';

const F_GETFD = 1;
const F_GETFL = 3;
const F_GET_SEALS = 1034;
const SEEK_CUR = 1;
const SEEK_DATA = 3;
const WINDOW = 3 * PAGE;

function observeFile(kernel: Kernel, fd: number, kind: string): string {
  const stat = new BigInt64Array(STAT_LENGTH);
  const statted = kernel.fstat(fd, stat);
  const shown = [STAT.mode, STAT.nlink, STAT.size, STAT.blksize, STAT.blocks, STAT.fsType].map((i) => stat[i]);
  const seals = kernel.fcntl(fd, F_GET_SEALS, 0);
  const flags = kernel.fcntl(fd, F_GETFL, 0);
  const position = new BigInt64Array(1);
  const sought = kernel.lseek(fd, 0, SEEK_CUR, position);
  const cache = new BigUint64Array(5);
  const cached = kernel.cachestat(fd, 0, 0, cache);
  const bytes = new Uint8Array(WINDOW);
  const read = kernel.pread(fd, bytes, 0);
  // The node of a device, and the inode that all anonymous files share, are the host's own.
  const statText = kind === 'null' || kind === 'eventfd' ? errnoOrValue(statted) : `${errnoOrValue(statted)}:${shown}`;
  return [
    statText,
    `seals ${errnoOrValue(seals)}`,
    `flags ${errnoOrValue(flags)}`,
    `fd ${kernel.fcntl(fd, F_GETFD, 0)}`,
    `at ${errnoOrValue(sought)}:${position[0]}`,
    `cache ${errnoOrValue(cached)}:${cache[0]}`,
    `reads ${errnoOrValue(read)}:${digest(bytes)}`,
  ].join('; ');
}

/** Offsets at which the data of a file begin and end. Moves the position and puts it back. */
function extents({ kernel }: World, fd: number): string {
  const before = new BigInt64Array(1);
  if (kernel.lseek(fd, 0, SEEK_CUR, before) < 0) return 'no extents';
  const found: string[] = [];
  const at = new BigInt64Array(1);
  let offset = 0n;
  for (let turn = 0; turn < 16; turn++) {
    const result = kernel.lseek(fd, offset, SEEK_DATA + (turn & 1), at);
    found.push(result === 0 ? String(at[0]) : errnoOrValue(result));
    if (result !== 0) break;
    offset = at[0] ?? 0n;
  }
  kernel.lseek(fd, before[0] ?? 0n, 0, at);
  return found.join(' ');
}

/** Residency of the arena, mapping by mapping. */
function residency({ kernel }: World): string {
  let text = '';
  const vec = new Uint8Array(1);
  for (let page = 0; page < ARENA_PAGES; page++) {
    const result = kernel.mincore(ARENA + page * PAGE, PAGE, vec);
    text += result === 0 ? String((vec[0] ?? 0) & 1) : '-';
  }
  return text;
}

/** After every command: nothing here allocates or moves anything. */
export function observe(world: World): string[] {
  const seen = [`arena ${residency(world)}`];
  for (let slot = 0; slot < FILE_SLOTS; slot++) {
    const kind = world.kind(slot);
    // What KVM's own descriptors are belongs to the tests of KVM.
    if (kind === 'none' || kind === 'vm' || kind === 'kvm') continue;
    const fd = world.fd(slot);
    seen.push(`f${slot} ${kind}: ${observeFile(world.kernel, fd, kind)}; data ${extents(world, fd)}`);
  }
  return seen;
}

/** At the end: every byte that can be reached. Reading allocates pages, so nothing comes after it. */
export function lookAtMemory(world: World): string[] {
  const { kernel } = world;
  const page = new Uint8Array(PAGE);
  const fault = new BigInt64Array(FAULT_LENGTH);
  const look = (name: string, at: number): string => {
    const done = kernel.copyOut(at, page, fault);
    return `${name} ${done} ${fault[0]}/${fault[1]} ${digest(page.subarray(0, done))}`;
  };
  const seen: string[] = [];
  for (let i = 0; i < ARENA_PAGES; i++) seen.push(look(`arena+${i}`, ARENA + i * PAGE));
  for (let slot = 0; slot < MAP_SLOTS; slot++) {
    const map = world.maps[slot];
    if (map === undefined) continue;
    const pages = Math.min(8, Math.ceil(map.length / PAGE));
    for (let i = 0; i < pages; i++) seen.push(look(`m${slot}+${i}`, map.base + i * PAGE));
  }
  return seen;
}
