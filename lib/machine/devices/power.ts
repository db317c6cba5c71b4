/** The ways out: debug exit, keyboard controller reset, reset control register, ACPI power management. */
import type { Device, Power } from '../words.ts';

/** Where QEMU's isa-debug-exit is by custom. A write ends the machine with the value. */
export const DEBUG_EXIT = { port: 0xf4, size: 4 } as const;

export function debugExit(power: Power): Device {
  return {
    name: 'debug-exit',
    write: (_offset, _size, value) => power.end({ kind: 'debug-exit', value }),
  };
}

export const I8042_DATA = { port: 0x60, size: 1 } as const;
export const I8042_COMMAND = { port: 0x64, size: 1 } as const;
/** Pulse output lines, all but line 0, which is the reset of the processor. */
const I8042_PULSE_RESET = 0xfe;

/** No keyboard: never busy, nothing to read, and its reset line. */
export function i8042(power: Power): { readonly data: Device; readonly command: Device } {
  return {
    data: { name: 'i8042 data', read: () => 0 },
    command: {
      name: 'i8042',
      read: () => 0,
      write: (_offset, _size, value) => {
        if (value === I8042_PULSE_RESET) power.end({ kind: 'reset', by: 'i8042' });
      },
    },
  };
}

/** The chipset's reset control register: bit 2 resets the processor. FADT's RESET_REG points here. */
export const RESET_CONTROL = { port: 0xcf9, size: 1, value: 0x06 } as const;
const RESET_CPU = 0x04;

export function resetControl(power: Power): Device {
  let last = 0;
  return {
    name: 'reset-control',
    read: () => last,
    write: (_offset, _size, value) => {
      last = value & ~RESET_CPU;
      if ((value & RESET_CPU) !== 0) power.end({ kind: 'reset', by: 'reset-control' });
    },
  };
}

/** ACPI's fixed power management registers (ACPI 6.5, 4.8.3): event block, control block, timer. */
export const PM1A_EVENT = { port: 0x600, size: 4 } as const;
export const PM1A_CONTROL = { port: 0x604, size: 2 } as const;
export const PM_TIMER = { port: 0x608, size: 4 } as const;
/** `\_S5`'s package in our DSDT. */
export const SLEEP_TYPE_S5 = 5;

const SCI_EN = 0x1;
const SLP_EN = 0x2000;
const PM_TIMER_HZ = 3_579_545;
const PM_TIMER_MASK = 0x1_000_000;

export interface AcpiPm {
  readonly event: Device;
  readonly control: Device;
  readonly timer: Device;
}

/** Always in ACPI mode; no event ever comes. Sleep type 5 ends the machine. `now` in milliseconds. */
export function acpiPm(power: Power, now: () => number = () => performance.now()): AcpiPm {
  const started = now();
  let enabled = 0;
  return {
    event: {
      name: 'acpi-event',
      read: (offset, size) => (offset === 2 || size === 4 ? enabled * (size === 4 ? 0x1_0000 : 1) : 0),
      write: (offset, size, value) => {
        if (size === 4) enabled = Math.floor(value / 0x1_0000) & 0xffff;
        else if (offset === 2) enabled = value & 0xffff;
      },
    },
    control: {
      name: 'acpi-control',
      read: () => SCI_EN,
      write: (_offset, _size, value) => {
        if ((value & SLP_EN) === 0) return;
        const type = (value >> 10) & 0x7;
        if (type === SLEEP_TYPE_S5) power.end({ kind: 'powered-off', by: 'ACPI S5' });
      },
    },
    timer: {
      name: 'acpi-timer',
      read: () => Math.floor(((now() - started) * PM_TIMER_HZ) / 1000) % PM_TIMER_MASK,
    },
  };
}
