/**
 * The storm on the simulation, and on the real kernel where that has private memory. PRIVMEM_CONVERSIONS says how many; `npm run test:storm` runs
 * 100 000 on the simulation.
 */
import { expect, it } from 'vitest';
import { Kvm, Sys, simulate } from '../../../lib/index.ts';
import { KVM_VM_TYPE } from '../../../lib/uapi/index.ts';
import { storm } from './storm.ts';

const CONVERSIONS = Number(process.env.PRIVMEM_CONVERSIONS ?? 8_000);
const SEED = Number(process.env.PRIVMEM_SEED ?? Date.now() % 100_000);
const TYPE = KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM;

async function check(sys: Sys): Promise<void> {
  using kvm = Kvm.open(sys);
  using vm = kvm.createVm(TYPE);
  const start = performance.now();
  const result = await storm(kvm, vm, { conversions: CONVERSIONS, vcpus: 4, seed: SEED });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.info(
    `storm on ${sys.kernel.backend} ${sys.kernel.release}, seed ${SEED}: ${JSON.stringify(result)} in ${seconds} s`,
  );
  expect(result.asked).toBeGreaterThanOrEqual(CONVERSIONS);
  expect(result.pages).toBeGreaterThan(CONVERSIONS);
  expect(result.comparedByHost).toBeGreaterThan(CONVERSIONS);
  // Every page was written, so each lies on one side, and on that one only.
  expect(result.residency).toEqual(result.ledger);
}

it('loses nothing on the simulation', { timeout: 600_000 }, () => check(new Sys(simulate())));
