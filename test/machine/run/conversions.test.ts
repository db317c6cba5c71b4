/** Conversions on the guest's request and on its touch, and faults that come again. */
import { describe, expect, it } from 'vitest';
import { Sys } from '../../../lib/kernel/sys.ts';
import { Kvm } from '../../../lib/kvm/kvm.ts';
import { describeEnd } from '../../../lib/machine/describe.ts';
import { type Conversion, GuestMemory, type MachineMemory } from '../../../lib/machine/index.ts';
import { simulate } from '../../../lib/sim/simulate.ts';
import { KVM_VM_TYPE } from '../../../lib/uapi/index.ts';
import { describeKvm } from '../../support/kvm.ts';
import { PAGE, type TestMachine, testMachine, type Write } from '../support.ts';

/** Above the programs' RAM: two sides, 16 pages. */
const TWO_SIDED = 0x40_0000;
const SIZE = 16 * PAGE;
/** An attribute without a file behind it: touching it is a memory fault. */
const BACKLESS = 0x60_0000;
const { KVM_X86_SW_PROTECTED_VM } = KVM_VM_TYPE.value;
const HYPERCALLS = 1 << 12;

function protectedMachine(kvm: Kvm, write: Write, options: { policy?: () => 'convert' | 'refuse' } = {}): TestMachine {
  return testMachine(kvm, [write], {
    type: KVM_X86_SW_PROTECTED_VM,
    ...options,
    prepare: ({ vm, memory }) => {
      vm.enableExitHypercall(HYPERCALLS);
      memory.addRam({ name: 'both', gpa: TWO_SIDED, size: SIZE, shared: 'memfd', private: true, initial: 'shared' });
    },
  });
}

const signed = (value: bigint | undefined): bigint => BigInt.asIntN(64, value ?? 0n);

function byHypercall(kvm: Kvm): void {
  it('are carried out, with 0 for the guest; what cannot be is -EINVAL', async () => {
    const { machine, memory, reported, close } = protectedMachine(kvm, (g) => {
      g.store(TWO_SIDED, 0x11);
      g.report(0, g.mapGpaRange(TWO_SIDED, 4, { private: true }));
      g.store(TWO_SIDED, 0x22);
      g.report(1, g.load(TWO_SIDED));
      g.report(2, g.mapGpaRange(0x7000_0000, 1, { private: true }));
      g.report(3, g.mapGpaRange(TWO_SIDED, 1, { private: false }));
      g.halt();
    });
    const conversions: Conversion[] = [];
    machine.on('conversion', (conversion) => conversions.push(conversion));
    const end = await machine.run();
    expect(end.kind).toBe('halted');
    expect([0, 1, 2, 3].map((tag) => signed(reported(tag)[0]))).toEqual([0n, 0x22n, -22n, 0n]);
    expect(conversions).toEqual([
      { gpa: TWO_SIDED, size: 4 * PAGE, to: 'private', cause: 'hypercall', vcpu: 0 },
      { gpa: TWO_SIDED, size: PAGE, to: 'shared', cause: 'hypercall', vcpu: 0 },
    ]);
    expect(machine.statistics).toMatchObject({ conversions: 2, convertedBytes: 5 * PAGE });
    expect(memory.ledger.runs({ gpa: TWO_SIDED, size: SIZE }).map(({ side, size }) => [side, size])).toEqual([
      ['shared', PAGE],
      ['private', 3 * PAGE],
      ['shared', 12 * PAGE],
    ]);
    close();
  });

  it('are refused by the policy', async () => {
    const { machine, reported, close } = protectedMachine(
      kvm,
      (g) => {
        g.report(0, g.mapGpaRange(TWO_SIDED, 4, { private: true }));
        g.halt();
      },
      { policy: () => 'refuse' },
    );
    expect((await machine.run()).kind).toBe('halted');
    expect([signed(reported(0)[0]), machine.statistics.conversions]).toEqual([-22n, 0]);
    close();
  });
}

describe('conversions by hypercall, the newest kernel simulated', () => byHypercall(Kvm.open(new Sys(simulate()))));

describeKvm('conversions by hypercall', ({ kvm }) => byHypercall(kvm), {
  arch: 'x64',
  caps: { KVM_CAP_VM_TYPES: 1 << KVM_X86_SW_PROTECTED_VM, KVM_CAP_EXIT_HYPERCALL: HYPERCALLS },
});

/** Conversions of what has no private side: a region with both takes the place of what is there. */
function plugging(memory: GuestMemory, asked: unknown[]): MachineMemory {
  return {
    read: (gpa, length) => memory.read(gpa, length),
    write: (gpa, bytes) => memory.write(gpa, bytes),
    convert: (range, to) => {
      asked.push({ ...range, to });
      const there = memory.regionAt(range.gpa);
      if (there !== undefined) memory.remove(there.name);
      const place = { name: `plugged at ${range.gpa}`, gpa: range.gpa, size: range.size };
      memory.addRam({ ...place, shared: 'memfd', private: true, initial: to });
    },
  };
}

/**
 * The guest touches a page as private that has nothing private: with a slot that has a shared side only, and without any slot. Both are memory faults
 * of SW-protected VMs (arch/x86/kvm/mmu/mmu.c: kvm_mmu_faultin_pfn_gmem, kvm_handle_noslot_fault). There the attribute decides how a page is touched, so
 * a guest cannot touch a shared page as private, as it can with a technology of hardware.
 */
