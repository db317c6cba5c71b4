/**
 * A storm of conversions: vCPUs that convert random ranges of interleaved blocks, all at once. Every page holds a word that guest and host know;
 * each looks before and after every conversion, the host at what it can see. Nothing may be lost, and every page lies on one side only.
 */
import { program, type x64 } from '../../../lib/guest/index.ts';
import type { Kvm, Vcpu, Vm } from '../../../lib/index.ts';
import { GuestMemory, GuestPrograms, Machine, type Residency } from '../../../lib/machine/index.ts';

export interface StormOptions {
  /** Conversions that the guest asks for, all vCPUs together. */
  readonly conversions: number;
  readonly vcpus: number;
  readonly seed: number;
  /** Default 2048. */
  readonly pages?: number;
}

export interface StormResult {
  /** Hypercalls served. */
  readonly asked: number;
  /** Pages that changed sides. */
  readonly pages: number;
  /** Words that the host compared. */
  readonly comparedByHost: number;
  /** What the ledger says, in bytes. */
  readonly ledger: Residency;
  readonly residency: Residency;
  readonly fragments: number;
}

const PAGE = 4096;
/** A word at each end of a page. */
const LAST = PAGE - 8;
const RAM = 0x1_0000_0000;
const LOW = 0x40_0000;
const PROGRAMS = 0x10_0000;
const ROOM = 0x1_0000;
/** For each page the word that it holds, for guest and host to compare. */
const TABLE = 0x20_0000;
/** Pages of a block, which belongs to one vCPU; its neighbours belong to others. */
const BLOCK = 16;
const BAD = { gpa: 1, seen: 2, expected: 3 } as const;
const MAP_GPA_RANGE_BIT = 1 << 12;

type Guest = x64.X64Builder;
type Word = ReturnType<Guest['value']>;

function touches(g: Guest, pages: number): void {
  g.touch(RAM, pages * PAGE);
  g.touch(TABLE, pages * 8);
}

function fail(g: Guest, gpa: Word, seen: Word, expected: Word): void {
  g.report(BAD.gpa, gpa);
  g.report(BAD.seen, seen);
  g.report(BAD.expected, expected);
  g.halt();
}

function checkPage(g: Guest, page: Word): void {
  const gpa = page.shl(12).add(RAM);
  const expected = g.load(page.shl(3).add(TABLE));
  for (const at of [gpa, gpa.add(LAST)]) {
    const seen = g.load(at);
    g.when(seen.ne(expected), () => fail(g, at, seen, expected));
  }
}

function storePage(g: Guest, page: Word, word: Word): void {
  const gpa = page.shl(12).add(RAM);
  g.store(gpa, word);
  g.store(gpa.add(LAST), word);
  g.store(page.shl(3).add(TABLE), word);
}

/** What vCPU `id` does. */
function stormProgram(g: Guest, id: number, { vcpus, conversions, seed, pages = 2048 }: StormOptions): void {
  touches(g, pages);
  const own = pages / BLOCK / vcpus;
  const random = g.variable(BigInt(seed) * 0x9e37_79b9n + BigInt(id) + 1n);
  g.repeat(own * BLOCK, (i) => {
    const page = i
      .shr(4)
      .mul(vcpus)
      .add(id)
      .mul(BLOCK)
      .add(i.and(BLOCK - 1));
    storePage(g, page, page.add(1));
  });
  const status = g.variable(0);
  const length = g.variable(0);
  g.repeat(Math.ceil(conversions / vcpus), () => {
    random.set(random.xor(random.shl(13)));
    random.set(random.xor(random.shr(7)));
    random.set(random.xor(random.shl(17)));
    const block = random
      .shr(8)
      .and(own - 1)
      .mul(vcpus)
      .add(id);
    const inBlock = random.shr(24).and(BLOCK - 1);
    const first = block.mul(BLOCK).add(inBlock);
    length.set(
      random
        .shr(32)
        .and(BLOCK - 1)
        .add(1),
    );
    const room = g.value(BLOCK).sub(inBlock);
    g.when(length.gt(room), () => length.set(room));
    g.repeat(length, (i) => checkPage(g, first.add(i)));
    const gpa = first.shl(12).add(RAM);
    g.when(
      random.shr(40).and(1).eq(0),
      () => status.set(g.mapGpaRange(gpa, length, { private: true })),
      () => status.set(g.mapGpaRange(gpa, length, { private: false })),
    );
    g.when(status.ne(0), () => fail(g, gpa, status, g.value(0)));
    g.repeat(length, (i) => {
      const page = first.add(i);
      checkPage(g, page);
      storePage(g, page, random.xor(page));
    });
  });
}

/** The host's half: looks at shared pages when they come and go, and leaves a word of its own. */
class Host {
  readonly #memory: GuestMemory;
  readonly #table: BigUint64Array;
  compared = 0;
  pages = 0;

