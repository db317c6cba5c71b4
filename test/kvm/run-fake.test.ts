/** The asynchronous run, moment by moment: what only a scripted kernel can time. */
import { describe, expect, it, vi } from 'vitest';
import { DisposedError, KernelError, StateError } from '../../lib/kernel/errors.ts';
import { KVM_EXIT } from '../../lib/uapi/index.ts';
import { fakeVcpu } from '../support/fake-vcpu.ts';

const R = KVM_EXIT.value;
const EINTR = -4;

describe('run', () => {
  it('is running until the kernel says so, and refuses everything else meanwhile', async () => {
    const state = fakeVcpu();
    const { vcpu } = state;
    const run = vcpu.run();
    expect(vcpu.running).toBe(true);
    expect(() => vcpu.runSync()).toThrow(StateError);
    expect(() => vcpu.ioctl(0xae80)).toThrow(StateError);
    expect(() => vcpu.x64.getRegs()).toThrow(/KVM_GET_REGS: the vCPU runs/);
    expect(() => vcpu.answer(1)).toThrow(StateError);
    await expect(vcpu.run()).rejects.toThrow(StateError);
    state.setExit(R.KVM_EXIT_HLT);
    state.end(0);
    expect(await run).toMatchObject({ name: 'KVM_EXIT_HLT' });
    expect(vcpu.running).toBe(false);
    expect(vcpu.lastExit).toEqual(await run);
  });

  it('rejects when the kernel refuses to start', async () => {
    const state = fakeVcpu(undefined, 'x64', { vcpuStart: () => -11 });
    await expect(state.vcpu.run()).rejects.toMatchObject({ name: 'KernelError', code: 'EAGAIN' });
    expect(state.vcpu.running).toBe(false);
  });

  it('rejects with the error of KVM_RUN', async () => {
    const state = fakeVcpu();
    const run = state.vcpu.run();
    state.end(-22);
    await expect(run).rejects.toThrow(KernelError);
    expect(state.vcpu.running).toBe(false);
  });

  it('rejects with DisposedError when it was closed meanwhile, even if an exit came', async () => {
    for (const result of [0, EINTR, -14]) {
      const state = fakeVcpu();
      const run = state.vcpu.run();
      state.vcpu.close();
      state.end(result);
      await expect(run).rejects.toThrow(DisposedError);
    }
  });
});

describe('AbortSignal', () => {
  it('is looked at before the start', async () => {
    const state = fakeVcpu();
    const reason = new Error('too late');
    await expect(state.vcpu.run({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(state.fake.calls).toEqual([]);
  });

  it('kicks, and the reason comes when the vCPU has stopped', async () => {
    const state = fakeVcpu();
    const controller = new AbortController();
    const run = state.vcpu.run({ signal: controller.signal });
    const settled = vi.fn();
    run.catch(settled);
    controller.abort('reason');
    await new Promise(setImmediate);
    expect(state.fake.of('vcpuKick')).toHaveLength(1);
    expect([settled.mock.calls.length, state.vcpu.running]).toEqual([0, true]);
    state.end(EINTR);
    await expect(run).rejects.toBe('reason');
  });

  it('does not lose an exit that came at the same moment', async () => {
    const state = fakeVcpu();
    const controller = new AbortController();
    const run = state.vcpu.run({ signal: controller.signal });
    controller.abort();
    state.setExit(R.KVM_EXIT_HLT);
    state.end(0);
    expect(await run).toMatchObject({ name: 'KVM_EXIT_HLT' });
  });

  it('is forgotten after the run', async () => {
    const state = fakeVcpu();
    const controller = new AbortController();
    const run = state.vcpu.run({ signal: controller.signal });
    state.end(0);
    await run;
    controller.abort();
    expect(state.fake.of('vcpuKick')).toEqual([]);
  });
});

describe('iteration', () => {
  it('gives every exit until the loop is left', async () => {
    const state = fakeVcpu();
    const reasons = [R.KVM_EXIT_HLT, R.KVM_EXIT_SHUTDOWN, R.KVM_EXIT_DEBUG];
    const seen: number[] = [];
    queueMicrotask(() => state.end(0));
    state.setExit(reasons[0] ?? 0);
    for await (const exit of state.vcpu) {
      seen.push(exit.reason);
      if (seen.length === reasons.length) break;
      state.setExit(reasons[seen.length] ?? 0);
      setImmediate(() => state.end(0));
    }
    expect(seen).toEqual(reasons);
    expect(state.vcpu.running).toBe(false);
  });

  it('ends quietly at an abort, and with every other error', async () => {
    const state = fakeVcpu();
    const controller = new AbortController();
    setImmediate(() => {
      controller.abort();
      state.end(EINTR);
    });
    const seen: unknown[] = [];
    for await (const exit of state.vcpu.exits({ signal: controller.signal })) seen.push(exit);
    expect(seen).toEqual([]);
    setImmediate(() => state.end(-5));
    await expect(state.vcpu.exits().next()).rejects.toMatchObject({ code: 'EIO' });
  });
});

describe('runSync', () => {
  it('refuses a negative limit, which would be none', () => {
    const state = fakeVcpu();
    expect(() => state.vcpu.runSync({ timeoutMs: -1 })).toThrow(RangeError);
    expect(state.fake.calls).toEqual([]);
    state.vcpu.runSync({ timeoutMs: 5 });
    state.vcpu.runSync();
    expect(state.fake.of('vcpuRun').map(({ args }) => args)).toEqual([
      [1, 5],
      [1, 0],
    ]);
  });
});

describe('completeIo', () => {
  it('kicks first, so that the guest goes no further', () => {
    const state = fakeVcpu();
    state.result = EINTR;
    expect(state.vcpu.completeIo()).toMatchObject({ name: 'KVM_EXIT_INTR' });
    expect(state.fake.calls.map(({ call }) => call)).toEqual(['vcpuKick', 'vcpuRun']);
  });

  it('gives the next part of an instruction that has one', () => {
    const state = fakeVcpu();
    state.setExit(R.KVM_EXIT_MMIO);
    expect(state.vcpu.completeIo()).toMatchObject({ name: 'KVM_EXIT_MMIO' });
  });
});
