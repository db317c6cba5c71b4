/** Views: ArrayBuffers that alias mapped memory, and what becomes of them when the mapping goes. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import v8 from 'node:v8';
import vm from 'node:vm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import guest from './children/guest.cjs';
import { foreignMemory, kernel, must, mustView } from './host.ts';

const { E, MAP, PAGE, PROT } = guest;
const ANONYMOUS = MAP.PRIVATE | MAP.ANONYMOUS;
const AREA = 4 * PAGE;

let area = 0;

beforeEach(() => {
  area = must(kernel.mmap(0, AREA, PROT.RW, ANONYMOUS, -1, 0));
});
afterEach(async () => {
  await collect();
  must(kernel.munmap(area, AREA));
});

/** Collects garbage and lets the finalizers run. */
async function collect(): Promise<void> {
  v8.setFlagsFromString('--expose-gc');
  const gc: unknown = vm.runInNewContext('gc');
  for (let i = 0; i < 4; i++) {
    if (typeof gc === 'function') gc();
    await nextTurn();
  }
}

describe('a view', () => {
  it('aliases the memory in both directions', () => {
    const bytes = new Uint8Array(mustView(kernel.view(area, AREA)));
    expect(bytes.length).toBe(AREA);
    bytes[5] = 42;
    const back = new Uint8Array(1);
    kernel.copyOut(area + 5, back);
    expect(back[0]).toBe(42);
    kernel.fill(area + PAGE, 1, 43);
    expect(bytes[PAGE]).toBe(43);
    must(kernel.munmap(area, AREA));
  });

  it('of a shared file sees writes to the file', () => {
    const fd = must(kernel.memfdCreate('view', 0));
    must(kernel.ftruncate(fd, PAGE));
    const at = must(kernel.mmap(0, PAGE, PROT.RW, MAP.SHARED, fd, 0));
    const bytes = new Uint8Array(mustView(kernel.view(at, PAGE)));
    must(kernel.pwrite(fd, Uint8Array.of(9), 100));
    expect(bytes[100]).toBe(9);
    must(kernel.munmap(at, PAGE));
    expect(bytes.length).toBe(0);
    kernel.close(fd);
  });

  it('need not begin or end at a page', () => {
    const odd = mustView(kernel.view(area + 3, 10));
    expect(odd.byteLength).toBe(10);
    new Uint8Array(odd).fill(1);
    expect(kernel.compare(area, Uint8Array.of(0, 0, 0, ...new Array(10).fill(1), 0))).toBe(14);
  });

  it('of the same range is the same buffer', () => {
    const one = kernel.view(area, PAGE);
    expect(kernel.view(area, PAGE)).toBe(one);
    expect(kernel.view(area, PAGE + 1)).not.toBe(one);
    must(kernel.munmap(area, PAGE));
    expect(() => kernel.view(area, PAGE)).toThrow(RangeError);
  });

  it('may span mappings of ours that touch', () => {
    must(kernel.mmap(area + PAGE, PAGE, PROT.RW, ANONYMOUS | MAP.FIXED, -1, 0));
    expect(mustView(kernel.view(area, AREA)).byteLength).toBe(AREA);
  });
});

describe('what cannot be viewed', () => {
  it('memory of others, nothing, and beyond the end', () => {
    expect(() => kernel.view(Number(foreignMemory()), PAGE)).toThrow(RangeError);
    expect(() => kernel.view(area, AREA + 1)).toThrow(RangeError);
    expect(() => kernel.view(area, 0)).toThrow(RangeError);
    expect(() => kernel.view(2n ** 64n - 1n, 2)).toThrow(RangeError);
    must(kernel.munmap(area + PAGE, PAGE));
    expect(() => kernel.view(area, AREA)).toThrow(RangeError);
    expect(() => kernel.view(area + 2 * PAGE - 1, 2)).toThrow(RangeError);
  });
});

