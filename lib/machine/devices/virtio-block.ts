/** A disk: a raw file. Virtual I/O Device 1.2, 5.2 */
import { closeSync, constants, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import type { VirtioDevice, VirtioMmio } from './virtio-mmio.ts';
import { gather, type Request, scatter } from './virtqueue.ts';

const ID_BLOCK = 2;
const F_RO = 5;
const F_FLUSH = 9;
const T_IN = 0;
const T_OUT = 1;
const T_FLUSH = 4;
const T_GET_ID = 8;
const S_OK = 0;
const S_IOERR = 1;
const S_UNSUPP = 2;
const HEADER = 16;
const SECTOR = 512;
const ID_LENGTH = 20;
const QUEUE_SIZE = 128;
const CONFIG_SIZE = 60;

export interface VirtioBlockOptions {
  readonly path: string;
  readonly readonly?: boolean;
}

/** A file that cannot be a disk. `cause` is Node's error where it could not be opened. */
export class DiskError extends RangeError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'DiskError';
  }
}

function openDisk(path: string, flags: number): { readonly fd: number; readonly size: number } {
  let fd: number;
  try {
    fd = openSync(path, flags);
  } catch (error) {
    throw new DiskError(error instanceof Error ? error.message : String(error), { cause: error });
  }
  const { size } = fstatSync(fd);
  if (size > 0 && size % SECTOR === 0) return { fd, size };
  closeSync(fd);
  throw new DiskError(`${path}: ${size} bytes are no whole number of sectors of ${SECTOR}`);
}

/** Opens the file. DiskError when it cannot, or when it is no whole number of sectors of 512 bytes. */
export function virtioBlock({ path, readonly = false }: VirtioBlockOptions): VirtioDevice {
  const { fd, size } = openDisk(path, readonly ? constants.O_RDONLY : constants.O_RDWR);
  const config = new Uint8Array(CONFIG_SIZE);
  new DataView(config.buffer).setBigUint64(0, BigInt(size / SECTOR), true);
  let closed = false;

  const transfer = (type: number, at: number, data: Uint8Array): number => {
    if (at + data.length > size) return S_IOERR;
    if (type === T_OUT && readonly) return S_IOERR;
    try {
      for (let done = 0; done < data.length; ) {
        const part =
          type === T_IN
            ? readSync(fd, data, done, data.length - done, at + done)
            : writeSync(fd, data, done, data.length - done, at + done);
        if (part === 0) return S_IOERR;
        done += part;
      }
      return S_OK;
    } catch {
      return S_IOERR;
    }
  };

  const carryOut = (request: Request, { memory }: VirtioMmio): number => {
    const sent = gather(memory, request.readable);
    const status = request.writable.at(-1);
    if (sent.length < HEADER || status === undefined || status.length < 1) return 0;
    const view = new DataView(sent.buffer);
    const type = view.getUint32(0, true);
    const at = Number(view.getBigUint64(8, true)) * SECTOR;
    // The last byte that the device may write is the status.
    const room = [...request.writable.slice(0, -1), { gpa: status.gpa, length: status.length - 1 }];
    const length = room.reduce((sum, buffer) => sum + buffer.length, 0);
    let answer = S_UNSUPP;
    let written = 0;
    if (type === T_IN) {
      const data = new Uint8Array(Math.min(length, Math.max(0, size - at)));
      answer = data.length === length ? transfer(T_IN, at, data) : S_IOERR;
      if (answer === S_OK) written = scatter(memory, room, data);
    } else if (type === T_OUT) answer = transfer(T_OUT, at, sent.subarray(HEADER));
    else if (type === T_FLUSH) {
      fsyncSync(fd);
      answer = S_OK;
    } else if (type === T_GET_ID) {
      const id = new Uint8Array(Math.min(ID_LENGTH, length));
      new TextEncoder().encodeInto('privmem', id);
      written = scatter(memory, room, id);
      answer = S_OK;
    }
    memory.write(status.gpa + status.length - 1, Uint8Array.of(answer));
    return written + 1;
  };

  return {
    name: 'virtio-block',
    id: ID_BLOCK,
    features: readonly ? [F_RO, F_FLUSH] : [F_FLUSH],
    queueSizes: [QUEUE_SIZE],
    config,
    notify: (index, transport) => {
      const queue = transport.queues[index];
      let wanted = false;
      for (let request = queue?.take(); queue !== undefined && request !== undefined; request = queue.take()) {
        wanted = queue.put(request, carryOut(request, transport)) || wanted;
      }
      if (wanted) transport.interrupt();
    },
    close: () => {
      if (!closed) closeSync(fd);
      closed = true;
    },
  };
}
