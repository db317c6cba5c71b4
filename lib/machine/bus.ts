/** A bus: which device an address belongs to, and how an access becomes reads and writes of its registers. */
import type { Device } from './words.ts';

interface Place {
  readonly start: number;
  readonly end: number;
  readonly device: Device;
}

/** A device threw: which one. */
export class DeviceError extends Error {
  readonly device: string;

  constructor(device: string, cause: unknown) {
    super(`${device}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.name = 'DeviceError';
    this.device = device;
  }
}

const ONES: Readonly<Record<number, number>> = { 1: 0xff, 2: 0xffff, 4: 0xffff_ffff };
const hex = (value: number): string => `0x${value.toString(16)}`;

export class Bus {
  readonly name: 'port' | 'memory';
  readonly #limit: number;
  #places: readonly Place[] = [];
  /** Most accesses go where the one before went. */
  #last: Place | undefined;

  constructor(name: 'port' | 'memory') {
    this.name = name;
    this.#limit = name === 'port' ? 0x1_0000 : Number.MAX_SAFE_INTEGER;
  }

  /** `size` in bytes. RangeError when the range is taken or no range of this bus. Returns how to take the device off again. */
  attach(device: Device, start: number, size: number): () => void {
    const end = start + size;
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(size) || start < 0 || size < 1 || end > this.#limit) {
      throw new RangeError(`${device.name}: ${start} and ${size} bytes are no range of the ${this.name} bus`);
    }
    const other = this.#places.find((place) => place.start < end && start < place.end);
    if (other !== undefined) {
      throw new RangeError(
        `${device.name}: ${hex(start)} to ${hex(end)} of the ${this.name} bus overlaps ${other.device.name} at ${hex(other.start)}`,
      );
    }
    const place = { start, end, device };
    this.#places = [...this.#places, place].sort((a, b) => a.start - b.start);
    return () => {
      this.#places = this.#places.filter((one) => one !== place);
      this.#last = undefined;
    };
  }

  get devices(): readonly Device[] {
    return [...new Set(this.#places.map(({ device }) => device))];
  }

  #find(address: number): Place | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.start && address < last.end) return last;
    let low = 0;
    let high = this.#places.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const place = this.#places[middle];
      if (place === undefined) break;
      if (address < place.start) high = middle - 1;
      else if (address >= place.end) low = middle + 1;
      else {
        this.#last = place;
        return place;
      }
    }
    return undefined;
  }

  /** Whether somebody is at the address. */
  claims(address: number): boolean {
    return this.#find(address) !== undefined;
  }

  /** Bytes of one access, little-endian. False where nobody is. DeviceError when the device throws. */
  write(address: number, data: Uint8Array, from = 0, size = data.length): boolean {
    const place = this.#find(address);
    if (place === undefined) return false;
    const { device } = place;
    if (device.write === undefined && device.writeBytes === undefined) return true;
    const offset = address - place.start;
    try {
      if (device.writeBytes !== undefined) {
        device.writeBytes(offset, data.subarray(from, from + size));
        return true;
      }
      for (let done = 0; done < size; ) {
        const part = partOf(size - done);
        let value = 0;
        for (let i = part - 1; i >= 0; i--) value = value * 256 + (data[from + done + i] ?? 0);
        device.write?.(offset + done, part, value);
        done += part;
      }
    } catch (error) {
      throw new DeviceError(device.name, error);
    }
    return true;
  }

  /** Fills `data` from the device; with ones, and false, where nobody is. DeviceError when the device throws. */
  read(address: number, data: Uint8Array, from = 0, size = data.length): boolean {
    const place = this.#find(address);
    if (place === undefined) {
      data.fill(0xff, from, from + size);
      return false;
    }
    const { device } = place;
    const offset = address - place.start;
    try {
      for (let done = 0; done < size; ) {
        const part = partOf(size - done);
        let value = device.read === undefined ? (ONES[part] ?? 0) : device.read(offset + done, part);
        for (let i = 0; i < part; i++) {
          data[from + done + i] = value & 0xff;
          value = Math.floor(value / 256);
        }
        done += part;
      }
    } catch (error) {
      throw new DeviceError(device.name, error);
    }
    return true;
  }
}

/** KVM gives 1 to 8 bytes; an access that crosses a page may have any number of them. */
function partOf(left: number): number {
  if (left >= 4) return 4;
  return left >= 2 ? 2 : 1;
}
