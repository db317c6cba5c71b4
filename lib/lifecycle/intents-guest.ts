/** What the guest does with its memory, and how that compares with what must be there. */
import { patternBytes } from '../guest/index.ts';
import { KernelError } from '../kernel/errors.ts';
import {
  answeredSum,
  checkContents,
  hex,
  initialSum,
  initialWord,
  LOOKED_AT,
  lastPage,
  mustBeCiphertext,
  OWN,
  pages,
  productOf,
  REFILL,
  refillSum,
  SPOILT,
  TAMPER,
  word,
} from './contents.ts';
import type { Done } from './designs/index.ts';
import type { StepResult } from './ledger.ts';
import { BOUNCE_SIZE, INITIAL, PAGE, PRIVATE_GPA, SEED, type Stage } from './stage.ts';
import { Unexpected } from './words.ts';

export const initialBytes = (stage: Stage): Uint8Array => patternBytes(PRIVATE_GPA, stage.size, INITIAL);

/** The guest carries all initial contents over: out of the shared side, conversion, into the private side; piece by piece. */
export async function guestAccepts(stage: Stage): Promise<StepResult> {
  const bounce = stage.bounce();
  let conversions = 0;
  for (let offset = 0; offset < stage.size; offset += BOUNCE_SIZE) {
    const length = Math.min(BOUNCE_SIZE, stage.size - offset);
    const [here, shared] = [stage.at(offset), stage.at(offset, 'shared')];
    await stage.guest('copy', { address: bounce, source: shared, length });
    conversions += (await stage.guest('toPrivate', { address: PRIVATE_GPA + offset, length })).conversions;
    await stage.guest('copy', { address: here, source: bounce, length });
  }
  return {
    detail: `the guest carried ${pages(stage.size)} over to its private side in ${conversions} conversions; ${stage.heldText()}`,
    enforcedBy: 'kernel',
  };
}

/**
 * The host's own disturbances are part of what the guest finds: where nobody refused them, they changed the contents, or spoilt them where memory is
 * encrypted.
 */
export async function guestReads(stage: Stage, tampered: boolean): Promise<StepResult> {
  const spoils = stage.technology.initialContents === 'encrypted-in-place';
  const whole = stage.size - (tampered && spoils ? PAGE : 0);
  const { value, exits } = await stage.guest('sum', { address: stage.at(0), length: whole });
  const kept = initialSum(0, whole);
  const last = lastPage(stage);
  const changed = tampered && !spoils ? kept - initialWord(last) + word(TAMPER) : kept;
  checkContents('the sum of all words', value, BigInt.asUintN(64, changed));
  const reported = { checksum: hex(value) };
  if (whole === stage.size) return { detail: `the guest read ${pages(stage.size)} in ${exits} exits`, reported };
  const { value: spoilt } = await stage.guest('load', { address: stage.at(last) });
  if (spoilt === initialWord(last)) throw new Unexpected('a host write into encrypted memory did not spoil it');
  mustBeCiphertext(stage, 'what the guest finds where the host wrote', spoilt, word(TAMPER));
  return {
    detail: `the guest read ${pages(whole)}; where the host wrote, it finds ${hex(spoilt)}: neither's bytes`,
    reported,
  };
}

/** The guest reads the first word, computes, stores the product, reads it back and reports it. */
export async function guestWrites(stage: Stage): Promise<StepResult> {
  const { value: first } = await stage.guest('load', { address: stage.at(0) });
  checkContents('the first word', first, initialWord(0));
  const product = productOf(first);
  await stage.guest('store', { address: stage.at(OWN), value: product });
  const { value: answer } = await stage.guest('load', { address: stage.at(OWN) });
  checkContents('what the guest stored', answer, product);
  return {
    detail: 'the guest wrote a value of its own into private memory and read it back',
    reported: { computed: hex(answer) },
  };
}

