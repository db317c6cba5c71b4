/**
 * The intents of a lifecycle, in order. The same script runs under every design and technology; what it meets differs, and is recorded, not assumed.
 */
import type { Mapping } from '../memory/mapping.ts';
import {
  checkContents,
  hex,
  IO_BYTE,
  initialWord,
  LOOKED_AT,
  lastPage,
  mustBeCiphertext,
  OWN,
  pages,
  REFILL,
  SPOILT,
  TAMPER,
  word,
} from './contents.ts';
import { declareComplete, fillInitial, loadCopy } from './initialise.ts';
import {
  convert,
  guestAccepts,
  guestAnswers,
  guestReads,
  guestReadsConverted,
  guestReadsTakenBack,
  guestWrites,
  hostReadsPrivate,
  hostRefills,
  hostWritesPrivate,
  kernelReadsPrivate,
  neighbours,
} from './intents-guest.ts';
import {
  atSlot,
  hostMaps,
  hostReads,
  hostWrites,
  kernelReads,
  kernelWrites,
  pageAt,
  withHostMapping,
} from './intents-host.ts';
import type { Ledger, StepOptions, StepResult } from './ledger.ts';
import { playPinned } from './pinned.ts';
import { playSecondFile, type StepRunner } from './second-file.ts';
import { PAGE, type Stage } from './stage.ts';
import { playTwoSides } from './two-sides.ts';
import { faultsBy, NotTried, type Promised, refusedBy } from './words.ts';

/** Ends a lifecycle early. The ledger says which step did not go through. */
class Halted extends Error {}

class Script {
  readonly #stage: Stage;
  readonly #ledger: Ledger;
  readonly #signal: AbortSignal;
  #loader: Mapping | undefined;
  /** Completion went through. */
  #completed = false;
  /** The host wrote into the last page afterwards. */
  #tampered = false;

  constructor(stage: Stage, ledger: Ledger, signal: AbortSignal) {
    this.#stage = stage;
    this.#ledger = ledger;
    this.#signal = signal;
  }

