/** What instructions work on, and what their code is made from. */
import type { Instruction } from '../../guest/x64/decode.ts';
import type { Cpuid } from './cpuid.ts';
import type { Memory } from './memory.ts';
import type { Mmu } from './mmu.ts';
import type { Msrs } from './msrs.ts';
import type { Secure } from './secure.ts';
import type { State } from './state.ts';

export interface Machine {
  readonly state: State;
  /** The same array as `state.r`. */
  readonly r: Int32Array;
  readonly mmu: Mmu;
  readonly memory: Memory;
  readonly msrs: Msrs;
  readonly cpuid: Cpuid;
  /** Undefined for guests whose state anybody may see. */
  secure: Secure | undefined;
  /** By KVM's emulator; see X64CpuOptions. */
  readonly emulated: boolean;
}

/** One instruction at its place. Positions are offsets in the code segment (rip). */
export interface Site {
  readonly machine: Machine;
  readonly instruction: Instruction;
  readonly nextLow: number;
  readonly nextHigh: number;
}

/** An instruction made executable. It changes nothing before the last thing in it that can throw. */
export type Operation = () => void;
/** Answers the lower half of a number and leaves the upper one in HIGH. */
export type Read = () => number;
export type Write = (low: number, high: number) => void;