/** The host looks at the guest's own value. */
export function hostReadsPrivate(stage: Stage, read: () => bigint): StepResult {
  const seen = read();
  const product = productOf(initialWord(0));
  const reported = { seen: hex(seen) };
  if (seen === product)
    return { detail: 'the host reads the guest’s own value, nobody objects', enforcedBy: 'nobody', reported };
  if (seen === 0n && stage.twoFiles) return { detail: 'the host reads zeros: other memory', reported };
  mustBeCiphertext(stage, 'what the host reads of private memory', seen, product);
  return { detail: 'the host reads something else than the guest wrote: ciphertext', reported };
}

/**
 * The kernel itself reads private memory. pKVM lets it go on with zeros and takes the page from the guest for good
 * (arch/arm64/kvm/pkvm.c: pkvm_force_reclaim_guest_page), so the guest is asked what it still has.
 */
export async function kernelReadsPrivate(stage: Stage, read: () => bigint): Promise<StepResult> {
  const seen = read();
  const reported = { seen: hex(seen) };
  const initial = initialWord(LOOKED_AT);
  if (seen === initial)
    return { detail: 'the kernel reads the guest’s page, nobody objects', enforcedBy: 'nobody', reported };
  if (seen !== 0n) mustBeCiphertext(stage, 'what the kernel reads of private memory', seen, initial);
  const what = seen === 0n ? 'zeros' : 'ciphertext';
  try {
    const { value } = await stage.guest('load', { address: stage.at(LOOKED_AT) });
    if (value !== initial) throw new Unexpected(`the guest reads ${hex(value)} where the kernel has read ${what}`);
    if (seen === 0n && !stage.twoFiles)
      throw new Unexpected('the kernel reads zeros of a page that the guest still has');
  } catch (error) {
    if (!(error instanceof KernelError) || error.code !== 'EFAULT') throw error;
    const detail = `the kernel reads ${what}, and the page is lost: KVM_RUN is refused (EFAULT) when the guest goes there`;
    return { outcome: 'lost', detail, enforcedBy: 'kernel', reported };
  }
  return { detail: `the kernel reads ${what}; the guest’s page is as it was`, enforcedBy: 'kernel', reported };
}

/** The host writes into private memory; what the guest finds there then. */
export async function hostWritesPrivate(
  stage: Stage,
  byte: number,
  write: (byte: number) => void,
): Promise<StepResult> {
  write(byte);
  const { value } = await stage.guest('load', { address: stage.at(SPOILT) });
  const reported = { found: hex(value) };
  if (value === word(byte)) return { detail: 'the guest reads what the host wrote', enforcedBy: 'nobody', reported };
  if (value === initialWord(SPOILT) && stage.twoFiles)
    return { detail: 'the guest’s page is as it was: other memory', reported };
  mustBeCiphertext(stage, 'what the guest finds after the host’s write', value, word(byte));
  return {
    outcome: 'lost',
    detail: 'the guest reads garbage: the host’s write spoilt the page',
    enforcedBy: 'nobody',
    reported,
  };
}