  readonly #step: StepRunner = async (name, expect, body) => {
    this.#signal.throwIfAborted();
    return this.#ledger.step({ name, expect }, body);
  };

  /** A step that all later ones stand on: without it there is nothing to say about them. */
  async #foundation(options: StepOptions, body: () => StepResult | Promise<StepResult>): Promise<void> {
    this.#signal.throwIfAborted();
    const { outcome } = await this.#ledger.step(options, body);
    if (outcome !== 'ok') throw new Halted(options.name);
  }

  async play(): Promise<void> {
    try {
      await this.#create();
      await this.#bind();
      await this.#initialise();
      await this.#guestBegins();
      await this.#convertThereAndBack();
      await this.#atTheEnd();
    } catch (error) {
      if (!(error instanceof Halted)) throw error;
    } finally {
      this.#loader?.close();
    }
    await this.#ledger.step({ name: 'close', to: 'closed' }, () => {
      this.#stage.close();
      return { detail: 'slots deleted, file, VM and vCPU closed' };
    });
  }

  async #create(): Promise<void> {
    const { design, technology, size, kvm } = this.#stage;
    await this.#foundation({ name: 'create', to: design.initialState }, () => {
      this.#stage.guarded = technology.open(kvm);
      this.#stage.memfile = this.#stage.makeMemfile();
      return { detail: `${pages(size)} for a VM of technology ${technology.name}` };
    });
    await this.#step('host-access-before-bind', design.promises.hostAccessBeforeBind, () =>
      hostWrites(this.#stage, 0, 0xee, 'before bind'),
    );
    await this.#foundation({ name: 'share' }, () => ({ detail: this.#stage.makeShared() }));
  }

  async #bind(): Promise<void> {
    const stage = this.#stage;
    const { design, technology } = stage;
    if (design.fillsBeforeBind) await this.#fill();
    await this.#foundation({ name: 'bind', to: 'bound' }, () => {
      const slot = stage.bind();
      return { detail: `memslot ${slot.slot} at gpa 0x${slot.gpa.toString(16)}` };
    });
    await this.#step('bind-to-second-vm', design.promises.bindToSecondVm, () => {
      const other = stage.openAnother();
      try {
        stage.needMemfile().bindElsewhere(other.vm);
      } finally {
        other.close();
      }
      return { detail: 'a second VM bound the same file', enforcedBy: 'nobody' };
    });
    await this.#step('host-maps-after-bind', 'any', () => hostMaps(stage, 0));
    await this.#step('host-reads-after-bind', 'any', () => hostReads(stage, 0));
    await this.#step('host-writes-after-bind', 'any', () => hostWrites(stage, 0, 0xcc, 'after bind'));
    await this.#foundation({ name: 'launch-start' }, () => ({ detail: stage.startLaunch() }));
    if (!design.fillsBeforeBind) await this.#fill();
    else if (technology.initialContents === 'copied-in') await this.#loadCopy();
  }

  async #loadCopy(): Promise<void> {
    await this.#step('load-copy', 'ok', () => loadCopy(this.#stage));
  }

  async #fill(): Promise<void> {
    await this.#step('fill', 'ok', () =>
      fillInitial(this.#stage, (loader) => {
        this.#loader = loader;
      }),
    );
  }

  #complete(): StepResult {
    const result = declareComplete(this.#stage);
    this.#completed = true;
    return result;
  }

  async #initialise(): Promise<void> {
    const stage = this.#stage;
    const { promises } = stage.design;
    const loader = this.#loader;
    // Without a fill there is none to speak of.
    if (loader !== undefined) {
      await this.#step('complete-with-live-mapping', promises.completeWithLiveMapping, () => this.#complete());
      await this.#step('old-mapping-reads', 'any', () => oldMappingReads(stage, loader));
      await this.#step('remove-mapping', 'ok', () => {
        loader.unmap();
        return { detail: "the loader's mapping is gone" };
      });
    }
    await this.#ledger.step({ name: 'complete', to: 'initialized' }, () =>
      this.#completed
        ? { detail: 'declared already, while the mapping was there: nobody looked for it', enforcedBy: 'nobody' }
        : this.#complete(),
    );
    const access = await this.#step('host-access-after-complete', promises.hostAccessAfterComplete, () =>
      hostWrites(stage, lastPage(stage), TAMPER, 'after completion'),
    );
    this.#tampered = access.outcome === 'ok';
  }

  async #guestBegins(): Promise<void> {
    const stage = this.#stage;
    const { design, technology } = stage;
    if (technology.initialContents === 'guest-accepts' && !design.convertsInPlace && !design.fillsBeforeBind)
      await this.#step('guest-accepts', 'ok', () => guestAccepts(stage));
    await this.#step('guest-reads-initial-contents', 'ok', () => guestReads(stage, this.#tampered));
    await this.#step('guest-writes', 'ok', () => guestWrites(stage));
    await this.#step('host-reads-private', 'any', () =>
      hostReadsPrivate(stage, () => withHostMapping(stage, pageAt(OWN), (mapping) => mapping.readU64(0))),
    );
    await this.#step('slot-reads-private', 'any', () =>
      hostReadsPrivate(stage, () => atSlot(stage, OWN, (mapping, at) => mapping.readU64(at))),
    );
    await this.#step('host-writes-private', 'any', () =>
      hostWritesPrivate(stage, TAMPER, (byte) =>
        withHostMapping(stage, pageAt(SPOILT), (mapping) => mapping.fill(byte, { length: 8 })),
      ),
    );
    // By the slot's own address, where a VMM would point a device at.
    await this.#step('vm-readv-private', 'any', () =>
      kernelReadsPrivate(stage, () => atSlot(stage, LOOKED_AT, kernelReads)),
    );
    await this.#step('io-into-private', 'any', () =>
      hostWritesPrivate(stage, IO_BYTE, (byte) =>
        atSlot(stage, SPOILT, (mapping, at) => kernelWrites(mapping, byte, at)),
      ),
    );
  }

  async #convertThereAndBack(): Promise<void> {
    const stage = this.#stage;
    const { design, technology } = stage;
    const { promises } = design;
    const keeps = technology.conversionKeeps && (design.convertsInPlace || technology.conversion === 'hypervisor');
    const contents: Promised = keeps ? 'ok' : 'lost';
    const shared = { offset: stage.converted.offset + PAGE, length: PAGE };
    await this.#step('convert-to-shared', 'ok', () => convert(stage, 'shared'));
    await this.#step('guest-reads-converted-range', contents, () => guestReadsConverted(stage));
    await this.#step('host-refills', promises.hostAccessToShared, () => hostRefills(stage));
    await this.#step('guest-answers', 'ok', () => guestAnswers(stage));
    // What it reads in the end must be that.
    const onShared = async (name: string, detail: string, must: number, body: (mapping: Mapping) => bigint) => {
      await this.#step(name, 'ok', () => {
        stage.hostRange = shared;
        const mapping = stage.needMemfile().sharedMap(shared);
        try {
          checkContents('what is read of the shared page', body(mapping), word(must));
        } finally {
          mapping.close();
        }
        return { detail, enforcedBy: 'kernel' };
      });
    };
    await onShared('vm-readv-shared', 'process_vm_readv reads the shared page', REFILL, kernelReads);
    await onShared('io-into-shared', 'the kernel copies into the shared page, as read(2) does', IO_BYTE, (mapping) => {
      kernelWrites(mapping, IO_BYTE);
      return mapping.readU64(0);
    });
    await this.#step('convert-to-private', 'ok', () => convert(stage, 'private'));
    await this.#step('guest-reads-taken-back', contents, () => guestReadsTakenBack(stage));
    await this.#step('host-access-after-taken-back', promises.hostAccessAfterTakenBack, () =>
      hostWrites(stage, stage.converted.offset, 0, 'after the range was taken back'),
    );
    await this.#step('neighbours-untouched', 'ok', () => neighbours(stage));
  }

  async #atTheEnd(): Promise<void> {
    const stage = this.#stage;
    const memfile = stage.needMemfile();
    await playPinned(stage, this.#step);
    const unmapped = stage.canMapPrivate ? faultsBy('SIGBUS BUS_ADRERR') : refusedBy('read EINVAL');
    await this.#step('host-reads-private-page', unmapped, () => hostReadsPrivatePage(stage));
    if (memfile.setState !== undefined && memfile.sharedFile !== memfile.file && stage.technology.guest === 'none')
      await playTwoSides({ stage, step: this.#step });
    await playSecondFile(stage, this.#step);
  }
}

export async function playLifecycle(stage: Stage, ledger: Ledger, signal: AbortSignal): Promise<void> {
  await new Script(stage, ledger, signal).play();
}

/** What the mapping that was there before the completion reaches now. */
function oldMappingReads(stage: Stage, loader: Mapping): StepResult {
  stage.hostRange = { offset: 0, length: stage.size };
  const seen = loader.readU64(0);
  const reported = { seen: hex(seen) };
  if (seen === initialWord(0))
    return { detail: 'the old mapping still shows the initial contents', enforcedBy: 'nobody', reported };
  if (seen === 0n && stage.twoFiles)
    return { detail: 'the old mapping is still there and shows zeros: other memory', reported };
  mustBeCiphertext(stage, 'what the old mapping shows', seen, initialWord(0));
  return { detail: 'the old mapping is still there and shows ciphertext', reported };
}

/** A file of the same VM whose pages start private: what the host meets when it touches one. */
function hostReadsPrivatePage(stage: Stage): StepResult {
  const made = stage.needVm().raw.createGuestMemfd(PAGE, { mmap: stage.canMapPrivate });
  if (!made.ok) throw new NotTried(`a guest_memfd cannot be had: KVM_CREATE_GUEST_MEMFD: ${made.code}`);
  const file = made.value;
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
