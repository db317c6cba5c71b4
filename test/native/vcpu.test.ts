/** vCPUs: runs on the caller's thread and on their own, and the kick. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runChild } from '../support/child.ts';
import guest from './children/guest.cjs';
import { childScript, kernel, must, withKvm } from './host.ts';

const { CODE, E, EXIT, MAP, PAGE, PROT } = guest;
type Guest = ReturnType<typeof guest.openGuest>;

/** Runs on the vCPU's own thread. */
function start(handle: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const started = kernel.vcpuStart(handle, resolve);
    if (started !== 0) reject(new Error(`errno ${-started}`));
  });
}

describe('attaching', () => {
  it('wants the start of a page of ours, and each page once', () => {
    const page = must(kernel.mmap(0, PAGE, PROT.RW, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0));
    expect(() => kernel.vcpuAttach(-1, page + 8)).toThrow(/runPage/);
    expect(() => kernel.vcpuAttach(-1, page + PAGE)).toThrow(/runPage/);
    const handle = must(kernel.vcpuAttach(-1, page));
    expect(kernel.vcpuAttach(-1, page)).toBe(-E.EBUSY);
    expect(kernel.vcpuRun(handle, 0)).toBe(-E.EBADF);
    expect(kernel.vcpuDetach(handle)).toBe(0);
    expect(kernel.vcpuDetach(handle)).toBe(-E.EBADF);
    expect(kernel.vcpuRun(handle, 0)).toBe(-E.EBADF);
    must(kernel.munmap(page, PAGE));
  });

  it('a descriptor that is no vCPU gives the kernel’s answer', async () => {
    const page = must(kernel.mmap(0, PAGE, PROT.RW, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0));
    const fd = must(kernel.memfdCreate('no vcpu', 0));
    const handle = must(kernel.vcpuAttach(fd, page));
    expect(kernel.vcpuRun(handle, 0)).toBe(-E.ENOTTY);
    expect(await start(handle)).toBe(-E.ENOTTY);
    kernel.vcpuDetach(handle);
    kernel.close(fd);
    must(kernel.munmap(page, PAGE));
  });
});

withKvm('running', () => {
  let out: Guest;
  let spin: Guest;
  beforeEach(() => {
    out = guest.openGuest(kernel, CODE.out);
    spin = guest.openGuest(kernel, CODE.spin);
  });
  afterEach(() => {
    guest.closeGuest(kernel, out);
    guest.closeGuest(kernel, spin);
  });

  it('vcpuRun comes back with the exit', () => {
    for (let i = 0; i < 3; i++) {
      expect(kernel.vcpuRun(out.handle, 0)).toBe(0);
      expect(guest.exitReason(kernel, out)).toBe(EXIT.IO);
    }
  });

  it('vcpuRun ends at its limit, and the limit leaves nothing behind', () => {
    const before = performance.now();
    expect(kernel.vcpuRun(spin.handle, 30)).toBe(-E.EINTR);
    const took = performance.now() - before;
    expect(took).toBeGreaterThanOrEqual(29);
    expect(took).toBeLessThan(2000);
    expect(kernel.vcpuRun(out.handle, 2_147_483_647)).toBe(0);
    for (let i = 0; i < 200; i++) expect([0, -E.EINTR]).toContain(kernel.vcpuRun(out.handle, 1));
    expect(kernel.vcpuRun(out.handle, 0)).toBe(0);
  });

  it('vcpuStart tells its end, and the event loop goes on meanwhile', async () => {
    let ended = false;
    const run = start(spin.handle).then((result) => {
      ended = true;
      return result;
    });
    for (let i = 0; i < 5; i++) await sleep(5);
    expect(ended).toBe(false);
    kernel.vcpuKick(spin.handle);
    expect(await run).toBe(-E.EINTR);
    expect(await start(out.handle)).toBe(0);
    expect(guest.exitReason(kernel, out)).toBe(EXIT.IO);
  });

  it('one run at a time', async () => {
    const run = start(spin.handle);
    expect(kernel.vcpuRun(spin.handle, 10)).toBe(-E.EBUSY);
    expect(kernel.vcpuStart(spin.handle, () => undefined)).toBe(-E.EBUSY);
    kernel.vcpuKick(spin.handle);
    expect(await run).toBe(-E.EINTR);
    expect(kernel.vcpuRun(spin.handle, 5)).toBe(-E.EINTR);
  });

  it('`done` may start the next run', async () => {
    const results: number[] = [];
    await new Promise<void>((resolve) => {
      const next = (result: number): void => {
        results.push(result);
        if (results.length === 100) resolve();
        else must(kernel.vcpuStart(out.handle, next));
      };
      must(kernel.vcpuStart(out.handle, next));
    });
    expect(results).toEqual(new Array(100).fill(0));
  });

  it('several at once', async () => {
    const more = [guest.openGuest(kernel, CODE.spin), guest.openGuest(kernel, CODE.spin)];
    const all = [spin, ...more];
    const runs = all.map((one) => start(one.handle));
    await sleep(10);
    expect(await start(out.handle)).toBe(0);
    for (const one of all) kernel.vcpuKick(one.handle);
    expect(await Promise.all(runs)).toEqual([-E.EINTR, -E.EINTR, -E.EINTR]);
    for (const one of more) guest.closeGuest(kernel, one);
  });

  it('detaching mid-run ends the run, and `done` still gets its result', async () => {
    const run = start(spin.handle);
    await sleep(5);
    expect(kernel.vcpuDetach(spin.handle)).toBe(0);
    expect(await run).toBe(-E.EINTR);
  });

  it('detaching at once after the start, many times', async () => {
    const runs: Promise<number>[] = [];
    for (let i = 0; i < 200; i++) {
      runs.push(start(spin.handle));
      must(kernel.vcpuDetach(spin.handle));
      spin.handle = must(kernel.vcpuAttach(spin.fd, spin.runPage));
    }
    expect(new Set(await Promise.all(runs))).toEqual(new Set([-E.EINTR]));
  });
});