/** Who starts it differs; what is done to the memfile does not. */
export async function convert(stage: Stage, to: 'private' | 'shared', range = stage.converted): Promise<StepResult> {
  const memfile = stage.needMemfile();
  const order = to === 'private' ? 'toPrivate' : 'toShared';
  const orders = { address: PRIVATE_GPA + range.offset, length: range.length };
  switch (stage.technology.conversion) {
    case 'host': {
      const done = to === 'shared' ? memfile.toShared(range) : memfile.toPrivate(range);
      stage.map.set(range, memfile.file === memfile.sharedFile ? 'shared' : to);
      return done;
    }
    case 'guest-alone':
      memfile.declare?.(range, to);
      stage.map.set(range, to);
      return {
        detail: `the guest reaches the range ${to === 'shared' ? 'without' : 'with'} its C-bit from now on and tells nobody; the host does nothing`,
        enforcedBy: 'nobody',
      };
    case 'hypervisor': {
      const { value } = await stage.guest(order, orders);
      if (value !== 0n) throw new Unexpected(`the hypervisor answers ${hex(value)} to ${order}`);
      memfile.declare?.(range, to);
      stage.map.set(range, to);
      return {
        detail: `the guest asked the hypervisor (${to === 'shared' ? 'MEM_SHARE' : 'MEM_UNSHARE'}); the host was not asked`,
        enforcedBy: 'kernel',
      };
    }
    default: {
      const { value, conversions } = await stage.guest(order, orders);
      if (value !== 0n) throw new Unexpected(`the guest was answered ${hex(value)}`);
      const done: Done = stage.takeCarriedOut();
      const times = conversions === 1 ? '' : ` in ${conversions} requests`;
      return { ...done, detail: `the guest asked by MAP_GPA_RANGE${times}: ${done.detail}` };
    }
  }
}

function fate(stage: Stage, value: bigint, kept: bigint, how: string): StepResult {
  const reported = { sum: hex(value) };
  if (value === kept) return { detail: `${how}: the contents are as they were`, reported };
  if (value !== 0n) mustBeCiphertext(stage, `the sum of what the guest reads ${how}`, value, kept);
  const what = value === 0n ? 'zeros' : 'garbage';
  return { outcome: 'lost', detail: `${how}: the guest reads ${what}, the contents are gone`, reported };
}

export async function guestReadsConverted(stage: Stage): Promise<StepResult> {
  const { offset, length } = stage.converted;
  const { value } = await stage.guest('sum', { address: stage.at(offset, 'shared'), length });
  return fate(stage, value, initialSum(offset, length), 'after the conversion to shared');
}

export async function guestReadsTakenBack(stage: Stage): Promise<StepResult> {
  const { offset, length } = stage.converted;
  const { value } = await stage.guest('sum', { address: stage.at(offset), length });
  return fate(stage, value, answeredSum(length), 'after the conversion back');
}

export function hostRefills(stage: Stage): StepResult {
  stage.hostRange = stage.converted;
  const mapping = stage.needMemfile().sharedMap(stage.converted);
  try {
    mapping.fill(REFILL);
  } finally {
    mapping.close();
  }
  return {
    detail: `the host mapped the converted ${pages(stage.converted.length)} and filled them`,
    enforcedBy: 'kernel',
  };
}

/** The guest adds up the host's refill, then answers with its sum in the first word. */
export async function guestAnswers(stage: Stage): Promise<StepResult> {
  const { offset, length } = stage.converted;
  const address = stage.at(offset, 'shared');
  const { value: sum } = await stage.guest('sum', { address, length });
  checkContents('what the guest found of the refill', sum, refillSum(length));
  await stage.guest('store', { address, value: sum });
  const mapping = stage.needMemfile().sharedMap(stage.converted);
  try {
    const seen = mapping.readU64(0);
    checkContents("the guest's answer as the host reads it", seen, sum);
    return {
      detail: 'the guest checked the refill and answered in it; the host read the answer',
      reported: { answer: hex(seen) },
    };
  } finally {
    mapping.close();
  }
}

/** Pages around the converted range, and the guest's own value, must be as they were. */
export async function neighbours(stage: Stage): Promise<StepResult> {
  const { offset, length } = stage.converted;
  for (const at of [offset - PAGE, offset + length]) {
    const { value } = await stage.guest('compare', { address: stage.at(at), length: PAGE, value: SEED });
    if (value !== 0n)
      throw new Unexpected(`${value} words of the page at offset ${hex(BigInt(at))} are not as they were`);
  }
  const { value } = await stage.guest('load', { address: stage.at(OWN) });
  checkContents("the guest's own value", value, productOf(initialWord(0)));
  return { detail: "the pages before and after the converted range and the guest's own value are as they were" };
}
