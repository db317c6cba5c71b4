/** `privmem/machine`: what a VMM is made of, on any kernel. */
export { type CpuidOptions, type CpuidPolicy, cpuidFor } from './boot/cpuid.ts';
export type { IrqchipMode } from './boot/interrupts.ts';
export { type KernelImage, type Loaded, type LoadOptions, loadLinux, parseKernel } from './boot/linux.ts';
export { NotBootableError } from './boot/not-a-kernel.ts';
export { openPc, type Pc, type PcOptions } from './boot/pc.ts';
export { Bus, DeviceError } from './bus.ts';
export type { Conversion, ConversionPolicy } from './conversions.ts';
export { describeEnd } from './describe.ts';
export { IOAPIC_PINS, Ioapic, type IoapicOptions } from './devices/ioapic.ts';
export {
  acpiPm,
  DEBUG_EXIT,
  debugExit,
  I8042_COMMAND,
  I8042_DATA,
  i8042,
  PM_TIMER,
  PM1A_CONTROL,
  PM1A_EVENT,
  RESET_CONTROL,
  resetControl,
} from './devices/power.ts';
export { REPORT, reportDevice } from './devices/report.ts';
export { RTC, rtc } from './devices/rtc.ts';
export { COM1, Serial, type SerialOptions } from './devices/serial.ts';
export { DiskError, type VirtioBlockOptions, virtioBlock } from './devices/virtio-block.ts';
export { type VirtioConsole, virtioConsole } from './devices/virtio-console.ts';
export { type VirtioDevice, VirtioMmio } from './devices/virtio-mmio.ts';
export { Virtqueue } from './devices/virtqueue.ts';
export type { DispatchOptions } from './dispatch.ts';
export { GuestPrograms, ProgramError, type ProgramPlace, type ProgramResult } from './guest-programs.ts';
export { EdgeIrq, LevelIrq, NO_IRQ } from './irq.ts';
export { Machine, type MachineEvents, type MachineOptions, type MachineRunOptions } from './machine.ts';
export * from './memory/index.ts';
export { takeSnapshot, type VcpuSnapshot } from './snapshot.ts';
export type { ExitStatistics } from './statistics.ts';
export type { Device, DeviceEnd, EndKind, IrqLine, MachineEnd, MachineMemory, Power } from './words.ts';
