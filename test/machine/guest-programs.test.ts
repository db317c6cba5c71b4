/** Guest programs on a machine: what they report, and how they can fail. */
import { afterEach, describe, expect, it } from 'vitest';
import { program } from '../../lib/guest/index.ts';
import { Kvm, Sys, simulate } from '../../lib/index.ts';
import { GuestMemory, GuestPrograms, Machine, ProgramError } from '../../lib/machine/index.ts';
import { KVM_ARM_VCPU } from '../../lib/uapi/index.ts';

const PSCI = 1 << KVM_ARM_VCPU.value.KVM_ARM_VCPU_PSCI_0_2;

let kvm: Kvm;
let memory: GuestMemory;
afterEach(() => {
  // In this order: what belongs to a VM that is gone must still be closable.
  kvm.close();
  memory.close();
});

function build(arch: 'x64' | 'arm64', vcpus = 1): GuestPrograms {
  kvm = Kvm.open(new Sys(simulate({ arch })));
  const vm = kvm.createVm();
  memory = new GuestMemory(vm);
  memory.addRam({ name: 'ram', gpa: 0, size: 0x40_0000, shared: 'memfd' });
  const list = Array.from({ length: vcpus }, (_, id) => vm.createVcpu(id));
  for (const vcpu of list) {
    if (arch === 'x64') vcpu.x64.setCpuid(kvm.supportedCpuid());
    else vcpu.arm64.init(undefined, [PSCI]);
  }
  return new GuestPrograms(new Machine({ vm, vcpus: list, memory }));
}

async function failure(guest: GuestPrograms): Promise<ProgramError> {
  const outcome: unknown = await guest.run().catch((error: unknown) => error);
  if (outcome instanceof ProgramError) return outcome;
  throw new Error(`it did not fail: ${String(outcome)}`);
}

describe('guest programs', () => {
  it.each(['x64', 'arm64'] as const)('%s: report, and run one after the other', async (arch) => {
    const guest = build(arch);
    for (const value of [41, 42]) {
      guest.load(
        program({ arch }, (g) => {
          g.store(0x20_0000, value);
          g.report(7, g.load(0x20_0000));
        }),
      );
      expect([...(await guest.run())]).toEqual([[7, BigInt(value)]]);
    }
  });

  it('of several vCPUs report each for itself', async () => {
    const guest = build('x64', 3);
    for (const id of [0, 1, 2]) {
      guest.load(
        program({ arch: 'x64', base: 0x10_0000 + id * 0x1_0000 }, (g) => g.report(0, 100 + id)),
        id,
      );
    }
    await guest.run();
    expect([0, 1, 2].map((id) => guest.result(id).reports.get(0))).toEqual([100n, 101n, 102n]);
  });

  it('say which check failed', async () => {
    const guest = build('x64');
    memory.fill(0x20_0000, 4096, 0x11);
    memory.fill(0x20_0010, 1, 0x12);
    guest.load(program({ arch: 'x64' }, (g) => void g.check(0x20_0000, 4096, 0x11)));
    const { message, end } = await failure(guest);
    expect(message).toBe('vCPU 0 found 0x1111111111111112 at gpa 0x200010, expected 0x1111111111111111');
    expect(end.kind).toBe('halted');
  });

  it('say how the machine ended instead', async () => {
    const guest = build('x64');
    guest.load(program({ arch: 'x64' }, (g) => g.store(0x8000_0000, 1)));
    expect((await failure(guest)).end).toMatchObject({ kind: 'hole', address: 0x8000_0000 });
  });

  it('leave the machine as it was', () => {
    const guest = build('x64');
    expect(() => new GuestPrograms(guest.machine)).toThrow(RangeError);
    guest.close();
    new GuestPrograms(guest.machine).close();
    expect(guest.machine.listenerCount('exit')).toBe(0);
    expect(() =>
      guest.load(
        program({ arch: 'x64' }, () => {}),
        5,
      ),
    ).toThrow(/no vCPU 5/);
  });
});
