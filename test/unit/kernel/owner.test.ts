import { describe, expect, it } from 'vitest';
import { Descriptor } from '../../../lib/kernel/descriptor.ts';
import { DisposedError } from '../../../lib/kernel/errors.ts';
import { Sys } from '../../../lib/kernel/sys.ts';
import { defineIoctl } from '../../../lib/uapi/index.ts';
import { fakeKernel } from '../../support/fake-kernel.ts';

class Thing extends Descriptor {
  constructor(sys: Sys, parent: Descriptor | undefined, fd: number, before?: () => void) {
    super(sys, parent, 'file', fd, before);
  }
}

function setUp(refusing: ReadonlySet<number> = new Set()) {
  const closed: number[] = [];
  const fake = fakeKernel({
    close: (fd: number) => {
      closed.push(fd);
      if (refusing.has(fd)) throw new RangeError(`fd ${fd} is not ours`);
      return 0;
    },
  });
  return { sys: new Sys(fake.kernel), closed };
}

describe('owners', () => {
  it('close once, however often they are asked', () => {
    const { sys, closed } = setUp();
    const thing = new Thing(sys, undefined, 3);
    expect(thing.closed).toBe(false);
    thing.close();
    thing.close();
    thing[Symbol.dispose]();
    expect([thing.closed, closed]).toEqual([true, [3]]);
  });

  it('close with `using`, also when the block throws', () => {
    const { sys, closed } = setUp();
    expect(() => {
      using _thing = new Thing(sys, undefined, 3);
      throw new Error('body');
    }).toThrow('body');
    expect(closed).toEqual([3]);
  });

  it('close children first, newest first, and only those still open', () => {
    const { sys, closed } = setUp();
    const parent = new Thing(sys, undefined, 3);
    const first = new Thing(sys, parent, 4);
    const second = new Thing(sys, parent, 5);
    const third = new Thing(sys, parent, 6);
    const grandchild = new Thing(sys, first, 7);
    second.close();
    parent.close();
    expect(closed).toEqual([5, 6, 7, 4, 3]);
    expect([first, third, grandchild].every((child) => child.closed)).toBe(true);
  });

  it('run what comes before the descriptor goes', () => {
    const { sys, closed } = setUp();
    new Thing(sys, undefined, 3, () => closed.push(-1)).close();
    expect(closed).toEqual([-1, 3]);
  });

  it('one that cannot be closed does not keep the others open', () => {
    const { sys, closed } = setUp(new Set([5]));
    const parent = new Thing(sys, undefined, 3);
    new Thing(sys, parent, 4);
    new Thing(sys, parent, 5);
    expect(() => parent.close()).toThrow('fd 5 is not ours');
    expect(closed).toEqual([5, 4, 3]);
    expect(() => parent.close()).not.toThrow();
  });

  it('throw DisposedError afterwards, before anything reaches the kernel', () => {
    const fake = fakeKernel();
    const thing = new Thing(new Sys(fake.kernel), undefined, 3);
    const parts = { name: String(thing), kind: thing.kind, fd: thing.fd, place: thing.place };
    expect(parts).toEqual({ name: 'file (fd 3)', kind: 'file', fd: 3, place: { fd: 3 } });
    thing.close();
    fake.calls.length = 0;
    expect(() => thing.fd).toThrow(new DisposedError('file (fd 3)'));
    expect(() => thing.ioctl(0xae00)).toThrow(DisposedError);
    expect(() => thing.stat()).toThrow(DisposedError);
    expect(() => thing.raw.stat()).toThrow(DisposedError);
    expect(fake.calls).toEqual([]);
    expect(parts.place.fd).toBeUndefined();
    expect(String(thing)).toBe('file (fd 3)');
  });

  it('know requests by number for what they are: two may share one', () => {
    const fake = fakeKernel({ ioctl: () => -22 });
    const sys = new Sys(fake.kernel);
    const size = { nr: 0xf6, direction: 'write', encodedSize: 8 } as const;
    defineIoctl('OWNER_TEST_FILE', { ...size, on: 'file', arg: 'x' });
    defineIoctl('OWNER_TEST_VM', { ...size, on: 'vm', arg: 'x' });
    const request = new Thing(sys, undefined, 3).raw.ioctl(0x4008aef6, new Uint8Array(8));
    expect(request.ok ? '' : request.error).toMatchObject({ request: 'OWNER_TEST_FILE' });
  });

  it('give the same raw twin each time', () => {
    const thing = new Thing(setUp().sys, undefined, 3);
    expect(thing.raw).toBe(thing.raw);
    expect(thing.raw.close()).toEqual({ ok: true, errno: 0, value: undefined });
    expect(thing.closed).toBe(true);
  });
});
