/**
 * A 16550A UART: the console. Time on the wire is none: what is written is sent at once.
 * Registers: the 16550D data sheet; names as in include/uapi/linux/serial_reg.h.
 */
import { NO_IRQ } from '../irq.ts';
import type { Device, IrqLine } from '../words.ts';

export const COM1 = { port: 0x3f8, size: 8, irq: 4 } as const;

/** Offsets from the base port. Data, IER are the divisor while LCR_DLAB is set. */
const DATA = 0;
const IER = 1;
const IIR_FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;
const SCR = 7;

const IER_RDI = 0x01;
const IER_THRI = 0x02;
const IER_BITS = 0x0f;
const IIR_NO_INT = 0x01;
const IIR_THRI = 0x02;
const IIR_RDI = 0x04;
const IIR_FIFO = 0xc0;
const FCR_ENABLE_FIFO = 0x01;
const FCR_CLEAR_RCVR = 0x02;
const LCR_DLAB = 0x80;
const MCR_RTS = 0x02;
const MCR_DTR = 0x01;
const MCR_OUT1 = 0x04;
const MCR_OUT2 = 0x08;
const MCR_LOOP = 0x10;
const LSR_DR = 0x01;
const LSR_THRE = 0x20;
const LSR_TEMT = 0x40;
const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;

/** Bytes that leave together: what is written within this time, or up to this many. */
const FLUSH_MS = 2;
const FLUSH_BYTES = 512;
const NEWLINE = 10;
const FIFO_BYTES = 16;

export interface SerialOptions {
  /** Gets what the guest writes, in pieces: at a newline, or after two milliseconds. */
  readonly output: (bytes: Uint8Array) => void;
  readonly irq?: IrqLine;
  readonly name?: string;
}

export class Serial implements Device {
  readonly name: string;
  readonly #output: (bytes: Uint8Array) => void;
  readonly #irq: IrqLine;
  readonly #pending: number[] = [];
  #flushTimer: NodeJS.Timeout | undefined;
  /** What the host sent and has not reached the receiver. */
  #waiting: number[] = [];
  /** The receiver's FIFO: clearing it loses what is in it, as it does on a real one. */
  #received: number[] = [];
  #ier = 0;
  #fcr = 0;
  #lcr = 0x03;
  #mcr = MCR_OUT2;
  #scratch = 0;
  #divisor = 12;
  /** The transmitter became empty, and nobody was told. */
  #emptied = false;

  constructor({ output, irq = NO_IRQ, name = 'serial' }: SerialOptions) {
    this.name = name;
    this.#output = output;
    this.#irq = irq;
  }

  /** Bytes for the guest to read, in order. They wait until it listens (the receiver's interrupt is on, or there is no line for one). */
  input(bytes: Uint8Array): void {
    for (const byte of bytes) this.#waiting.push(byte);
    this.#update();
  }

  /** Bytes that the guest has not read yet: a sender that knows manners waits while there are many. */
  get backlog(): number {
    return this.#waiting.length + this.#received.length;
  }

  #receive(): void {
    if ((this.#mcr & MCR_LOOP) !== 0 || ((this.#ier & IER_RDI) === 0 && this.#irq !== NO_IRQ)) return;
    const room = FIFO_BYTES - this.#received.length;
    if (room > 0 && this.#waiting.length > 0) this.#received.push(...this.#waiting.splice(0, room));
  }

  read(offset: number, _size: number): number {
    switch (offset) {
      case DATA: {
        if ((this.#lcr & LCR_DLAB) !== 0) return this.#divisor & 0xff;
        const byte = this.#received.shift() ?? 0;
        this.#update();
        return byte;
      }
      case IER:
        return (this.#lcr & LCR_DLAB) !== 0 ? this.#divisor >> 8 : this.#ier;
      case IIR_FCR: {
        const cause = this.#cause();
        // Reading it is how a transmitter's interrupt is acknowledged.
        if (cause === IIR_THRI) {
          this.#emptied = false;
          this.#update();
        }
        return cause | ((this.#fcr & FCR_ENABLE_FIFO) !== 0 ? IIR_FIFO : 0);
      }
      case LCR:
        return this.#lcr;
      case MCR:
        return this.#mcr;
      case LSR:
        return LSR_THRE | LSR_TEMT | (this.#received.length > 0 ? LSR_DR : 0);
      case MSR:
        return this.#modemStatus();
      case SCR:
        return this.#scratch;
      default:
        return 0xff;
    }
  }

  write(offset: number, _size: number, value: number): void {
    const byte = value & 0xff;
    switch (offset) {
      case DATA:
        if ((this.#lcr & LCR_DLAB) !== 0) this.#divisor = (this.#divisor & 0xff00) | byte;
        else this.#transmit(byte);
        return;
      case IER:
        if ((this.#lcr & LCR_DLAB) !== 0) {
          this.#divisor = (this.#divisor & 0xff) | (byte << 8);
          return;
        }
        // An empty transmitter says so as soon as somebody wants to hear it.
        if ((byte & ~this.#ier & IER_THRI) !== 0) this.#emptied = true;
        this.#ier = byte & IER_BITS;
        break;
      case IIR_FCR:
        if ((byte & FCR_CLEAR_RCVR) !== 0) this.#received = [];
        this.#fcr = byte & FCR_ENABLE_FIFO;
        break;
      case LCR:
        this.#lcr = byte;
        return;
      case MCR:
        this.#mcr = byte & 0x1f;
        return;
      case SCR:
        this.#scratch = byte;
        return;
      default:
        return;
    }
    this.#update();
  }

  #transmit(byte: number): void {
    if ((this.#mcr & MCR_LOOP) !== 0) this.#received.push(byte);
    else this.#send(byte);
    this.#emptied = true;
    this.#update();
  }

  /** In loop-back the modem lines are those of the control register. */
  #modemStatus(): number {
    if ((this.#mcr & MCR_LOOP) === 0) return MSR_CTS | MSR_DSR | MSR_DCD;
    const wired = [
      [MCR_RTS, MSR_CTS],
      [MCR_DTR, MSR_DSR],
      [MCR_OUT1, MSR_RI],
      [MCR_OUT2, MSR_DCD],
    ] as const;
    return wired.reduce((status, [from, to]) => status | ((this.#mcr & from) !== 0 ? to : 0), 0);
  }

  #cause(): number {
    if ((this.#ier & IER_RDI) !== 0 && this.#received.length > 0) return IIR_RDI;
    return (this.#ier & IER_THRI) !== 0 && this.#emptied ? IIR_THRI : IIR_NO_INT;
  }

  #update(): void {
    this.#receive();
    this.#irq.set(this.#cause() !== IIR_NO_INT);
  }

  #send(byte: number): void {
    this.#pending.push(byte);
    if (byte === NEWLINE || this.#pending.length >= FLUSH_BYTES) this.flush();
    else this.#flushTimer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  /** Hands out what is held back. */
  flush(): void {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    if (this.#pending.length === 0) return;
    this.#output(Uint8Array.from(this.#pending.splice(0)));
  }

  close(): void {
    this.flush();
  }
}
