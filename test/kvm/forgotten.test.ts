/** The net below `close`: owners that nobody refers to any more are closed by the garbage collector. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { Memfd } from '../../lib/memory/memfd.ts';
import { hostState, threadCount } from '../support/host-state.ts';
import { describeKvm } from '../support/kvm.ts';

const PAGE = 4096;

/** Collects until `done` says so; finalizers run some time after the collector. */
async function collectUntil(done: () => boolean, rounds = 50): Promise<void> {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  for (let i = 0; i < rounds && !done(); i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describeKvm('forgotten owners', ({ sys, kvm }) => {
  const count = (): number => hostState(sys).descriptors.length;

  it('are closed: files and mappings', async () => {
    const before = hostState(sys);
    const forget = (): void => {
      Memfd.create(sys, { size: PAGE }).map();
    };
    forget();
    expect(count()).toBe(before.descriptors.length + 1);
    await collectUntil(() => count() === before.descriptors.length && hostState(sys).maps === before.maps);
    expect(hostState(sys)).toEqual(before);
  });

  it('are closed: whole trees, with threads and slots', async () => {
    const before = { ...hostState(sys), threads: threadCount(sys) };
    const now = () => ({ ...hostState(sys), threads: threadCount(sys) });
    const forget = async (): Promise<void> => {
      const vm = Kvm.open(sys).createVm();
      const backing = Memfd.create(sys, { size: PAGE }).map();
      vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing });
      vm.raw.createGuestMemfd(PAGE);
      const vcpu = vm.createVcpu();
      vcpu.kick();
      await vcpu.run();
    };
    await forget();
    expect(count()).toBeGreaterThan(before.descriptors.length + 2);
    await collectUntil(() => JSON.stringify(now()) === JSON.stringify(before));
    expect(now()).toEqual(before);
  });

  it('stay as long as their parent is in use, and go with it', async () => {
    const before = count();
    let system: Kvm | undefined = Kvm.open(sys);
    const forget = (parent: Kvm): void => {
      parent.createVm().createVcpu();
    };
    forget(system);
    const made = count();
    await collectUntil(() => false, 10);
    expect([made, count()]).toEqual([before + 3, before + 3]);
    system.close();
    system = undefined;
    expect(count()).toBe(before);
  });

  it('that were closed are not closed again', async () => {
    const make = (): number => {
      const file = Memfd.create(sys, { size: PAGE });
      const { fd } = file;
      file.close();
      return fd;
    };
    const fd = make();
    // Gets the number; a second close of the first would take it away.
    const second = Memfd.create(sys, { size: 2 * PAGE });
    expect(second.fd).toBe(fd);
    await collectUntil(() => false, 10);
    expect(second.size).toBe(2 * PAGE);
    second.close();
    expect(kvm.apiVersion()).toBe(12);
  });

  it('a slot is not forgotten while its VM is in use: the guest keeps its memory', async () => {
    const maps = hostState(sys).maps;
    const vm = kvm.createVm();
    const forget = (): void => {
      const backing = Memfd.create(sys, { size: PAGE }).map();
      vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing });
    };
    forget();
    await collectUntil(() => false, 10);
    expect(hostState(sys).maps).toBe(maps + 1);
    expect(vm.raw.setUserMemoryRegion({ slot: 0 })).toMatchObject({ ok: true });
    vm.close();
    await collectUntil(() => hostState(sys).maps === maps);
    expect(hostState(sys).maps).toBe(maps);
  });
});
