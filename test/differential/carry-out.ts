/** Carries out commands on a kernel. */
import { FAULT_LENGTH } from '../../lib/kernel/kernel.ts';
import type { At, Command } from './commands.ts';
import { digest, errnoOrValue, type Outcome } from './outcome.ts';
import { type FileKind, PAGE, type World } from './world.ts';

/** Bytes that differ from page to page. */
export const pattern = (length: number, byte: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (byte + i * 7 + (i >> 12)) & 0xff);

const MAKES_FD = 1;
const F_GETFL = 3;
const F_SETFL = 4;
/** Not asked: it would harm the host, or wait for ever. */
const LEFT_ALONE = 'left alone';
/** The nodes of devices, and the inode that anonymous files share, are the host's; the number of a closed file may be anybody's. */
const HAS_ITS_INODE: readonly FileKind[] = ['memfd', 'secret', 'gmem', 'pipe'];
const CREATE_GUEST_MEMFD = 0xc040aed4;

function gmem({ kernel, vm }: World, size: bigint, flags: bigint): number {
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, size, true);
  view.setBigUint64(8, flags, true);
  return kernel.ioctl(vm?.vm ?? -1, CREATE_GUEST_MEMFD, bytes, MAKES_FD);
}

/** The address, and as much of the length as stays inside: behind a mapping that the kernel placed lies memory of others. */
function within(world: World, at: At, length: bigint): { at: bigint; length: bigint } {
  if (typeof at === 'bigint') return { at, length };
  const map = world.maps[at.map];
  // A mapping that was refused lies nowhere: the zero page is nobody's.
  if (map === undefined) return { at: BigInt(at.offset % PAGE), length: length < 64n ? length : 64n };
  const room = BigInt(Math.ceil(map.length / PAGE) * PAGE);
  const offset = BigInt(at.offset) % room;
  return { at: BigInt(map.base) + offset, length: length < room - offset ? length : room - offset };
}

/** Whether bytes could be moved onto themselves: what becomes of them is the business of the processor's copy instructions. */
function overlaps(world: World, from: number, to: number): boolean {
  if (world.kind(to) === 'pipe') return false;
  const target = world.inode(to);
  if (target === 0n || !HAS_ITS_INODE.includes(world.kind(to))) return false;
  if (world.kind(from) !== 'pipe') return world.inode(from) === target;
  return world.lentMemory || world.lentInodes.has(target);
}

/** Reads a byte of each page, so that all that can be are in the page tables: pinning asks those first. */
function touch({ kernel }: World, at: bigint, length: bigint): void {
  if (length > 2n ** 20n) return;
  for (let page = at; page < at + length; page = (page | 4095n) + 1n) kernel.copyOut(page, new Uint8Array(1));
}

function make(world: World, slot: number, kind: FileKind, fd: number): Outcome {
  if (fd >= 0) world.keep(slot, fd, kind);
  return errnoOrValue(fd, 'fd');
}

/** How far into [at, at + length) the page after that of byte `i` is. */
const nextPage = (at: bigint, i: number, length: number): number =>
  Math.min(length, i + PAGE - Number((at + BigInt(i)) & 4095n));

interface Copy {
  readonly writes: boolean;
  go(address: bigint, fault: BigInt64Array, length: number): number;
  /** What was read. */
  readonly bytes?: Uint8Array;
}

/**
 * A copy: how far it came, what stopped it, and the bytes that it saw. The C library copies in an order of its own, so that pages behind
 * the place that stopped it may have been touched, or even written, or not: they are touched or zeroed one by one on both sides.
 */
