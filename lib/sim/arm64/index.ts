/** The simulated arm64 vCPU. */
export { A64Cpu } from './cpu.ts';
export type { AddressLimits } from './mmu.ts';
export { getPair, PC, setPair } from './registers.ts';
export { EL0T, EL1H, EL1T, type Exception, type State } from './state.ts';
export { type A64MmioStop, type CallStop, CLASS, STATUS, type Stop } from './stop.ts';
