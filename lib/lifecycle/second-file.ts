/** What becomes of a file that is not empty when it is bound, that is closed while bound, whose VM goes first. A second memfile is the subject. */
import { KernelError } from '../kernel/errors.ts';
import { F } from '../uapi/index.ts';
import { hex, mustBeCiphertext, word } from './contents.ts';
import type { Memfile } from './designs/index.ts';
import type { Ledger, StepResult } from './ledger.ts';
import { PAGE, SECOND_GPA, type Stage } from './stage.ts';
import type { Promised } from './words.ts';

const SIZE = 4 * PAGE;
const SLOT = 2;
const BYTE = 0x77;
const FALLOC_FL_PUNCH_HOLE = 3;
const FALLOC_FL_KEEP_SIZE = 1;
const PROT_READ = 1;
const MAP_SHARED = 1;

export type StepRunner = (
  name: string,
  expect: Promised,
  body: () => StepResult | Promise<StepResult>,
) => Promise<Awaited<ReturnType<Ledger['step']>>>;

function second(stage: Stage): Memfile {
  if (stage.second === undefined) throw new Error('there is no second memfile yet');
  return stage.second;
}

/** The guest looks into the second file as private memory; what it must accept or convert first, it does. */
async function guestLooks(stage: Stage): Promise<bigint> {
  const { design, technology } = stage;
  // What the file of 2022 holds is private already; guests that accept their pages still have to.
  const unaccepted = design.privateFile !== undefined && technology.initialContents === 'copied-in';
  if (technology.conversion === 'asks-host' && (unaccepted || second(stage).startsAs === 'shared'))
    await stage.guest('toPrivate', { address: SECOND_GPA, length: PAGE });
  return (await stage.guest('load', { address: stage.at(0, 'private', SECOND_GPA) })).value;
}

export async function playSecondFile(stage: Stage, step: StepRunner): Promise<void> {
  const { promises } = stage.design;
  stage.second = stage.makeMemfile(SIZE);
  let filled = false;
  await step('host-fills-before-bind', promises.hostAccessBeforeBind, () => {
    const mapping = second(stage).hostMap({ offset: 0, length: PAGE });
    try {
      mapping.fill(BYTE);
    } finally {
      mapping.close();
    }
    filled = true;
    return { detail: 'a second file: the host fills a page of it before anybody binds it', enforcedBy: 'nobody' };
  });
  const bound = await step('bind-non-empty', 'any', () => {
    // What cannot be written can still be allocated: a file with pages that nobody filled.
    if (!filled) second(stage).file.allocate(0, PAGE);
    second(stage).bind(SLOT, SECOND_GPA);
    const what = filled ? 'a file that the host has filled' : 'a file with a page that nobody could fill';
    return { detail: `the kernel binds ${what}, and asks nothing`, enforcedBy: 'nobody' };
  });
  if (bound.outcome === 'ok') {
    await step('guest-reads-non-empty', 'any', async () => {
      const value = await guestLooks(stage);
      const reported = { found: hex(value) };
      if (filled && value === word(BYTE)) return { detail: 'the guest finds what the host had put there', reported };
      if (value === 0n && !filled) return { detail: 'the guest finds zeros', reported };
      // A trust domain gets its pages cleared when it accepts them.
      if (value === 0n && stage.technology.guest === 'tdx')
        return { outcome: 'lost', detail: 'the guest finds zeros: what the host had put there is gone', reported };
      mustBeCiphertext(stage, 'what the guest finds in the second file', value, filled ? word(BYTE) : 0n);
      return { outcome: 'lost', detail: 'the guest finds garbage', reported };
    });
    await step('close-while-bound', 'any', async () => {
      second(stage).file.close();
      const { value } = await stage.guest('load', { address: stage.at(0, 'private', SECOND_GPA) });
      return {
        detail: 'the descriptor is closed under the slot, and the guest still reads its page',
        reported: { found: hex(value) },
      };
    });
  }
  stage.second.close();
  stage.second = undefined;
  await step('vm-closed-first', 'any', () => vmClosedFirst(stage));
}

/** A VM of its own is closed under the file, of which a duplicate stays. Then the file is used, and offered to another VM. */
function vmClosedFirst(stage: Stage): StepResult {
  const { sys } = stage.kvm;
  const first = stage.openAnother();
  let fd: number | undefined;
  let memfile: Memfile | undefined;
  try {
    const made = stage.design.create(first.vm, SIZE, { guards: false });
    memfile = made;
    made.bind(SLOT, SECOND_GPA);
    const copy = sys.fcntl(made.file.fd, F.value.F_DUPFD_CLOEXEC, 0);
    fd = copy;
    first.close();
    const said = [
      `allocate ${code(() => sys.fallocate(copy, FALLOC_FL_KEEP_SIZE, 0, PAGE))}`,
      `punch ${code(() => sys.fallocate(copy, FALLOC_FL_PUNCH_HOLE, 0, PAGE))}`,
      `map ${code(() => sys.munmap(sys.mmap(0, PAGE, PROT_READ, MAP_SHARED, copy, 0), PAGE))}`,
    ];
    const bind = bindElsewhere(stage, made, copy);
    const reused = bind === 'ok' ? 'another VM takes the file' : `another VM is refused the file (${bind})`;
    return {
      detail: `the VM is gone and the file is still there: ${said.join(', ')}; ${reused}`,
      enforcedBy: bind === 'ok' ? 'nobody' : 'kernel',
      reported: { reuse: bind },
    };
  } finally {
    if (fd !== undefined) sys.close(fd);
    memfile?.close();
    first.close();
  }
}

function code(call: () => unknown): string {
  try {
    call();
    return 'ok';
  } catch (error) {
    if (error instanceof KernelError) return error.code;
    throw error;
  }
}

function bindElsewhere(stage: Stage, memfile: Memfile, fd: number): string {
  const other = stage.openAnother();
  try {
    return code(() => memfile.bindElsewhere(other.vm, fd));
  } finally {
    other.close();
  }
}
