/**
 * The intents of a lifecycle, in order. The same script runs under every design; what it meets differs, and is recorded, not assumed.
 */
import { patternBytes } from '../guest/index.ts';
import type { Mapping } from '../memory/mapping.ts';
import {
  acceptProgram,
  checkContents,
  checksumProgram,
  conversionProgram,
  expectedChecksum,
  hostSees,
  punchedProgram,
  sharedProgram,
  writeProgram,
} from './contents.ts';
import { GuestRunner } from './guest-runner.ts';
import type { Ledger, StepOptions, StepResult } from './ledger.ts';
import { INITIAL, PAGE, PRIVATE_GPA, type Stage } from './stage.ts';
import { playTwoSides } from './two-sides.ts';
import type { Outcome } from './words.ts';

const hex = (value: bigint): string => `0x${value.toString(16)}`;
const pages = (bytes: number): string => `${bytes / PAGE} page${bytes === PAGE ? '' : 's'}`;

/** A host access that the discussion wants to see refused at this moment. */
function hostAccess(stage: Stage, range: { offset: number; length: number }, byte: number, done: string): StepResult {
  const mapping = stage.needMemfile().hostMap(range);
  try {
    mapping.fill(byte, { length: 8 });
  } finally {
    mapping.close();
  }
  return { detail: `${done}: mapped and written, nobody objects`, enforcedBy: 'nobody' };
}

/** Ends a lifecycle early. The ledger says which step did not go through. */
class Halted extends Error {}

export async function playLifecycle(stage: Stage, ledger: Ledger, signal: AbortSignal): Promise<void> {
  const { design, technology, size } = stage;
  const { promises } = design;
  const all = { offset: 0, length: size };
  let loader: Mapping | undefined;
  let runner: GuestRunner | undefined;

  const step = async (name: string, expect: Outcome, body: () => StepResult | Promise<StepResult>): Promise<void> => {
    signal.throwIfAborted();
    await ledger.step({ name, expect }, body);
  };
  /** A step that all later ones stand on: without it there is nothing to say about them. */
  const foundation = async (options: StepOptions, body: () => StepResult): Promise<void> => {
    signal.throwIfAborted();
    const { outcome } = await ledger.step(options, body);
    if (outcome !== 'ok') throw new Halted(options.name);
  };
  const run = (): GuestRunner => {
    runner ??= new GuestRunner(stage.kvm, stage.needVm(), sharedMapping(stage), signal, (request) =>
      stage.carryOut(request),
    );
    return runner;
  };

  try {
    await foundation({ name: 'create', to: design.initialState }, () => {
      stage.vm = technology.createVm(stage.kvm);
      stage.memfile = design.create(stage.vm, size);
      return { detail: `${pages(size)} for a VM of technology ${technology.name}` };
    });
    await step('host-access-before-bind', promises.hostAccessBeforeBind, () =>
      hostAccess(stage, { offset: 0, length: PAGE }, 0xee, 'before bind'),
    );
    await foundation({ name: 'share' }, () => {
      const file = stage.makeShared();
      return { detail: `a memfd with seals 0x${file.seals.toString(16)} is the shared side, 1 MiB at gpa 0` };
    });
    await foundation({ name: 'bind', to: 'bound' }, () => {
      const slot = stage.bind();
      return { detail: `memslot ${slot.slot} at gpa 0x${slot.gpa.toString(16)}` };
    });
    await step('bind-to-second-vm', promises.bindToSecondVm, () => {
      const other = technology.createVm(stage.kvm);
      try {
        stage.needMemfile().bindElsewhere(other);
      } finally {
        other.close();
      }
      return { detail: 'a second VM bound the same file', enforcedBy: 'nobody' };
    });
    await step('fill', 'ok', () => {
      loader = stage.needMemfile().sharedMap(all);
      loader.write(0, patternBytes(PRIVATE_GPA, size, INITIAL));
      const where = technology.initialContents === 'host-writes' ? 'a mapping' : 'a mapping of the shared side';
      const resident = stage.needMemfile().residentPages();
      return { detail: `initial contents written through ${where}; the memfile holds ${resident} pages` };
    });
    await step('complete-with-live-mapping', promises.completeWithLiveMapping, () => stage.needMemfile().complete());
    await step('remove-mapping', 'ok', () => {
      loader?.unmap();
      return { detail: "the loader's mapping is gone" };
    });
    await ledger.step({ name: 'complete', to: 'initialized' }, () => stage.needMemfile().complete());
    await step('host-access-after-complete', promises.hostAccessAfterComplete, () =>
      hostAccess(stage, { offset: size - PAGE, length: PAGE }, 0xdd, 'after completion'),
    );
    if (technology.initialContents === 'guest-accepts') {
      await step('guest-accepts', 'ok', () => guestAccepts(stage, run()));
    }
    await step('guest-reads-initial-contents', 'ok', () => guestReads(stage, run()));
    await step('guest-writes', 'ok', () => guestWrites(stage, run()));
    await step('convert-to-shared', 'ok', () => convert(stage, run, 'shared'));
    await step('guest-reads-converted-range', 'lost', () => guestSeesZeros(stage, run()));
    await step('host-refills', promises.hostAccessToShared, () => hostRefills(stage));
    await step('guest-answers', 'ok', () => guestAnswers(stage, run()));
    await step('convert-to-private', 'ok', () => convert(stage, run, 'private'));
    await step('host-access-after-taken-back', promises.hostAccessAfterTakenBack, () =>
      hostAccess(stage, { offset: stage.converted.offset, length: PAGE }, 0, 'after the range was taken back'),
    );
    await step('neighbours-untouched', 'ok', () => neighbours(stage, run()));
    await step('host-reads-private-page', stage.canMapPrivate ? 'fault' : 'refused', () => hostReadsPrivatePage(stage));
    if (stage.needMemfile().setState !== undefined) await playTwoSides({ stage, step, run });
  } catch (error) {
    if (!(error instanceof Halted)) throw error;
  } finally {
    loader?.close();
    runner?.close();
  }
  await ledger.step({ name: 'close', to: 'closed' }, () => {
    stage.close();
    return { detail: 'slots deleted, file, VM and vCPU closed' };
  });
}

