/** A console with one port (hvc0). Virtual I/O Device 1.2, 5.3 */
import type { VirtioDevice, VirtioMmio } from './virtio-mmio.ts';
import { gather, scatter } from './virtqueue.ts';

const ID_CONSOLE = 3;
const RECEIVE = 0;
const TRANSMIT = 1;
const QUEUE_SIZE = 64;
const CONFIG_SIZE = 12;

export interface VirtioConsole extends VirtioDevice {
  /** Bytes for the guest; they wait until its driver has room. */
  input(bytes: Uint8Array): void;
}

export function virtioConsole(output: (bytes: Uint8Array) => void): VirtioConsole {
  let waiting: Uint8Array = new Uint8Array(0);
  let transport: VirtioMmio | undefined;

  const deliver = (): void => {
    const queue = transport?.queues[RECEIVE];
    if (transport === undefined || queue === undefined || !transport.live) return;
    let wanted = false;
    while (waiting.length > 0) {
      const request = queue.take();
      if (request === undefined) break;
      const written = scatter(transport.memory, request.writable, waiting);
      waiting = waiting.subarray(written);
      wanted = queue.put(request, written) || wanted;
    }
    if (wanted) transport.interrupt();
  };

  return {
    name: 'virtio-console',
    id: ID_CONSOLE,
    features: [],
    queueSizes: [QUEUE_SIZE, QUEUE_SIZE],
    config: new Uint8Array(CONFIG_SIZE),
    input: (bytes) => {
      const more = new Uint8Array(waiting.length + bytes.length);
      more.set(waiting);
      more.set(bytes, waiting.length);
      waiting = more;
      deliver();
    },
    notify: (index, on) => {
      transport = on;
      if (index === RECEIVE) deliver();
      if (index !== TRANSMIT) return;
      const queue = on.queues[TRANSMIT];
      let wanted = false;
      for (let request = queue?.take(); queue !== undefined && request !== undefined; request = queue.take()) {
        output(gather(on.memory, request.readable));
        wanted = queue.put(request, 0) || wanted;
      }
      if (wanted) on.interrupt();
    },
  };
}