function byTouch(kvm: Kvm): void {
  it('gets a private side where there was a shared one or nothing, and the guest goes on', async () => {
    const vm = kvm.createVm(KVM_X86_SW_PROTECTED_VM);
    const memory = new GuestMemory(vm);
    memory.addRam({ name: 'one-sided', gpa: BACKLESS, size: PAGE, shared: 'memfd' });
    memory.write(BACKLESS, Uint8Array.of(0x99));
    vm.setPrivate(BACKLESS, 2 * PAGE);
    const asked: unknown[] = [];
    const { machine, reported, close } = testMachine(
      kvm,
      [
        (g) => {
          for (const [i, gpa] of [BACKLESS, BACKLESS + PAGE].entries()) {
            g.report(2 * i, g.load(gpa));
            g.store(gpa, 0x5a + i);
            g.report(2 * i + 1, g.load(gpa));
          }
          g.halt();
        },
      ],
      { vm, guestMemory: memory, memory: plugging(memory, asked) },
    );
    const conversions: Conversion[] = [];
    machine.on('conversion', (conversion) => conversions.push(conversion));
    expect((await machine.run()).kind).toBe('halted');
    const pages = [BACKLESS, BACKLESS + PAGE];
    expect(asked).toEqual(pages.map((gpa) => ({ gpa, size: PAGE, to: 'private' })));
    expect(conversions).toEqual(
      pages.map((gpa) => ({ gpa, size: PAGE, to: 'private' as const, cause: 'fault' as const, vcpu: 0 })),
    );
    // A new private page is zero, whatever the shared side held, and keeps what the guest writes.
    expect([0, 1, 2, 3].map((tag) => reported(tag)[0])).toEqual([0n, 0x5an, 0n, 0x5bn]);
    expect(machine.statistics.byReason.KVM_EXIT_MEMORY_FAULT).toBe(2);
    for (const gpa of pages) {
      expect(memory.ledger.sideAt(gpa)).toBe('private');
      expect(memory.residency({ gpa, size: PAGE })).toEqual({ private: PAGE, shared: 0 });
      expect(() => memory.read(gpa, 8)).toThrow(/private/);
    }
    close();
  });

  it('that nobody answers comes again, and the machine says so', async () => {
    const { machine, close } = testMachine(kvm, [(g) => g.report(0, g.load(BACKLESS))], {
      type: KVM_X86_SW_PROTECTED_VM,
      memory: nowhere(() => {}),
      prepare: ({ vm }) => vm.setPrivate(BACKLESS, PAGE),
    });
    const end = await machine.run();
    expect(end).toMatchObject({ kind: 'fault-loop', vcpu: 0 });
    expect(end.kind === 'fault-loop' && end.faults.map(({ gpa, private: side, code }) => [gpa, side, code])).toEqual([
      [BACKLESS, true, 'EFAULT'],
      [BACKLESS, true, 'EFAULT'],
    ]);
    close();
  });
}

describe('a private touch of what has no private side, the newest kernel simulated', () =>
  byTouch(Kvm.open(new Sys(simulate()))));

describeKvm('a private touch of what has no private side', ({ kvm }) => byTouch(kvm), {
  arch: 'x64',
  caps: { KVM_CAP_VM_TYPES: 1 << KVM_X86_SW_PROTECTED_VM },
});

/** A machine whose guest touches a private page that no file backs: a memory fault each time, until somebody changes the attribute. */
function faulting(memory: MachineMemory | undefined, options: { policy?: () => 'convert' | 'refuse' } = {}) {
  const kvm = Kvm.open(new Sys(simulate()));
  return testMachine(
    kvm,
    [
      (g) => {
        g.report(0, g.load(BACKLESS));
        g.halt();
      },
    ],
    {
      type: KVM_X86_SW_PROTECTED_VM,
      ...(memory === undefined ? {} : { memory }),
      ...options,
      prepare: ({ vm, memory: own }) => {
        own.addRam({ name: 'one-sided', gpa: BACKLESS, size: PAGE, shared: 'memfd' });
        vm.setPrivate(BACKLESS, PAGE);
      },
    },
  );
}

const nowhere = (convert: NonNullable<MachineMemory['convert']>): MachineMemory => ({
  read: () => new Uint8Array(0),
  write: () => {},
  convert,
});

it('a fault is converted to the side that was touched, and the guest goes on', async () => {
  const asked: unknown[] = [];
  const { machine, reported, close } = faulting(
    nowhere((range, to) => {
      asked.push([range, to]);
      machine.vm.setShared(range.gpa, range.size);
    }),
  );
  expect((await machine.run()).kind).toBe('halted');
  expect(asked).toEqual([[{ gpa: BACKLESS, size: PAGE }, 'private']]);
  expect(reported(0)).toEqual([0n]);
  expect(machine.statistics.conversions).toBe(1);
  close();
});

it('the same fault twice without progress ends it, with both', async () => {
  const { machine, close } = faulting(nowhere(() => {}));
  const end = await machine.run();
  expect(end).toMatchObject({ kind: 'fault-loop', vcpu: 0, state: { missing: [] } });
  const faults = end.kind === 'fault-loop' ? end.faults : [];
  expect(faults).toHaveLength(2);
  for (const fault of faults) expect(fault).toMatchObject({ gpa: BACKLESS, size: PAGE, private: true, code: 'EFAULT' });
  expect(describeEnd(end)[0]).toMatch(/the same memory fault twice without progress: 0x600000 .*, then 0x600000/);
  close();
});

it('a fault that the policy refuses, and one that the memory cannot answer', async () => {
  const refused = faulting(
    nowhere(() => {}),
    { policy: () => 'refuse' },
  );
  expect(await refused.machine.run()).toMatchObject({ kind: 'fault', reason: 'the policy refuses to make it private' });
  refused.close();
  const oneSided = faulting(undefined);
  const end = await oneSided.machine.run();
  expect(end).toMatchObject({ kind: 'fault', fault: { gpa: BACKLESS, private: true } });
  expect(end.kind === 'fault' && end.reason).toMatch(/one/);
  oneSided.close();
});
