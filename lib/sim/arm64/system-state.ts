/** System registers of a vCPU: those that programs use. arch/arm64/kvm/sys_regs.c has their reset values. */
import { SYSTEM_REGISTERS as S } from '../../guest/a64/system-registers.ts';

/** With M, C and I clear, and the bits set that always read as one. */
const SCTLR_RESET = 0x00c5_0078n;
const SCTLR_MMU = 1n;
/** What KVM puts where the architecture leaves a reset value open: reset_unknown. */
const UNKNOWN = 0x1de7_ec7e_dbad_c0den;
/** Implementer 0: software. No conclusion is to be drawn from it. */
const MIDR = 0x000f_0000n;
const MPIDR_RES1 = 0x8000_0000n;
const FREQUENCY = 62_500_000n;

/** Plain storage: what is written is read. */
const PLAIN = [
  ...([S.ttbr0_el1, S.ttbr1_el1, S.tcr_el1, S.mair_el1, S.contextidr_el1] as const),
  ...([S.tpidr_el1, S.tpidr_el0, S.tpidrro_el0] as const),
] as const;

const RESET_TO_ZERO: ReadonlySet<number> = new Set([S.tcr_el1, S.contextidr_el1]);

/** Readable, and writable except the last, at EL0. */
const AT_EL0: ReadonlySet<number> = new Set([S.tpidr_el0, S.nzcv, S.cntvct_el0, S.cntfrq_el0, S.tpidrro_el0]);
const READ_ONLY_AT_EL0: ReadonlySet<number> = new Set([S.cntvct_el0, S.cntfrq_el0, S.tpidrro_el0]);

export class SystemState {
  readonly #resetMpidr: bigint;
  mpidr = 0n;
  readonly #plain = new Map<number, bigint>();
  sctlr = SCTLR_RESET;
  vbar = 0n;
  esr = UNKNOWN;
  elr = 0n;
  spsr = 0n;
  far = UNKNOWN;
  /** CNTVCT_EL0: counts executed instructions, so that runs can be repeated exactly. */
  counter: () => bigint = () => 0n;

  /** @param id of the vCPU: 16 in a cluster. reset_mpidr */
  constructor(id: number) {
    this.#resetMpidr = MPIDR_RES1 | BigInt((id & 15) | (((id >> 4) & 0xff) << 8) | (((id >> 12) & 0xff) << 16));
    this.reset();
  }

  reset(): void {
    this.sctlr = SCTLR_RESET;
    this.vbar = 0n;
    this.esr = UNKNOWN;
    this.elr = 0n;
    this.spsr = 0n;
    this.far = UNKNOWN;
    this.mpidr = this.#resetMpidr;
    for (const id of PLAIN) this.#plain.set(id, RESET_TO_ZERO.has(id) ? 0n : UNKNOWN);
  }

  /** Translation is on: beyond this simulation. */
  get translates(): boolean {
    return (this.sctlr & SCTLR_MMU) !== 0n;
  }

  /** Whether EL0 may. */
  static allowed(id: number, write: boolean): boolean {
    return AT_EL0.has(id) && !(write && READ_ONLY_AT_EL0.has(id));
  }

  /** Undefined for a register that is not here. Stack pointers and PSTATE fields are the state's. */
  get(id: number): bigint | undefined {
    switch (id) {
      case S.midr_el1:
        return MIDR;
      case S.mpidr_el1:
        return this.mpidr;
      case S.sctlr_el1:
        return this.sctlr;
      case S.vbar_el1:
        return this.vbar;
      case S.esr_el1:
        return this.esr;
      case S.elr_el1:
        return this.elr;
      case S.spsr_el1:
        return this.spsr;
      case S.far_el1:
        return this.far;
      case S.cntfrq_el0:
        return FREQUENCY;
      case S.cntvct_el0:
        return this.counter();
      default:
        return this.#plain.get(id);
    }
  }

  /** False for a register that is not here or cannot be written. */
  set(id: number, value: bigint): boolean {
    switch (id) {
      case S.sctlr_el1:
        this.sctlr = value;
        return true;
      case S.vbar_el1:
        // Vector tables have 2 KiB.
        this.vbar = value & ~0x7ffn;
        return true;
      case S.esr_el1:
        this.esr = value;
        return true;
      case S.elr_el1:
        this.elr = value;
        return true;
      case S.spsr_el1:
        this.spsr = value;
        return true;
      case S.far_el1:
        this.far = value;
        return true;
      default:
        if (!this.#plain.has(id)) return false;
        this.#plain.set(id, value);
        return true;
    }
  }

  /** What KVM_GET_REG_LIST tells of: cntfrq and the like are not KVM's to save. */
  static readonly saved: readonly number[] = [
    ...([S.midr_el1, S.mpidr_el1, S.sctlr_el1, S.vbar_el1, S.esr_el1, S.far_el1] as const),
    ...PLAIN,
  ];
}
