/** Running: on the caller's thread and on the vCPU's own, interrupted from every side. */
import { afterEach, expect, it } from 'vitest';
import { DisposedError, StateError } from '../../lib/kernel/errors.ts';
import { DATA, Guest } from '../support/guest.ts';
import { describeKvm, requires } from '../support/kvm.ts';

const FLAG = DATA;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describeKvm(
  'running a vCPU',
  ({ kvm }) => {
    let guest = new Guest(kvm);
    afterEach(() => {
      guest.close();
      guest = new Guest(kvm);
    });
    /** Spins until the host changes FLAG, then reports what it found. */
    const spin = (id = 0): void => {
      guest.load((g) => {
        g.whileEqual(FLAG + 8 * id, 0);
        g.report(0, g.load(FLAG + 8 * id));
      }, id);
    };
    const intr = { name: 'KVM_EXIT_INTR', reason: 10 };

    it('runSync ends a guest that spins after its limit, close to it', () => {
      spin();
      const start = performance.now();
      expect(guest.vcpu().runSync({ timeoutMs: 50 })).toEqual(intr);
      const took = performance.now() - start;
      expect(took).toBeGreaterThanOrEqual(45);
      expect(took).toBeLessThan(2000);
      expect(guest.vcpu().lastExit).toEqual(intr);
    });

    it('run leaves the event loop free, and sees what the host changes meanwhile', async () => {
      spin();
      const run = guest.vcpu().run();
      let ticks = 0;
      const timer = setInterval(() => ticks++, 5);
      // A busy machine may take its time.
      for (let waited = 0; ticks < 4 && waited < 100; waited++) await sleep(20);
      expect(guest.vcpu().running).toBe(true);
      guest.memory.writeU64(FLAG, 77);
      expect(await run).toMatchObject({
        name: 'KVM_EXIT_MMIO',
        isWrite: true,
        data: new Uint8Array([77, 0, 0, 0, 0, 0, 0, 0]),
      });
      clearInterval(timer);
      expect(ticks).toBeGreaterThan(3);
    });

    const THREAD = { real: 'a thread goes on while the event loop stands still' };
    requires(THREAD)('an abort that comes with a real exit loses neither the exit nor the next run', async () => {
      for (const next of [() => guest.vcpu().runSync(), () => guest.vcpu().run()]) {
        spin();
        guest.memory.writeU64(FLAG, 0);
        const controller = new AbortController();
        const run = guest.vcpu().run({ signal: controller.signal });
        guest.memory.writeU64(FLAG, 3);
        // The event loop stands still meanwhile: the run has ended, but nobody has heard of it.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
        controller.abort();
        expect(await run).toMatchObject({ name: 'KVM_EXIT_MMIO' });
        expect(await next()).toMatchObject({ name: 'KVM_EXIT_HLT' });
      }
    });

    it('a kick ends the run, and the guest goes on where it was', async () => {
      spin();
      const run = guest.vcpu().run();
      await sleep(10);
      guest.vcpu().kick();
      expect(await run).toEqual(intr);
      guest.memory.writeU64(FLAG, 5);
      expect(await guest.vcpu().run()).toMatchObject({ name: 'KVM_EXIT_MMIO' });
    });

    it('a kick before the run ends the next one, once, however many there were', async () => {
      guest.load((g) => g.halt());
      for (let i = 0; i < 5; i++) guest.vcpu().kick();
      expect(guest.vcpu().runSync({ timeoutMs: 1000 })).toEqual(intr);
      expect(guest.vcpu().runSync({ timeoutMs: 1000 }).name).toBe('KVM_EXIT_HLT');
      guest.vcpu().kick();
      expect(await guest.vcpu().run()).toEqual(intr);
      expect((await guest.vcpu().run()).name).toBe('KVM_EXIT_HLT');
    });

    it('kicks at any moment of start and end leave no vCPU hanging', async () => {
      spin();
      for (let i = 0; i < 200; i++) {
        const run = guest.vcpu().run();
        if (i % 3 === 0) await sleep(0);
        if (i % 3 === 1) await Promise.resolve();
        guest.vcpu().kick();
        expect(await run).toEqual(intr);
      }
    });

    it('an AbortSignal ends the run with its reason', async () => {
      spin();
      const reason = new Error('enough');
      const controller = new AbortController();
      const run = guest.vcpu().run({ signal: controller.signal });
      setTimeout(() => controller.abort(reason), 10);
      await expect(run).rejects.toBe(reason);
      expect(guest.vcpu().running).toBe(false);
      // Nothing is left over: the guest runs on.
      guest.memory.writeU64(FLAG, 1);
      expect(await guest.vcpu().run()).toMatchObject({ name: 'KVM_EXIT_MMIO' });
    });

    it('AbortSignal.timeout is a limit for the asynchronous run', async () => {
      spin();
      await expect(guest.vcpu().run({ signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
        name: 'TimeoutError',
      });
    });

    it('refuses what would wait for the running vCPU', async () => {
      spin();
      const vcpu = guest.vcpu();
      const run = vcpu.run();
      for (const call of [
        () => vcpu.runSync(),
        () => vcpu.completeIo(),
        () => vcpu.x64.getRegs(),
        () => vcpu.x64.setMpState(0),
        () => vcpu.preFault(0, 4096),
        () => vcpu.answer(0),
      ]) {
        expect(call).toThrow(StateError);
      }
      await expect(vcpu.run()).rejects.toThrow(StateError);
      vcpu.kick();
      expect(await run).toEqual(intr);
      expect(vcpu.x64.getRegs().rip).toBeGreaterThan(0n);
    });

    it('closing a running vCPU ends its run with DisposedError', async () => {
      spin();
      const vcpu = guest.vcpu();
      const run = vcpu.run();
      await sleep(10);
      vcpu.close();
      await expect(run).rejects.toThrow(DisposedError);
      await expect(vcpu.run()).rejects.toThrow(DisposedError);
      expect(() => vcpu.kick()).not.toThrow();
    });

    it('closing the VM ends the runs of all its vCPUs', async () => {
      const runs = [0, 1].map((id) => {
        spin(id);
        return guest.vcpu(id).run();
      });
      const ends = Promise.allSettled(runs);
      await sleep(10);
      guest.vm.close();
      for (const ended of await ends) {
        expect(ended).toMatchObject({ status: 'rejected', reason: expect.any(DisposedError) });
      }
    });

    it('several vCPUs run at once and see the same memory', async () => {
      const count = 3;
      const counter = DATA + 0x1000;
      for (let id = 0; id < count; id++) {
        guest.load((g) => {
          g.whileEqual(FLAG, 0);
          g.repeat(200, () => void g.fetchAdd(counter, id + 1));
        }, id);
      }
      const runs = Array.from({ length: count }, (_, id) => guest.vcpu(id).run());
      await sleep(5);
      expect(guest.memory.readU64(counter)).toBe(0n);
      guest.memory.writeU64(FLAG, 1);
      for (const exit of await Promise.all(runs)) expect(exit.name).toBe('KVM_EXIT_HLT');
      expect(guest.memory.readU64(counter)).toBe(200n * (1n + 2n + 3n));
    });

    it('iterates over the exits of a guest', async () => {
      guest.load((g) => g.repeat(3, (i) => g.report(1, i)));
      const names: unknown[] = [];
      for await (const exit of guest.vcpu()) {
        names.push(exit.name);
        if (exit.name === 'KVM_EXIT_HLT') break;
      }
      expect(names).toEqual(['KVM_EXIT_MMIO', 'KVM_EXIT_MMIO', 'KVM_EXIT_MMIO', 'KVM_EXIT_HLT']);
    });

    it('ends an iteration when the signal says so', async () => {
      spin();
      const seen: unknown[] = [];
      for await (const exit of guest.vcpu().exits({ signal: AbortSignal.timeout(20) })) seen.push(exit);
      expect(seen).toEqual([]);
    });

    it('halts again and again when it is run again', () => {
      guest.load((g) => g.halt());
      for (let i = 0; i < 3; i++) expect(guest.vcpu().runSync({ timeoutMs: 1000 }).name).toBe('KVM_EXIT_HLT');
    });

    it('the run page is the memory that the kernel writes', () => {
      guest.load((g) => g.halt());
      guest.vcpu().runSync({ timeoutMs: 1000 });
      expect(guest.vcpu().runPage.getUint32(8, true)).toBe(5);
      const page = guest.vcpu().runPage;
      guest.vcpu().close();
      expect(() => page.getUint32(8, true)).toThrow(TypeError);
      expect(() => guest.vcpu().runPage).toThrow(DisposedError);
    });
  },
  { arch: 'x64' },
);