  constructor(memory: GuestMemory, pages: number) {
    this.#memory = memory;
    const view = memory.region('low').mapping.unsafeView({ offset: TABLE, length: pages * 8 });
    this.#table = new BigUint64Array(view.buffer, view.byteOffset, pages);
    memory.on('discard', ({ side, gpa, size }) => {
      if (side === 'shared') this.#each(gpa, size, (page) => this.look(page, this.#table[page] ?? 0n));
    });
    memory.on('convert', ({ ranges, to }) => {
      for (const { gpa, size } of ranges) {
        this.pages += size / PAGE;
        this.#each(gpa, size, (page) => {
          if (to === 'shared') this.#leaveWord(page);
          else this.#table[page] = 0n;
        });
      }
    });
  }

  #each(gpa: number, size: number, visit: (page: number) => void): void {
    for (let page = (gpa - RAM) / PAGE, end = page + size / PAGE; page < end; page++) visit(page);
  }

  #leaveWord(page: number): void {
    // Discarded when it was left, so there is nothing old in it.
    this.look(page, 0n);
    const word = BigInt(this.pages) * 0x1_0000n + BigInt(page);
    const bytes = new Uint8Array(new BigUint64Array([word]).buffer);
    this.#memory.write(RAM + page * PAGE, bytes);
    this.#memory.write(RAM + page * PAGE + LAST, bytes);
    this.#table[page] = word;
  }

  look(page: number, expected: bigint): void {
    for (const offset of [0, LAST]) {
      const bytes = this.#memory.read(RAM + page * PAGE + offset, 8);
      const seen = new DataView(bytes.buffer).getBigUint64(0, true);
      this.compared++;
      if (seen !== expected)
        throw new Error(`page ${page}+${offset}: the host sees 0x${seen.toString(16)}, not 0x${expected.toString(16)}`);
    }
  }

  /** Every shared page, once more. */
  lookAtAll(): void {
    for (const { gpa, size, side } of this.#memory.ledger.runs({ gpa: RAM, size: this.#table.length * PAGE })) {
      if (side === 'shared') this.#each(gpa, size, (page) => this.look(page, this.#table[page] ?? 0n));
    }
  }
}

function assertSound(programs: GuestPrograms, vcpus: readonly Vcpu[]): void {
  for (const { id } of vcpus) {
    const { reports } = programs.result(id);
    const gpa = reports.get(BAD.gpa);
    if (gpa === undefined) continue;
    const words = [BAD.seen, BAD.expected].map((tag) => `0x${reports.get(tag)?.toString(16)}`);
    throw new Error(`vCPU ${id} at gpa 0x${gpa.toString(16)}: sees ${words[0]}, expected ${words[1]}`);
  }
}

/** Throws at the first word that is not what it must be. `vm` has private memory and no memslots. */
export async function storm(kvm: Kvm, vm: Vm, options: StormOptions): Promise<StormResult> {
  const { vcpus: count, pages = 2048 } = options;
  using memory = new GuestMemory(vm);
  memory.addRam({ name: 'low', gpa: 0, size: LOW, shared: 'memfd' });
  memory.addRam({ name: 'ram', gpa: RAM, size: pages * PAGE, shared: 'memfd', private: true, initial: 'private' });
  vm.enableExitHypercall(MAP_GPA_RANGE_BIT);
  const cpuid = kvm.supportedCpuid();
  const vcpus = Array.from({ length: count }, (_, id) => vm.createVcpu(id));
  for (const vcpu of vcpus) vcpu.x64.setCpuid(cpuid);
  const failures: unknown[] = [];
  // A listener of `convert` must not be taken for a refusal of the kernel: the hypercall would go on with an errno.
  const machine = new Machine({
    vm,
    vcpus,
    memory: { ...memoryOf(memory), convert: guarded(memory, failures, () => machine.stop()) },
  });
  const programs = new GuestPrograms(machine);
  const host = new Host(memory, pages);
  for (const { id } of vcpus) {
    const base = PROGRAMS + id * ROOM;
    programs.load(
      program({ arch: 'x64', base }, (g) => stormProgram(g, id, options)),
      id,
    );
  }
  const end = await machine.run();
  if (failures.length > 0) throw failures[0];
  assertSound(programs, vcpus);
  if (end.kind !== 'halted') throw new Error(`the machine ended: ${end.kind}`);
  const asked = machine.statistics.conversions;
  host.lookAtAll();
  const whole = { gpa: RAM, size: pages * PAGE };
  const residency = memory.residency(whole);
  // Both sides once more, as the guest sees them; the other vCPUs have halted.
  programs.load(
    program({ arch: 'x64', base: PROGRAMS }, (g) => {
      touches(g, pages);
      g.repeat(pages, (page) => checkPage(g, page));
    }),
  );
  for (const { id } of vcpus.slice(1))
    programs.load(
      program({ arch: 'x64', base: PROGRAMS + id * ROOM }, () => {}),
      id,
    );
  await programs.run();
  assertSound(programs, vcpus);
  const { ledger } = memory;
  const sides = { private: 0, shared: 0 };
  for (const run of ledger.runs(whole)) sides[run.side] += run.size;
  return {
    asked,
    pages: host.pages,
    comparedByHost: host.compared,
    ledger: sides,
    residency,
    fragments: ledger.fragments,
  };
}

const memoryOf = (memory: GuestMemory) => ({
  read: (gpa: number, length: number) => memory.read(gpa, length),
  write: (gpa: number, bytes: Uint8Array) => memory.write(gpa, bytes),
});

function guarded(memory: GuestMemory, failures: unknown[], stop: () => void): GuestMemory['convert'] {
  return (...args) => {
    try {
      return memory.convert(...args);
    } catch (error) {
      failures.push(error);
      stop();
      throw error;
    }
  };
}
