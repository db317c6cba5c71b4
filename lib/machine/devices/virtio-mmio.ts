/** The registers of a virtio device in memory, version 2. Virtual I/O Device 1.2, 4.2.2; include/uapi/linux/virtio_mmio.h */
import { NO_IRQ } from '../irq.ts';
import type { Device, IrqLine, MachineMemory } from '../words.ts';
import { Virtqueue } from './virtqueue.ts';

const REG = {
  MAGIC_VALUE: 0x000,
  VERSION: 0x004,
  DEVICE_ID: 0x008,
  VENDOR_ID: 0x00c,
  DEVICE_FEATURES: 0x010,
  DEVICE_FEATURES_SEL: 0x014,
  DRIVER_FEATURES: 0x020,
  DRIVER_FEATURES_SEL: 0x024,
  QUEUE_SEL: 0x030,
  QUEUE_NUM_MAX: 0x034,
  QUEUE_NUM: 0x038,
  QUEUE_READY: 0x044,
  QUEUE_NOTIFY: 0x050,
  INTERRUPT_STATUS: 0x060,
  INTERRUPT_ACK: 0x064,
  STATUS: 0x070,
  QUEUE_DESC_LOW: 0x080,
  QUEUE_DESC_HIGH: 0x084,
  QUEUE_AVAIL_LOW: 0x090,
  QUEUE_AVAIL_HIGH: 0x094,
  QUEUE_USED_LOW: 0x0a0,
  QUEUE_USED_HIGH: 0x0a4,
  CONFIG_GENERATION: 0x0fc,
  CONFIG: 0x100,
} as const;

/** `virt` */
const MAGIC = 0x7472_6976;
const VERSION = 2;
/** `PRVM` */
const VENDOR = 0x4d56_5250;
const INT_VRING = 1;
const STATUS_DRIVER_OK = 4;
const STATUS_NEEDS_RESET = 0x40;
export const VIRTIO_F_VERSION_1 = 32;
const WORD = 2 ** 32;

/** What makes a virtio device of one kind. */
export interface VirtioDevice {
  readonly name: string;
  /** Virtual I/O Device 1.2, chapter 5: 2 block, 3 console. */
  readonly id: number;
  /** Feature bits by number; VERSION_1 is added. */
  readonly features: readonly number[];
  readonly queueSizes: readonly number[];
  readonly config: Uint8Array;
  /** The driver rang for a queue. Called with the transport that queues and interrupts belong to. */
  notify(queue: number, transport: VirtioMmio): void;
  close?(): void;
}

export class VirtioMmio implements Device {
  readonly name: string;
  readonly memory: MachineMemory;
  readonly queues: readonly Virtqueue[];
  readonly #device: VirtioDevice;
  readonly #irq: IrqLine;
  #featuresSel = 0;
  #driverSel = 0;
  #queueSel = 0;
  #status = 0;
  #interrupts = 0;
  readonly #driverFeatures = [0, 0];

  constructor(device: VirtioDevice, memory: MachineMemory, irq: IrqLine = NO_IRQ) {
    this.name = device.name;
    this.memory = memory;
    this.#device = device;
    this.#irq = irq;
    this.queues = device.queueSizes.map((size) => new Virtqueue(memory, size));
  }

