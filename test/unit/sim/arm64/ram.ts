/** Guest memory for tests of the vCPU: plain bytes from gpa 0 on, and places that refuse. */
import { Assembler } from '../../../../lib/guest/a64/index.ts';
import { A64Cpu, getPair, PC, type Stop, setPair } from '../../../../lib/sim/arm64/index.ts';
import type { BusAccess, BusMiss, GuestBus } from '../../../../lib/sim/vcpu/bus.ts';

export class Ram implements GuestBus {
  generation = 0;
  readonly bytes: Uint8Array;
  readonly misses = new Map<number, BusMiss | ((access: BusAccess) => BusMiss | undefined)>();

  constructor(size = 0x10_0000) {
    this.bytes = new Uint8Array(size);
  }

  page(gfn: number, access: BusAccess): Uint8Array | BusMiss {
    const miss = this.misses.get(gfn);
    const refused = typeof miss === 'function' ? miss(access) : miss;
    if (refused !== undefined) return refused;
    const at = gfn * 4096;
    return at < this.bytes.length ? this.bytes.subarray(at, at + 4096) : { kind: 'mmio' };
  }

  get view(): DataView {
    return new DataView(this.bytes.buffer);
  }
}

export const CODE = 0x1000;
export const DATA = 0x4000;
export const MMIO = 0xe000_0000;
export const LIMITS = { ipaBits: 40, physicalBits: 48 };

export class Guest {
  readonly ram = new Ram();
  readonly cpu = new A64Cpu(0, LIMITS);

  constructor(code: (a: Assembler) => unknown) {
    const a = new Assembler(CODE);
    code(a);
    this.ram.bytes.set(a.bytes(), CODE);
    this.pc = BigInt(CODE);
  }

  get pc(): bigint {
    return getPair(this.cpu.state.r, PC);
  }

  set pc(value: bigint) {
    setPair(this.cpu.state.r, PC, value);
  }

  x(index: number): bigint {
    return getPair(this.cpu.state.r, 2 * index);
  }

  setX(index: number, value: bigint | number): void {
    setPair(this.cpu.state.r, 2 * index, BigInt.asUintN(64, BigInt(value)));
  }

  run(budget = 10_000): Stop {
    return this.cpu.run(this.ram, budget);
  }
}
