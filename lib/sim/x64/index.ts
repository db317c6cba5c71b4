/** The simulated x86-64 vCPU. */
export type { BusAccess, BusMiss, GuestBus } from '../vcpu/bus.ts';
export type { X64CpuOptions } from './cpu.ts';
export { X64Cpu } from './cpu.ts';
export type { CpuidEntry } from './cpuid.ts';
export type { Secure, SecureAnswer } from './secure.ts';
export { encodeAnswer } from './secure.ts';
export type { Regs, Sregs } from './sregs.ts';
export type {
  DeliveryStop,
  EmulationStop,
  HypercallStop,
  IoStop,
  MemoryFaultStop,
  MmioStop,
  SecureInstruction,
  SecureStop,
  Stop,
  UnreachableStop,
} from './stop.ts';