function sharedMapping(stage: Stage): Mapping {
  if (stage.shared === undefined) throw new Error('the lifecycle has no shared memory yet');
  return stage.shared.mapping;
}

/** Who starts it differs; what is done to the memfile does not. */
async function convert(stage: Stage, run: () => GuestRunner, to: 'private' | 'shared'): Promise<StepResult> {
  const memfile = stage.needMemfile();
  if (stage.technology.conversion === 'host') {
    return to === 'shared' ? memfile.toShared(stage.converted) : memfile.toPrivate(stage.converted);
  }
  await run().run(conversionProgram(stage, to));
  const done = stage.takeCarriedOut();
  return { ...done, detail: `the guest asked by MAP_GPA_RANGE: ${done.detail}` };
}

async function guestAccepts(stage: Stage, runner: GuestRunner): Promise<StepResult> {
  const { conversions } = await runner.run(acceptProgram(stage));
  const resident = stage.needMemfile().residentPages();
  return {
    detail: `the guest carried ${pages(stage.size)} over to its private side in ${conversions} conversions; the memfile holds ${resident} pages`,
    enforcedBy: 'kernel',
  };
}

/** The host's own disturbances are part of what the guest finds: where nobody refused them, they changed the contents. */
async function guestReads(stage: Stage, runner: GuestRunner): Promise<StepResult> {
  const { reports, exits } = await runner.run(checksumProgram(stage));
  const sum = reports.get(0) ?? 0n;
  const expected = expectedChecksum(stage);
  checkContents('the sum of all words', sum, expected);
  return { detail: `the guest read ${pages(stage.size)} in ${exits} exits`, reported: { checksum: hex(sum) } };
}

async function guestWrites(stage: Stage, runner: GuestRunner): Promise<StepResult> {
  const { program, value } = writeProgram(stage);
  const { reports } = await runner.run(program);
  const answer = reports.get(1) ?? 0n;
  checkContents('what the guest computed', answer, value);
  return {
    detail: 'the guest wrote a value of its own into private memory and read it back',
    reported: { computed: hex(answer) },
  };
}

async function guestSeesZeros(stage: Stage, runner: GuestRunner): Promise<StepResult> {
  const { reports } = await runner.run(punchedProgram(stage));
  checkContents('the sum of the converted range', reports.get(2) ?? -1n, 0n);
  return {
    outcome: 'lost',
    detail: 'the guest reads zeros: a punched hole does not keep contents',
    enforcedBy: 'kernel',
  };
}

function hostRefills(stage: Stage): StepResult {
  const mapping = stage.needMemfile().sharedMap(stage.converted);
  try {
    mapping.fill(0x5a);
  } finally {
    mapping.close();
  }
  return {
    detail: `the host mapped the converted ${pages(stage.converted.length)} and filled them`,
    enforcedBy: 'kernel',
  };
}

async function guestAnswers(stage: Stage, runner: GuestRunner): Promise<StepResult> {
  const { program, answer } = sharedProgram(stage);
  const { reports } = await runner.run(program);
  checkContents('what the guest found of the refill', reports.get(3) ?? 0n, answer);
  const mapping = stage.needMemfile().sharedMap(stage.converted);
  try {
    const seen = mapping.readU64(0);
    checkContents("the guest's answer as the host reads it", seen, answer);
    return {
      detail: 'the guest checked the refill and answered in it; the host read the answer',
      reported: { answer: hex(seen) },
    };
  } finally {
    mapping.close();
  }
}

async function neighbours(stage: Stage, runner: GuestRunner): Promise<StepResult> {
  const { detail, program } = hostSees(stage);
  await runner.run(program);
  return { detail };
}

/** A file of the same VM whose pages start private: what the host meets when it touches one. */
function hostReadsPrivatePage(stage: Stage): StepResult {
  const file = stage.needVm().createGuestMemfd(PAGE, { mmap: stage.canMapPrivate });
  try {
    if (!stage.canMapPrivate) file.read(new Uint8Array(8));
    const mapping = file.map();
    try {
      mapping.read(0, 8);
    } finally {
      mapping.close();
    }
  } finally {
    file.close();
  }
  return { detail: 'a page of a guest_memfd without INIT_SHARED could be read', enforcedBy: 'nobody' };
}
