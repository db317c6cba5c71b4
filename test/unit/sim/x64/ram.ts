/** Guest memory for tests of the vCPU: slots of plain bytes, and places that refuse. */
import {
  Assembler,
  identityPageTables,
  longMode,
  type ModeRegisters,
  protectedMode,
  realMode,
} from '../../../../lib/guest/x64/index.ts';
import type { Mode } from '../../../../lib/guest/x64/operands.ts';
import type { BusAccess, BusMiss, GuestBus } from '../../../../lib/sim/vcpu/bus.ts';
import { type Regs, type Stop, X64Cpu, type X64CpuOptions } from '../../../../lib/sim/x64/index.ts';

export class Ram implements GuestBus {
  generation = 0;
  readonly bytes: Uint8Array;
  /** Pages that answer something else than their bytes, for all or for some accesses. */
  readonly misses = new Map<number, BusMiss | ((access: BusAccess) => BusMiss | undefined)>();
  /** Pages that show another page's bytes. */
  readonly aliases = new Map<number, number>();

  constructor(size = 0x40_0000) {
    this.bytes = new Uint8Array(size);
  }

  page(gfn: number, access: BusAccess): Uint8Array | BusMiss {
    const miss = this.misses.get(gfn);
    const refused = typeof miss === 'function' ? miss(access) : miss;
    if (refused !== undefined) return refused;
    const at = (this.aliases.get(gfn) ?? gfn) * 4096;
    return at < this.bytes.length ? this.bytes.subarray(at, at + 4096) : { kind: 'mmio' };
  }

  write(at: number, bytes: ArrayLike<number>): void {
    this.bytes.set(bytes, at);
  }

  readU64(at: number): bigint {
    return new DataView(this.bytes.buffer).getBigUint64(at, true);
  }
}

export const TABLES = 0x1_0000;
/** Beyond the memory, but mapped. */
export const MMIO = 0xe000_0000;
export const CODE = 0x2000;
export const STACK = 0x8000;
export const DATA = 0x5000;

export interface Setup {
  readonly mode?: Mode;
  readonly regs?: Partial<Record<keyof Regs, number | bigint>>;
  readonly sregs?: Partial<ReturnType<X64Cpu['getSregs']>>;
  readonly memory?: readonly (readonly [at: number, bytes: ArrayLike<number>])[];
  readonly cpu?: X64CpuOptions;
}

export interface Guest {
  readonly cpu: X64Cpu;
  readonly ram: Ram;
  run(budget?: number): Stop;
  /** Register by name. */
  get(name: keyof Regs): bigint;
}

const modes: Readonly<Record<Mode, () => ModeRegisters>> = {
  16: () => realMode(),
  32: () => protectedMode(),
  64: () => longMode(TABLES),
};

/** A vCPU in one of the three modes before a program at {@link CODE}. */
export function guest(code: ((a: Assembler) => unknown) | ArrayLike<number>, setup: Setup = {}): Guest {
  const { mode = 64 } = setup;
  const ram = new Ram();
  let bytes: ArrayLike<number>;
  if (typeof code === 'function') {
    const a = new Assembler(mode, CODE);
    code(a);
    bytes = a.bytes();
  } else bytes = code;
  ram.write(CODE, bytes);
  const ranges = [
    { gpa: 0, size: 0x60_0000 },
    { gpa: MMIO, size: 0x20_0000 },
  ];
  ram.write(TABLES, identityPageTables({ at: TABLES, ranges }).bytes);
  for (const [at, contents] of setup.memory ?? []) ram.write(at, contents);
  const cpu = new X64Cpu(setup.cpu);
  const segment = (s: object) => ({ padding: 0, ...s });
  const { cs, ds, es, fs, gs, ss, ...rest } = modes[mode]();
  const segments = {
    cs: segment(cs),
    ds: segment(ds),
    es: segment(es),
    fs: segment(fs),
    gs: segment(gs),
    ss: segment(ss),
  };
  const sregs = { ...cpu.getSregs(), ...segments, ...rest, ...setup.sregs } as ReturnType<X64Cpu['getSregs']>;
  if (!cpu.setSregs(sregs)) throw new Error('these sregs are refused');
  const given = Object.fromEntries(
    Object.entries(setup.regs ?? {}).map(([name, value]) => [name, BigInt.asUintN(64, BigInt(value))]),
  );
  cpu.setRegs({ ...cpu.getRegs(), rdx: 0n, rip: BigInt(CODE), rsp: BigInt(STACK), rflags: 2n, ...given });
  return {
    cpu,
    ram,
    run: (budget = 100_000) => cpu.run(ram, budget),
    get: (name) => cpu.getRegs()[name],
  };
}

/** What the MMIO and port stops of a read take: little-endian. */
export function answer(value: number | bigint, length = 8): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return bytes.slice(0, length);
}
