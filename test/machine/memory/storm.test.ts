/**
 * The storm on the simulation, and on the real kernel where that has private memory. PRIVMEM_CONVERSIONS says how many. `npm run test:storm`: 100 000
 * on the simulation.
 */
import { describe, expect, it } from 'vitest';
import { type Kernel, Kvm, openKernel, Sys, simulate, UnsupportedError } from '../../../lib/index.ts';
import { technologySupport } from '../../../lib/lifecycle/support.ts';
import { KVM_VM_TYPE } from '../../../lib/uapi/index.ts';
import { titleOf } from '../../support/testvm.ts';
import { storm } from './storm.ts';

const CONVERSIONS = Number(process.env.PRIVMEM_CONVERSIONS ?? 2_000);
const SEED = Number(process.env.PRIVMEM_SEED ?? Date.now() % 100_000);

async function check(sys: Sys): Promise<void> {
  using kvm = Kvm.open(sys);
  using vm = kvm.createVm(KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM);
  const start = performance.now();
  const result = await storm(kvm, vm, { conversions: CONVERSIONS, vcpus: 4, seed: SEED });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const { backend, release }: Kernel = sys.kernel;
  console.info(`storm, ${backend} ${release}, PRIVMEM_SEED=${SEED}: ${JSON.stringify(result)} in ${seconds} s`);
  expect(result.asked).toBeGreaterThanOrEqual(CONVERSIONS);
  expect(result.pages).toBeGreaterThan(CONVERSIONS);
  expect(result.comparedByHost).toBeGreaterThan(CONVERSIONS);
  expect(result.ledger.private + result.ledger.shared).toBe(2048 * 4096);
  // Every page was written, so each lies on one side, and on that one only.
  expect(result.residency).toEqual(result.ledger);
}

it('loses nothing on the simulation', { timeout: 900_000 }, () => check(new Sys(simulate())));

function noPrivateMemory(): string | undefined {
  try {
    using kvm = Kvm.open(openKernel({ backend: 'kvm' }));
    return technologySupport(kvm)['sw-protected']?.reason;
  } catch (error) {
    if (error instanceof UnsupportedError) return error.message.split('\n')[0];
    throw error;
  }
}

const reason = noPrivateMemory();

describe.skipIf(reason !== undefined)(titleOf('the real kernel', reason), () => {
  it('loses nothing', { timeout: 1_800_000 }, () => check(openKernel({ backend: 'kvm' })));
});
