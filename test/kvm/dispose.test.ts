/** Closing: in order, once, and nothing works afterwards, least of all on a descriptor that belongs to somebody else by now. */
import { expect, it } from 'vitest';
import type { CallName } from '../../lib/kernel/calls.ts';
import { DisposedError } from '../../lib/kernel/errors.ts';
import { Sys } from '../../lib/kernel/sys.ts';
import { type TraceRecord, traceKernel } from '../../lib/kernel/trace.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { Mapping } from '../../lib/memory/mapping.ts';
import { Memfd } from '../../lib/memory/memfd.ts';
import { hostState, threadCount } from '../support/host-state.ts';
import { describeKvm, requires, SHARED_GMEM } from '../support/kvm.ts';

const PAGE = 4096;

/** Calls everything that `owner` has, inherited methods and getters included, but close and what never fails. */
function uses(owner: object): [string, () => unknown][] {
  const harmless = new Set([
    'constructor',
    'close',
    'closed',
    'toString',
    'raw',
    'kick',
    'exits',
    'running',
    'lastExit',
  ]);
  // Facts that were known at creation stay known.
  const facts = new Set(['gpa', 'flags', 'mappable', 'initShared']);
  const found: [string, () => unknown][] = [];
  for (let p: object = owner; p !== Object.prototype; p = Object.getPrototypeOf(p)) {
    for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(p))) {
      if (harmless.has(name) || facts.has(name)) continue;
      if (typeof property.value === 'function') {
        found.push([name, () => Reflect.apply(property.value, owner, [0, new Uint8Array(1), 0, 0])]);
      } else if (property.get !== undefined) {
        found.push([name, () => Reflect.apply(property.get ?? (() => {}), owner, [])]);
      }
    }
  }
  return found;
}

describeKvm('closing', ({ sys, kvm }) => {
  const everything = () => {
    const system = Kvm.open(sys);
    const vm = system.createVm();
    const vcpu = vm.createVcpu();
    const file = Memfd.create(sys, { size: PAGE });
    const backing = file.map();
    const slot = vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing });
    return { system, vm, vcpu, file, backing, slot };
  };

  it('makes every method and getter of every owner a DisposedError, before the kernel is asked', async () => {
    const asked: TraceRecord[] = [];
    const traced = new Sys(traceKernel(sys.kernel, (record) => asked.push(record)));
    const system = Kvm.open(traced);
    const vm = system.createVm();
    const file = Memfd.create(traced, { size: PAGE });
    const backing = file.map();
    const owners = [
      vm.createVcpu(),
      vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing }),
      vm,
      system,
      backing,
      file,
    ];
    for (const owner of owners) owner.close();
    asked.length = 0;
    let count = 0;
    for (const owner of owners) {
      for (const [name, use] of uses(owner)) {
        const verdict = await new Promise((resolve) => resolve(use())).then(
          () => 'went through',
          (error: unknown) => (error instanceof DisposedError ? 'DisposedError' : String(error)),
        );
        if (verdict === 'DisposedError') count++;
        // Arguments may be looked at first: then the caller hears of those.
        if (!/TypeError|RangeError/.test(verdict))
          expect(`${owner}.${name}: ${verdict}`).toBe(`${owner}.${name}: DisposedError`);
      }
    }
    expect(count).toBeGreaterThan(60);
    expect(asked.map(({ text }) => text)).toEqual([]);
  });

  it('a parent closes its children first, newest first', () => {
    const calls: string[] = [];
    const seen = new Sys(traceKernel(sys.kernel, ({ call }) => calls.push(call)));
    const system = Kvm.open(seen);
    const vm = system.createVm();
    const vcpu = vm.createVcpu();
    const backing = Mapping.anonymous(seen, PAGE);
    vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing });
    calls.length = 0;
    system.close();
    // The slot is deleted, the vCPU let go and its page unmapped, then the descriptors from the inside out.
    const order: CallName[] = ['ioctl', 'vcpuDetach', 'munmap', 'close', 'close', 'close'];
    expect(calls).toEqual(order);
    expect([vm.closed, vcpu.closed, backing.closed]).toEqual([true, true, false]);
    backing.close();
  });

  it('delete asks the kernel once', () => {
    const texts: string[] = [];
    const seen = new Sys(traceKernel(sys.kernel, ({ text }) => texts.push(text)));
    using system = Kvm.open(seen);
    using vm = system.createVm();
    using backing = Mapping.anonymous(seen, PAGE);
    const slot = vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing });
    texts.length = 0;
    slot.delete();
    expect(texts).toHaveLength(1);
  });

  it('an owner that was closed does not touch the file that has its number now', () => {
    const first = Memfd.create(sys, { size: PAGE });
    const number = first.fd;
    first.close();
    const second = Memfd.create(sys, { size: 2 * PAGE });
    expect(second.fd).toBe(number);
    for (const use of [
      () => first.truncate(0),
      () => first.size,
      () => first.raw.punchHole(0, PAGE),
      () => first.map(),
    ]) {
      expect(use).toThrow(DisposedError);
    }
    first.close();
    expect(second.size).toBe(2 * PAGE);
    second.close();
  });

  it('a slot that is closed after its VM does not reach the VM that has the number now', () => {
    const backing = Mapping.anonymous(sys, PAGE);
    const first = kvm.createVm();
    const number = first.fd;
    const slot = first.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing });
    first.close();
    using second = kvm.createVm();
    expect(second.fd).toBe(number);
    second.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing });
    slot.close();
    expect(second.raw.addMemslot({ slot: 1, gpa: 0, size: PAGE, backing })).toMatchObject({ code: 'EEXIST' });
    backing.close();
  });

  it('`using` closes in reverse, whatever the block does', () => {
    const before = hostState(sys);
    expect(() => {
      using vm = kvm.createVm();
      using _vcpu = vm.createVcpu();
      using backing = Mapping.anonymous(sys, PAGE);
      // The slot belongs to the VM, which is closed after its backing: the range waits for it.
      vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing });
      throw new Error('in the block');
    }).toThrow('in the block');
    expect(hostState(sys)).toEqual(before);
  });

  it('leaves nothing behind: descriptors, mappings, threads', async () => {
    const before = { ...hostState(sys), threads: threadCount(sys) };
    for (let i = 0; i < 20; i++) {
      const { system, vcpu, file, backing } = everything();
      const run = vcpu.run({ signal: AbortSignal.timeout(1) }).catch(() => undefined);
      if (i % 2 === 0) await run;
      system.close();
      await run;
      backing.close();
      file.close();
    }
    expect({ ...hostState(sys), threads: threadCount(sys) }).toEqual(before);
  });

  it('leaves nothing behind when something is refused half-way', () => {
    using vm = kvm.createVm();
    const before = hostState(sys);
    expect(vm.raw.createVcpu(2 ** 31).ok).toBe(false);
    expect(vm.raw.createGuestMemfd(1).ok).toBe(false);
    expect(vm.raw.addMemslot({ slot: 99_999, gpa: 0, size: PAGE }).ok).toBe(false);
    expect(() => Kvm.open(sys, '/dev/null')).toThrow();
    expect(kvm.raw.createVm(31).ok).toBe(false);
    expect(hostState(sys)).toEqual(before);
  });

  requires(SHARED_GMEM)('a slot keeps its guest_memfd and mapping reachable', () => {
    using vm = kvm.createVm();
    const file = vm.createGuestMemfd(PAGE, { mmap: true, initShared: true });
    const backing = file.map();
    const slot = vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing, guestMemfd: file });
    expect([slot.guestMemfd, slot.backing]).toEqual([file, backing]);
    backing.close();
  });
});