function copy(world: World, { at, length }: { at: At; length: number }, { writes, go, bytes }: Copy): Outcome {
  const fault = new BigInt64Array(FAULT_LENGTH).fill(-1n);
  const { at: address, length: inside } = within(world, at, BigInt(length));
  const done = go(address, fault, Number(inside));
  const [signal = 0n, code = 0n, where = 0n] = fault;
  if (signal !== 0n) {
    for (let rest = address + BigInt(done); rest < address + inside; rest = (rest | 4095n) + 1n) {
      const part = Math.min(PAGE - Number(rest & 4095n), Number(address + inside - rest));
      if (writes) world.kernel.fill(rest, part, 0);
      else world.kernel.copyOut(rest, new Uint8Array(part));
    }
  }
  const stop = signal === 0n ? 'whole' : `signal ${signal} code ${code} at +${BigInt.asUintN(64, where) - address}`;
  return `${done}, ${stop}${bytes === undefined ? '' : `, ${digest(bytes.subarray(0, done))}`}`;
}

/** Carries out a command and says, in words that do not depend on the kernel's own numbers, what came of it. */
export function carryOut(world: World, command: Command): Outcome {
  try {
    return perform(world, command);
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) return error.constructor.name;
    throw error;
  }
}

function perform(world: World, c: Command): Outcome {
  const { kernel } = world;
  const kind = 'slot' in c ? world.kind(c.slot) : 'none';
  switch (c.do) {
    case 'memfd':
      return make(world, c.slot, 'memfd', kernel.memfdCreate(c.name, c.flags));
    case 'secret':
      return make(world, c.slot, 'secret', kernel.memfdSecret(c.flags));
    case 'eventfd':
      return make(world, c.slot, 'eventfd', kernel.eventfd(c.initial, c.flags));
    case 'gmem':
      return make(world, c.slot, 'gmem', gmem(world, c.size, c.flags));
    case 'open':
      return make(world, c.slot, 'null', kernel.open(c.path, c.flags, 0));
    case 'reopen': {
      const from = world.kind(c.from);
      // Opening one end of a pipe may wait for the other.
      const flags = from === 'pipe' ? c.flags | 0x800 : c.flags;
      return make(world, c.slot, from, kernel.open(`/proc/self/fd/${world.fd(c.from)}`, flags, 0));
    }
    case 'dup': {
      const from = world.kind(c.from);
      return make(world, c.slot, from, kernel.fcntl(world.fd(c.from), 1030, c.least));
    }
    case 'close':
      return errnoOrValue(world.drop(c.slot));
    case 'fcntl':
      // A sequence that is cut down may meet another kind of file than it was made for.
      if (
        c.command === F_SETFL &&
        (kind === 'vm' || kind === 'kvm' || ((kind === 'eventfd' || kind === 'pipe') && (c.arg & 0x800) === 0))
      ) {
        return LEFT_ALONE;
      }
      return errnoOrValue(kernel.fcntl(world.fd(c.slot), c.command, c.arg));
    case 'ftruncate':
      return errnoOrValue(kernel.ftruncate(world.fd(c.slot), c.length));
    case 'fchmod':
      if (!HAS_ITS_INODE.includes(kind)) return LEFT_ALONE;
      return errnoOrValue(kernel.fchmod(world.fd(c.slot), c.mode));
    case 'fallocate':
      return errnoOrValue(kernel.fallocate(world.fd(c.slot), c.mode, c.offset, c.length));
    case 'lseek': {
      const out = new BigInt64Array(1);
      const result = kernel.lseek(world.fd(c.slot), c.offset, c.whence, out);
      return result === 0 ? `at ${out[0]}` : errnoOrValue(result);
    }
    case 'read': {
      const into = new Uint8Array(c.length);
      const result = kernel.read(world.fd(c.slot), into);
      return `${errnoOrValue(result)} ${digest(into)}`;
    }
    case 'write':
      return errnoOrValue(kernel.write(world.fd(c.slot), pattern(c.length, c.byte)));
    case 'pread': {
      const into = new Uint8Array(c.length);
      const result = kernel.pread(world.fd(c.slot), into, c.offset);
      return `${errnoOrValue(result)} ${digest(into)}`;
    }
    case 'pwrite':
      return errnoOrValue(kernel.pwrite(world.fd(c.slot), pattern(c.length, c.byte), c.offset));
    case 'cachestat': {
      const out = new BigUint64Array(5);
      const result = kernel.cachestat(world.fd(c.slot), c.offset, c.length, out);
      return result === 0 ? `cached ${out.join(' ')}` : errnoOrValue(result);
    }
    case 'mmap': {
      const result = kernel.mmap(c.at, c.length, c.prot, c.flags, world.fd(c.slot), c.offset);
      if (result < 0 || c.map === undefined) return errnoOrValue(result);
      world.keepMap(c.map, result, Number(c.length));
      return 'mapped';
    }
    case 'readlink': {
      const into = new Uint8Array(c.room);
      const result = kernel.readlink(`/proc/self/fd/${world.fd(c.slot)}`, into);
      if (result < 0) return errnoOrValue(result);
      // The numbers of inodes are each kernel's own.
      return new TextDecoder().decode(into.subarray(0, result)).replace(/\[\d+\]?/, '[N]');
    }
    case 'fchown':
      if (!HAS_ITS_INODE.includes(kind)) return LEFT_ALONE;
      return errnoOrValue(kernel.fchown(world.fd(c.slot), 0, 0));
    case 'flock':
      if (!HAS_ITS_INODE.includes(kind)) return LEFT_ALONE;
      return errnoOrValue(kernel.flock(world.fd(c.slot), c.operation));
    case 'lease':
      // Opening a file again would wait for the lease.
      if (kind === 'memfd' && c.lease === 0) return LEFT_ALONE;
      return `${errnoOrValue(kernel.fcntl(world.fd(c.slot), 1024, c.lease))}, ${kernel.fcntl(world.fd(c.slot), 1025, 0)}`;
    case 'poll':
      return errnoOrValue(kernel.poll(world.fd(c.slot), c.events));
    case 'fsync':
      return errnoOrValue(kernel[c.data ? 'fdatasync' : 'fsync'](world.fd(c.slot)));
    case 'syncRange':
      return errnoOrValue(kernel.syncFileRange(world.fd(c.slot), c.offset, c.length, c.how));
    case 'fadvise':
      return errnoOrValue(kernel.fadvise(world.fd(c.slot), c.offset, c.length, c.how));
    case 'readahead':
      return errnoOrValue(kernel.readahead(world.fd(c.slot), c.offset, c.count));
    case 'pipe': {
      const out = new BigInt64Array(2);
      const result = kernel.pipe(c.flags, out);
      if (result < 0) return errnoOrValue(result);
      world.keep(c.slot, Number(out[0]), 'pipe');
      world.keep(c.other, Number(out[1]), 'pipe');
      return 'piped';
    }
    case 'splice': {
      if (overlaps(world, c.slot, c.to)) return LEFT_ALONE;
      const done = kernel.splice(world.fd(c.slot), world.fd(c.to), c.length, c.flags);
      if (done > 0 && kind !== 'pipe') world.lentInodes.add(world.inode(c.slot));
      return errnoOrValue(done);
    }
    case 'copyRange':
      return errnoOrValue(kernel.copyFileRange(world.fd(c.slot), world.fd(c.to), c.length, c.flags));
    case 'sendfile': {
      if (overlaps(world, c.slot, c.to)) return LEFT_ALONE;
      const done = kernel.sendfile(world.fd(c.to), world.fd(c.slot), c.count);
      if (done > 0 && world.kind(c.to) === 'pipe') world.lentInodes.add(world.inode(c.slot));
      return errnoOrValue(done);
    }
    case 'vmsplice': {
      const { at, length } = within(world, c.at, c.length);
      // The end to read from, or one of both kinds, writes to memory.
      const reads = kernel.fcntl(world.fd(c.slot), F_GETFL, 0) % 4 !== 1;
      if (reads && (world.lentMemory || world.lentInodes.size > 0)) return LEFT_ALONE;
      if (!reads) touch(world, at, length);
      const done = kernel.vmsplice(world.fd(c.slot), at, length, c.flags);
      if (done > 0 && !reads) world.lentMemory = true;
      return errnoOrValue(done);
    }
    case 'mlock': {
      const { at, length } = within(world, c.at, c.length);
      return errnoOrValue(kernel.mlock(at, length, c.flags));
    }
    case 'munlock': {
      const { at, length } = within(world, c.at, c.length);
      return errnoOrValue(kernel.munlock(at, length));
    }
    case 'msync': {
      const { at, length } = within(world, c.at, c.length);
      return errnoOrValue(kernel.msync(at, length, c.flags));
    }
    case 'mbind': {
      const { at, length } = within(world, c.at, c.length);
      return errnoOrValue(kernel.mbind(at, length, c.mode, Uint8Array.from(c.nodes), c.flags));
    }
    case 'policy': {
      const out = new BigInt64Array(1);
      const nodes = new Uint8Array(c.room).fill(0xee);
      const { at } = within(world, c.at, 1n);
      if ((c.flags & 1) !== 0) touch(world, at, 1n);
      const result = kernel.getMempolicy(out, nodes, at, c.flags);
      return result < 0 ? errnoOrValue(result) : `mode ${out[0]} nodes ${digest(nodes)}`;
    }
    case 'vmRead': {
      const { at, length } = within(world, c.at, BigInt(c.length));
      const into = new Uint8Array(Number(length));
      return `${errnoOrValue(kernel.processVmReadv(at, into))} ${digest(into)}`;
    }
    case 'vmWrite': {
      const { at, length } = within(world, c.at, BigInt(c.length));
      return errnoOrValue(kernel.processVmWritev(at, pattern(Number(length), c.byte)));
    }
    case 'munmap': {
      const { at, length } = within(world, c.at, c.length);
      return errnoOrValue(kernel.munmap(at, length));
    }
    case 'mprotect': {
      const { at, length } = within(world, c.at, c.length);
      return errnoOrValue(kernel.mprotect(at, length, c.prot));
    }
    case 'madvise': {
      const { at, length } = within(world, c.at, c.length);
      return errnoOrValue(kernel.madvise(at, length, c.advice));
    }
    case 'mincore': {
      const vec = new Uint8Array(c.room);
      const { at, length } = within(world, c.at, c.length);
      const result = kernel.mincore(at, length, vec);
      return `${errnoOrValue(result)} ${result === 0 ? vec.map((byte) => byte & 1).join('') : ''}`;
    }
    case 'copyOut': {
      const bytes = new Uint8Array(c.length);
      const go: Copy['go'] = (at, fault, length) => kernel.copyOut(at, bytes.subarray(0, length), fault);
      return copy(world, c, { writes: false, go, bytes });
    }
    case 'copyIn': {
      const bytes = pattern(c.length, c.byte);
      const go: Copy['go'] = (at, fault, length) => {
        const part = (i: number): number => kernel.copyIn(at + BigInt(i), bytes.subarray(i, nextPage(at, i, length)));
        // Where two of the pages are one page of a file, or a private copy of one, the order counts, and the C library has its own:
        // so all pages are touched before, and written again afterwards, in the order of addresses.
        for (let i = 0; i < length; i = nextPage(at, i, length))
          kernel.copyIn(at + BigInt(i), bytes.subarray(i, i + 1));
        const done = kernel.copyIn(at, bytes.subarray(0, length), fault);
        for (let i = 0; i < done; i = nextPage(at, i, length)) part(i);
        return done;
      };
      return copy(world, c, { writes: true, go });
    }
    case 'fill': {
      const go: Copy['go'] = (at, fault, length) => {
        for (let i = 0; i < length; i = nextPage(at, i, length)) kernel.fill(at + BigInt(i), 1, c.byte);
        return kernel.fill(at, length, c.byte, fault);
      };
      return copy(world, c, { writes: true, go });
    }
    case 'compare': {
      const bytes = new Uint8Array(c.length);
      const read: Copy['go'] = (at, fault, length) => kernel.copyOut(at, bytes.subarray(0, length), fault);
      const go: Copy['go'] = (at, fault, length) => kernel.compare(at, new Uint8Array(length).fill(c.byte), fault);
      // First all is read: how far memcmp looks ahead of a difference is its own affair.
      copy(world, c, { writes: false, go: read });
      return copy(world, c, { writes: false, go });
    }
  }
}