describe('munmap', () => {
  it('detaches the buffers that it touches, and no other', () => {
    const first = mustView(kernel.view(area, PAGE));
    const across = mustView(kernel.view(area + PAGE - 1, 2));
    const last = mustView(kernel.view(area + 3 * PAGE, PAGE));
    must(kernel.munmap(area + PAGE, PAGE));
    expect([first, across, last].map((buffer) => buffer.byteLength)).toEqual([PAGE, 0, PAGE]);
    new Uint8Array(first).fill(1);
    must(kernel.munmap(area, PAGE));
    expect(first.byteLength).toBe(0);
    must(kernel.munmap(area + 3 * PAGE, PAGE));
    expect(last.byteLength).toBe(0);
  });

  it('that fails detaches nothing', () => {
    const buffer = mustView(kernel.view(area, PAGE));
    expect(kernel.munmap(area + 1, PAGE)).toBe(-E.EINVAL);
    expect(buffer.byteLength).toBe(PAGE);
  });

  it('frees the memory at once and the addresses when the buffer is gone', async () => {
    let buffer: ArrayBuffer | undefined = mustView(kernel.view(area, AREA));
    must(kernel.munmap(area, AREA));
    expect(buffer.byteLength).toBe(0);
    buffer = undefined;
    await collect();
    expect(kernel.mmap(area, AREA, PROT.RW, ANONYMOUS | MAP.FIXED_NOREPLACE, -1, 0)).toBe(area);
  });

  it('MAP_FIXED across a view is refused', () => {
    const buffer = mustView(kernel.view(area, PAGE));
    expect(() => kernel.mmap(area, PAGE, PROT.RW, ANONYMOUS | MAP.FIXED, -1, 0)).toThrow(/view/);
    expect(kernel.mmap(area + PAGE, PAGE, PROT.RW, ANONYMOUS | MAP.FIXED, -1, 0)).toBe(area + PAGE);
    expect(buffer.byteLength).toBe(PAGE);
  });
});

describe('buffers that were moved', () => {
  const movers: [string, (buffer: ArrayBuffer) => ArrayBuffer | undefined][] = [
    ['structuredClone', (buffer) => structuredClone(buffer, { transfer: [buffer] })],
    ['ArrayBuffer.transfer', (buffer) => Reflect.get(buffer, 'transfer')?.call(buffer) as ArrayBuffer | undefined],
    [
      'postMessage',
      (buffer) => {
        const { port1, port2 } = new MessageChannel();
        port1.postMessage(buffer, [buffer]);
        port1.close();
        port2.close();
        return undefined;
      },
    ],
  ];
  it.each(movers)('%s, then munmap: what was moved can still be touched', async (_name, move) => {
    const buffer = mustView(kernel.view(area, AREA));
    new Uint8Array(buffer).fill(7);
    let moved: ArrayBuffer | undefined;
    try {
      moved = move(buffer);
    } catch (error) {
      // Some versions of Node.js refuse to move such a buffer, others copy it: both are safe.
      expect(error).toBeInstanceOf(Error);
    }
    must(kernel.munmap(area, AREA));
    expect(buffer.byteLength).toBe(0);
    await collect();
    if (moved !== undefined) {
      const bytes = new Uint8Array(moved);
      bytes.fill(bytes.every((byte) => byte === 7 || byte === 0) ? 1 : 2);
      expect(bytes.every((byte) => byte === 1)).toBe(true);
    }
  });

  it('a view that was moved away gives a fresh one', () => {
    const buffer = mustView(kernel.view(area, PAGE));
    try {
      structuredClone(buffer, { transfer: [buffer] });
    } catch {
      // As above.
    }
    const again = mustView(kernel.view(area, PAGE));
    expect(again.byteLength).toBe(PAGE);
    new Uint8Array(again)[0] = 3;
    expect(kernel.compare(area, Uint8Array.of(3))).toBe(1);
  });
});

describe('garbage collection', () => {
  it('of a view leaves the mapping, and views can be made again and again', async () => {
    kernel.fill(area, AREA, 5);
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 50; i++) mustView(kernel.view(area + i, PAGE));
      await collect();
    }
    expect(new Uint8Array(mustView(kernel.view(area, PAGE)))[0]).toBe(5);
  });
});