  /** The driver is at work. */
  get live(): boolean {
    return (this.#status & STATUS_DRIVER_OK) !== 0 && (this.#status & STATUS_NEEDS_RESET) === 0;
  }

  /** Tells the driver that a queue has something for it. The line is held until the driver acknowledges it; an edge is one more each time. */
  interrupt(): void {
    this.#interrupts |= INT_VRING;
    this.#irq.set(true);
  }

  #features(word: number): number {
    return [...this.#device.features, VIRTIO_F_VERSION_1]
      .filter((bit) => Math.floor(bit / 32) === word)
      .reduce((mask, bit) => (mask | (1 << (bit % 32))) >>> 0, 0);
  }

  read(offset: number, size: number): number {
    if (offset >= REG.CONFIG) {
      let value = 0;
      for (let i = size - 1; i >= 0; i--) value = value * 256 + (this.#device.config[offset - REG.CONFIG + i] ?? 0);
      return value;
    }
    switch (offset) {
      case REG.MAGIC_VALUE:
        return MAGIC;
      case REG.VERSION:
        return VERSION;
      case REG.DEVICE_ID:
        return this.#device.id;
      case REG.VENDOR_ID:
        return VENDOR;
      case REG.DEVICE_FEATURES:
        return this.#features(this.#featuresSel);
      case REG.QUEUE_NUM_MAX:
        return this.queues[this.#queueSel]?.max ?? 0;
      case REG.QUEUE_READY:
        return this.queues[this.#queueSel]?.ready ? 1 : 0;
      case REG.INTERRUPT_STATUS:
        return this.#interrupts;
      case REG.STATUS:
        return this.#status;
      default:
        return 0;
    }
  }

  write(offset: number, _size: number, value: number): void {
    const queue = this.queues[this.#queueSel];
    switch (offset) {
      case REG.DEVICE_FEATURES_SEL:
        this.#featuresSel = value;
        return;
      case REG.DRIVER_FEATURES:
        if (this.#driverSel < this.#driverFeatures.length) this.#driverFeatures[this.#driverSel] = value;
        return;
      case REG.DRIVER_FEATURES_SEL:
        this.#driverSel = value;
        return;
      case REG.QUEUE_SEL:
        this.#queueSel = value;
        return;
      case REG.QUEUE_NUM:
        if (queue !== undefined && value > 0 && value <= queue.max) queue.size = value;
        return;
      case REG.QUEUE_READY:
        if (queue !== undefined) queue.ready = value === 1;
        return;
      case REG.QUEUE_NOTIFY:
        this.#notify(value);
        return;
      case REG.INTERRUPT_ACK:
        this.#interrupts &= ~value;
        if (this.#interrupts === 0) this.#irq.set(false);
        return;
      case REG.STATUS:
        if (value === 0) this.#reset();
        else this.#status = value & 0xff;
        return;
      default:
        if (queue !== undefined) setAddress(queue, offset, value);
    }
  }

  /** What the driver does wrong is between it and the device: it gets DEVICE_NEEDS_RESET, and the machine goes on. */
  #notify(index: number): void {
    if (!this.live) return;
    try {
      this.#device.notify(index, this);
    } catch (error) {
      if (!isDriversFault(error)) throw error;
      this.#status |= STATUS_NEEDS_RESET;
      this.interrupt();
    }
  }

  #reset(): void {
    this.#status = 0;
    this.#interrupts = 0;
    this.#irq.set(false);
    for (const queue of this.queues) queue.reset();
  }

  close(): void {
    this.#device.close?.();
  }
}

/** Queues in holes and endless chains are the driver's; files that cannot be read are ours. */
const isDriversFault = (error: unknown): boolean =>
  error instanceof Error && ['VirtqueueError', 'GuestMemoryError'].includes(error.name);

function setAddress(queue: Virtqueue, offset: number, value: number): void {
  const low = (old: number): number => Math.floor(old / WORD) * WORD + value;
  const high = (old: number): number => (old % WORD) + value * WORD;
  switch (offset) {
    case REG.QUEUE_DESC_LOW:
      queue.desc = low(queue.desc);
      return;
    case REG.QUEUE_DESC_HIGH:
      queue.desc = high(queue.desc);
      return;
    case REG.QUEUE_AVAIL_LOW:
      queue.avail = low(queue.avail);
      return;
    case REG.QUEUE_AVAIL_HIGH:
      queue.avail = high(queue.avail);
      return;
    case REG.QUEUE_USED_LOW:
      queue.used = low(queue.used);
      return;
    case REG.QUEUE_USED_HIGH:
      queue.used = high(queue.used);
      return;
    default:
  }
}
