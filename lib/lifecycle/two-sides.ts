/**
 * What a VM author has to know where every page has two sides: private pages cannot be filled from outside, stale data comes back unless
 * the hole is punched, a private page without backing faults, and pages can be had in advance.
 */
import { KVM_CAP } from '../uapi/index.ts';
import { checkContents } from './contents.ts';
import type { StepRunner } from './second-file.ts';
import { PAGE, PRIVATE_GPA, type Stage } from './stage.ts';
import { faultsBy, GuestFault, refusedBy, Unexpected } from './words.ts';

/** Where no memslot is: above the private memory. */
const nowhere = (stage: Stage): number => PRIVATE_GPA + 2 * stage.size;
const SECRET = 0x5ec2e7_5ec2e7n;

interface Play {
  readonly stage: Stage;
  readonly step: StepRunner;
}

/** The range whose sides are compared: the first of the converted pages. */
const pageOf = (stage: Stage) => ({ offset: stage.converted.offset, length: PAGE });

async function guestLoads(stage: Stage, gpa: number): Promise<bigint> {
  return (await stage.guest('load', { address: gpa })).value;
}

const guestStores = (stage: Stage, gpa: number, value: bigint) => stage.guest('store', { address: gpa, value });

export async function playTwoSides({ stage, step }: Play): Promise<void> {
  const memfile = stage.needMemfile();
  const range = pageOf(stage);
  const gpa = PRIVATE_GPA + range.offset;
  const roundTrip = (): void => {
    memfile.setState?.(range, 'shared');
    memfile.setState?.(range, 'private');
  };

  await step('fill-private-from-outside', refusedBy('write EINVAL'), () => {
    memfile.file.write(new Uint8Array(8));
    return { detail: 'write(2) reached private memory', enforcedBy: 'nobody' };
  });
  await step('round-trip-without-punching', 'ok', async () => {
    await guestStores(stage, gpa, SECRET);
    roundTrip();
    const seen = await guestLoads(stage, gpa);
    checkContents('what the guest reads after shared and back', seen, SECRET);
    return {
      detail: 'the private data shows again after shared and back: attributes do not touch contents',
      enforcedBy: 'nobody',
      reported: { stale: `0x${seen.toString(16)}` },
    };
  });
  await step('round-trip-with-punching', 'lost', async () => {
    await guestStores(stage, gpa, SECRET);
    memfile.toShared(range);
    memfile.toPrivate(range);
    const seen = await guestLoads(stage, gpa);
    checkContents('what the guest reads after shared, punched and back', seen, 0n);
    return { outcome: 'lost', detail: 'the guest reads zeros: the hole was punched on the way', enforcedBy: 'kernel' };
  });
  await step('shared-side-is-other-memory', 'ok', async () => {
    await guestStores(stage, gpa, SECRET);
    const mapping = memfile.sharedMap(range);
    try {
      checkContents("the host's shared side while the guest holds private data", mapping.readU64(0), 0n);
    } finally {
      mapping.close();
    }
    return { detail: 'the host reads the shared side at the same address: other memory, without the private data' };
  });
  const preFault = stage.needVm().checkExtension(KVM_CAP.value.KVM_CAP_PRE_FAULT_MEMORY) !== 0;
  await step('pre-fault', preFault ? 'ok' : 'unsupported', () => {
    if (!preFault)
      return {
        outcome: 'unsupported',
        detail: 'KVM_CAP_PRE_FAULT_MEMORY is 0 (Linux 6.11, with two-dimensional paging)',
      };
    memfile.file.punchHole(range.offset, range.length);
    const before = stage.resident() ?? 0;
    const left = stage.needVcpu().preFault(gpa, PAGE);
    const after = stage.resident();
    if (left.size !== 0 || after !== before + 1)
      throw new Unexpected(
        `pre-fault left ${left.size} bytes; the memfile held ${before} pages before, ${after} after`,
      );
    return {
      detail: `KVM_PRE_FAULT_MEMORY brought the page in before the guest touched it: ${before} to ${after} pages`,
    };
  });
  await step('guest-touches-private-without-backing', faultsBy('KVM_EXIT_MEMORY_FAULT EFAULT'), async () => {
    const address = nowhere(stage);
    stage.needVm().setPrivate(address, PAGE);
    try {
      await guestLoads(stage, address);
    } catch (error) {
      if (error instanceof GuestFault && (Number(error.exit.gpa) !== address || !error.exit.private))
        throw new Unexpected(`the fault names another access: ${error.message}`);
      throw error;
    } finally {
      stage.needVm().setShared(address, PAGE);
    }
    return { detail: 'a private page without a guest_memfd could be read', enforcedBy: 'nobody' };
  });
}
