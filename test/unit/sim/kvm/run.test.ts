/** Running simulated vCPUs: slices on the event loop, kicks, aborts, limits, several vCPUs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Sys } from '../../../../lib/kernel/sys.ts';
import { Kvm } from '../../../../lib/kvm/kvm.ts';
import { simulate } from '../../../../lib/sim/simulate.ts';
import { DATA, Guest } from '../../../support/guest.ts';

const intr = { name: 'KVM_EXIT_INTR', reason: 10 };
const FLAG = DATA;

function spinning(vcpus = 1): Guest {
  const guest = new Guest(Kvm.open(new Sys(simulate())));
  for (let id = 0; id < vcpus; id++) {
    guest.load((g) => {
      g.whileEqual(FLAG + 8 * id, 0);
      g.report(0, g.load(FLAG + 8 * id));
    }, id);
  }
  return guest;
}

describe('running simulated vCPUs', () => {
  it('leaves the event loop free', async () => {
    const guest = spinning();
    const run = guest.vcpu().run();
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    while (ticks <= 3) await sleep(10);
    clearInterval(timer);
    expect(guest.vcpu().running).toBe(true);
    guest.memory.writeU64(FLAG, 77);
    expect(await run).toMatchObject({ name: 'KVM_EXIT_MMIO', isWrite: true });
    expect(guest.finish()).toMatchObject({ last: { name: 'KVM_EXIT_HLT' } });
  });

  it('ends at a limit, a kick, an abort; the guest goes on where it was', async () => {
    const guest = spinning();
    const vcpu = guest.vcpu();
    expect(vcpu.runSync({ timeoutMs: 20 })).toEqual(intr);
    expect(vcpu.runPage.getUint32(8, true)).toBe(10);
    const kicked = vcpu.run();
    await sleep(5);
    vcpu.kick();
    expect(await kicked).toEqual(intr);
    const controller = new AbortController();
    const aborted = vcpu.run({ signal: controller.signal });
    setTimeout(() => controller.abort(), 5);
    await expect(aborted).rejects.toThrow('aborted');
    guest.memory.writeU64(FLAG, 1);
    expect(vcpu.runSync()).toMatchObject({ name: 'KVM_EXIT_MMIO' });
  });

  it('a kick before a run ends that run only, and kicks do not add up', () => {
    const guest = spinning();
    guest.memory.writeU64(FLAG, 1);
    const vcpu = guest.vcpu();
    vcpu.kick();
    vcpu.kick();
    expect(vcpu.runSync()).toEqual(intr);
    expect(vcpu.runSync()).toMatchObject({ name: 'KVM_EXIT_MMIO' });
  });

  it('a vCPU that waits for another goes on when that one is run, whoever runs it', async () => {
    const guest = spinning(0);
    guest.load((g) => g.store(FLAG + 8, 5));
    guest.load((g) => {
      g.whileEqual(FLAG + 8, 0);
      g.report(0, 0);
    }, 1);
    const waiting = guest.vcpu(1).run();
    expect(guest.vcpu(0).runSync()).toMatchObject({ name: 'KVM_EXIT_HLT' });
    expect(await waiting).toMatchObject({ name: 'KVM_EXIT_MMIO' });
  });

  it('closing ends a run', async () => {
    const guest = spinning();
    const run = guest.vcpu().run();
    guest.vcpu().close();
    await expect(run).rejects.toThrow('closed');
  });

  it('a second run meanwhile is EBUSY', async () => {
    const guest = spinning();
    const { kernel } = guest.vm.sys;
    const fd = guest.vm.ioctl(0xae41, 7);
    const page = kernel.mmap(0, 12288, 3, 1, fd, 0);
    const handle = kernel.vcpuAttach(fd, page);
    const result = new Promise<number>((done) => {
      // Real mode at the reset vector: no memory there, so the first fetch ends it.
      expect(kernel.vcpuStart(handle, done)).toBe(0);
    });
    expect([kernel.vcpuStart(handle, () => {}), kernel.vcpuRun(handle, 0)]).toEqual([-16, -16]);
    expect(await result).toBe(0);
    expect([kernel.vcpuDetach(handle), kernel.munmap(page, 12288)]).toEqual([0, 0]);
  });
});