withKvm('a limit that cannot be set', () => {
  const listed = existsSync('/proc/self/timers');
  it.skipIf(!listed)(`leaves no timer behind${listed ? '' : ' (skipped: no /proc/self/timers)'}`, async () => {
    const result = await runChild(childScript('timers.cjs'));
    expect(result).toMatchObject({ status: 0, stderr: '' });
    expect(JSON.parse(result.stdout)).toEqual({ limited: -4, forbidden: [-13], timers: 0 });
  });
});

withKvm('a kick', () => {
  let out: Guest;
  let spin: Guest;
  beforeEach(() => {
    out = guest.openGuest(kernel, CODE.out);
    spin = guest.openGuest(kernel, CODE.spin);
  });
  afterEach(() => {
    guest.closeGuest(kernel, out);
    guest.closeGuest(kernel, spin);
  });

  it('before a run ends that run, once, and kicks do not add up', async () => {
    for (const kicks of [1, 2, 5]) {
      for (let i = 0; i < kicks; i++) expect(kernel.vcpuKick(out.handle)).toBe(0);
      expect(kernel.vcpuRun(out.handle, 0)).toBe(-E.EINTR);
      expect(kernel.vcpuRun(out.handle, 0)).toBe(0);
      kernel.vcpuKick(out.handle);
      expect(await start(out.handle)).toBe(-E.EINTR);
      expect(await start(out.handle)).toBe(0);
    }
  });

  it('during a run ends it, at whatever moment it comes', async () => {
    for (let i = 0; i < 300; i++) {
      const run = start(spin.handle);
      for (let wait = 0; wait < (i % 50) * 200; wait++);
      kernel.vcpuKick(spin.handle);
      expect(await run).toBe(-E.EINTR);
      expect(kernel.vcpuRun(out.handle, 0)).toBe(0);
    }
  });

  it('is never lost and never counts twice when the guest leaves by itself', async () => {
    for (let i = 0; i < 500; i++) {
      const run = start(out.handle);
      for (let wait = 0; wait < (i % 50) * 200; wait++);
      kernel.vcpuKick(out.handle);
      const results = [await run, await start(out.handle), await start(out.handle)];
      expect(results.filter((result) => result === -E.EINTR)).toHaveLength(1);
      expect(results[2]).toBe(0);
    }
  });

  it('and a limit in the same run make one EINTR', () => {
    for (let i = 0; i < 20; i++) {
      kernel.vcpuKick(spin.handle);
      expect(kernel.vcpuRun(spin.handle, 1)).toBe(-E.EINTR);
      expect(kernel.vcpuRun(out.handle, 0)).toBe(0);
      const before = performance.now();
      expect(kernel.vcpuRun(spin.handle, 5)).toBe(-E.EINTR);
      expect(performance.now() - before).toBeGreaterThan(4);
    }
  });
});
