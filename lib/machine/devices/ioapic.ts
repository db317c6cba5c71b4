/**
 * An IOAPIC of 24 pins, for machines whose local APICs are in the kernel and whose IOAPIC is not (KVM_CAP_SPLIT_IRQCHIP). What a pin signals leaves as
 * a message to the local APICs. Registers: Intel 82093AA data sheet, chapter 3; EOI register: version 0x20.
 */
import type { Msi, MsiRoute } from '../../kvm/vm.ts';
import type { Device, IrqLine } from '../words.ts';

export const IOAPIC_PINS = 24;
export const IOAPIC_SIZE = 0x1000;

const IOREGSEL = 0x00;
const IOWIN = 0x10;
const EOIR = 0x40;
const ID = 0x00;
const VERSION = 0x01;
const ARBITRATION = 0x02;
const REDIRECTION = 0x10;
const VERSION_WITH_EOI = 0x20;
const ID_MASK = 0x0f00_0000;

/** Lower half of a redirection entry. */
const VECTOR = 0xff;
const DELIVERY_MODE = 0x700;
const LOGICAL = 0x800;
const DELIVERY_STATUS = 0x1000;
const REMOTE_IRR = 0x4000;
const LEVEL = 0x8000;
const MASKED = 0x1_0000;
const READ_ONLY = DELIVERY_STATUS | REMOTE_IRR;

const MSI_ADDRESS = 0xfee0_0000;
const MSI_LOGICAL = 0x4;
const MSI_ASSERT = 0x4000;
const DESTINATION_SHIFT = 24;
const MSI_DESTINATION_SHIFT = 12;

interface Pin {
  low: number;
  high: number;
  /** The input, whatever the entry says. */
  level: boolean;
}

export interface IoapicOptions {
  /** Gets each interrupt. */
  readonly deliver: (msi: Msi) => void;
  /** Gets the message of every pin that is not masked, whenever one of them changes: KVM must know whose end is to be told. */
  readonly routed: (routes: readonly MsiRoute[]) => void;
}

const messageOf = ({ low, high }: Pin): Msi => ({
  address:
    (MSI_ADDRESS | ((high >>> DESTINATION_SHIFT) << MSI_DESTINATION_SHIFT) | (low & LOGICAL ? MSI_LOGICAL : 0)) >>> 0,
  data: (low & (VECTOR | DELIVERY_MODE | LEVEL)) | (low & LEVEL ? MSI_ASSERT : 0),
});

export class Ioapic implements Device {
  readonly name = 'ioapic';
  readonly #pins: readonly Pin[] = Array.from({ length: IOAPIC_PINS }, () => ({ low: MASKED, high: 0, level: false }));
  readonly #options: IoapicOptions;
  #select = 0;
  #id = 0;
  #table = '[]';

  constructor(options: IoapicOptions) {
    this.#options = options;
  }

  #pin(number: number): Pin {
    const pin = this.#pins[number];
    if (pin === undefined) throw new RangeError(`the IOAPIC has pins 0 to ${IOAPIC_PINS - 1}, got ${number}`);
    return pin;
  }

  /** What a device holds or pulses. RangeError for a pin that is not there. */
  line(number: number): IrqLine {
    const pin = this.#pin(number);
    const set = (level: boolean): void => {
      const rises = level && !pin.level;
      pin.level = level;
      if ((pin.low & LEVEL) !== 0 ? level : rises) this.#signal(pin);
    };
    return {
      set,
      pulse: () => {
        set(true);
        set(false);
      },
    };
  }

  /** A level that was signalled waits for its end; an edge at a masked pin is lost. */
  #signal(pin: Pin): void {
    if ((pin.low & MASKED) !== 0) return;
    if ((pin.low & LEVEL) !== 0) {
      if ((pin.low & REMOTE_IRR) !== 0) return;
      pin.low |= REMOTE_IRR;
    }
    this.#options.deliver(messageOf(pin));
  }

  /** The guest ended an interrupt: levels with that vector that are still held come again. */
  endOfInterrupt(vector: number): void {
    for (const pin of this.#pins) {
      if ((pin.low & VECTOR) !== vector || (pin.low & (LEVEL | REMOTE_IRR)) !== (LEVEL | REMOTE_IRR)) continue;
      pin.low &= ~REMOTE_IRR;
      if (pin.level) this.#signal(pin);
    }
  }

  read(offset: number): number {
    if (offset === IOREGSEL) return this.#select;
    return offset === IOWIN ? this.#readRegister() : 0;
  }

  write(offset: number, _size: number, value: number): void {
    if (offset === IOREGSEL) this.#select = value & 0xff;
    else if (offset === IOWIN) this.#writeRegister(value);
    else if (offset === EOIR) this.endOfInterrupt(value & VECTOR);
  }

  #readRegister(): number {
    const select = this.#select;
    if (select === ID || select === ARBITRATION) return this.#id;
    if (select === VERSION) return ((IOAPIC_PINS - 1) << 16) | VERSION_WITH_EOI;
    const pin = this.#pins[(select - REDIRECTION) >> 1];
    if (pin === undefined) return 0;
    return (select & 1) === 0 ? pin.low : pin.high;
  }

  #writeRegister(value: number): void {
    const select = this.#select;
    if (select === ID) this.#id = value & ID_MASK;
    const pin = this.#pins[(select - REDIRECTION) >> 1];
    if (pin === undefined) return;
    if ((select & 1) === 1) pin.high = value >>> 0;
    else {
      pin.low = (pin.low & READ_ONLY) | (value & ~READ_ONLY & (MASKED | 0xffff));
      // An edge has no end to wait for: a driver clears what is left over by turning the pin to edge and back.
      if ((pin.low & LEVEL) === 0) pin.low &= ~REMOTE_IRR;
    }
    this.#reroute();
    if ((pin.low & LEVEL) !== 0 && pin.level) this.#signal(pin);
  }

  #reroute(): void {
    const routes = this.#pins.flatMap((pin, gsi) => ((pin.low & MASKED) === 0 ? [{ gsi, ...messageOf(pin) }] : []));
    const table = JSON.stringify(routes);
    if (table === this.#table) return;
    this.#table = table;
    this.#options.routed(routes);
  }
}
