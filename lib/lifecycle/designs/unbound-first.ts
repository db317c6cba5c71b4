/**
 * Lutomirski's order of April 2022: unbound (only bind and close), bound (the technology's initial state), declared complete (earlier
 * mappings gone, no new access), and from then on only ranges given back are reachable. No kernel keeps it: it is kept here, on top of the file
 * that the technology takes its memory from, and every refusal says so. Another program with the descriptor would get through.
 */
import type { Vm } from '../../kvm/vm.ts';
import type { Mapping } from '../../memory/mapping.ts';
import type { MemFile } from '../../memory/mem-file.ts';
import { LibraryRefusal, refusedBy, type State } from '../words.ts';
import type { BoundSlot, Design, Done, Memfile, MemfileOptions, Range } from './design.ts';
import { noPrivateMemory, TwoSidedMemfile } from './guest-memfd.ts';
import { MmapMemfile, noSharedFiles, noSharedFilesAtAll } from './guest-memfd-mmap.ts';
import { PlainMemfile } from './plain-memfile.ts';

const inside = (inner: Range, outer: Range): boolean =>
  inner.offset >= outer.offset && inner.offset + inner.length <= outer.offset + outer.length;

const overlap = (a: Range, b: Range): boolean => a.offset < b.offset + b.length && b.offset < a.offset + a.length;

interface Handed {
  readonly mapping: Mapping;
  readonly range: Range;
}

/** What can be asked of the file, by state. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  unbound: ['bind', 'close'],
  bound: ['map', 'complete', 'close'],
  initialized: ['map what is shared', 'convert', 'close'],
};

class UnboundFirstMemfile implements Memfile {
  readonly #inner: Memfile;
  readonly #guards: boolean;
  #phase: State = 'unbound';
  #handed: Handed[] = [];
  #shared: Range[] = [];
  readonly setState?: (range: Range, state: 'private' | 'shared') => void;

  constructor(inner: Memfile, { guards }: MemfileOptions) {
    this.#inner = inner;
    this.#guards = guards;
    if (inner.setState !== undefined) this.setState = (range, state) => inner.setState?.(range, state);
  }

  get file(): MemFile {
    return this.#inner.file;
  }

  get sharedFile(): MemFile {
    return this.#inner.sharedFile;
  }

  get slotMapping(): Mapping | undefined {
    return this.#inner.slotMapping;
  }

  get startsAs(): 'private' | 'shared' {
    return this.#inner.startsAs;
  }

  #refuse(unless: boolean, step: string, why: string): void {
    if (unless || !this.#guards) return;
    throw new LibraryRefusal(this.#phase, step, ALLOWED[this.#phase] ?? [], why);
  }

  bind(slot: number, gpa: number): BoundSlot {
    // That it is bound once only is the kernel's rule: the place is taken.
    const bound = this.#inner.bind(slot, gpa);
    this.#phase = 'bound';
    return bound;
  }

  /** Where the kernel lets other VMs have the memory, the rule of one VM is kept here. */
  bindElsewhere(other: Vm, fd?: number): void {
    if (this.#inner instanceof PlainMemfile) this.#refuse(false, 'bind to another VM', 'a file belongs to one VM');
    this.#inner.bindElsewhere(other, fd);
  }

  hostMap(range: Range): Mapping {
    // A file that nobody can map: the kernel has the rule, and the kernel is asked.
    if (!(this.#inner instanceof TwoSidedMemfile)) this.#mayMap(range);
    return this.#hand(this.#inner.hostMap(range), range);
  }

  sharedMap(range: Range): Mapping {
    // Another file holds the shared side: no rule is about it.
    if (this.#inner.sharedFile !== this.#inner.file) return this.#hand(this.#inner.sharedMap(range), range);
    this.#mayMap(range);
    return this.#hand(this.#inner.sharedMap(range), range);
  }

  #mayMap(range: Range): void {
    this.#refuse(this.#phase !== 'unbound', 'map', 'nothing but bind and close (the kernel would allow it)');
    const shared = this.#phase !== 'initialized' || this.#shared.some((part) => inside(range, part));
    this.#refuse(shared, 'map', 'the host may map shared ranges only (the kernel would allow it)');
  }

  #hand(mapping: Mapping, range: Range): Mapping {
    this.#handed.push({ mapping, range });
    return mapping;
  }

  #live(within?: Range): number {
    this.#handed = this.#handed.filter(({ mapping }) => !mapping.closed);
    return this.#handed.filter(({ range }) => within === undefined || overlap(range, within)).length;
  }

  complete(): Done {
    this.#refuse(this.#phase === 'bound', 'complete', 'only a bound file can be declared complete');
    const live = this.#live();
    this.#refuse(live === 0, 'complete', `${live} earlier mapping${live === 1 ? ' is' : 's are'} still there`);
    this.#phase = 'initialized';
    return {
      detail: "earlier mappings are gone; only KVM's own at userspace_addr stays, which nobody is handed",
      enforcedBy: this.#guards ? 'library' : 'nobody',
    };
  }

  toShared(range: Range): Done {
    const { detail, enforcedBy } = this.#inner.toShared(range);
    this.#shared.push(range);
    return this.#done(`${detail}; the host may map the range now`, enforcedBy);
  }

  toPrivate(range: Range): Done {
    this.#refuse(this.#live(range) === 0, 'convert', 'the host still maps a part of the range');
    const { detail, enforcedBy } = this.#inner.toPrivate(range);
    this.#shared = this.#shared.filter((shared) => !overlap(shared, range));
    return this.#done(`${detail}; the host may not map the range any more`, enforcedBy);
  }

  declare(range: Range, state: 'private' | 'shared'): void {
    if (state === 'shared') this.#shared.push(range);
    else this.#shared = this.#shared.filter((shared) => !overlap(shared, range));
  }

  /** What the kernel makes hold is the kernel's; the rest is kept here. */
  #done(detail: string, enforcedBy: Done['enforcedBy']): Done {
    return { detail, enforcedBy: enforcedBy === 'nobody' && this.#guards ? 'library' : enforcedBy };
  }

  close(): void {
    for (const { mapping } of this.#handed) mapping.close();
    this.#inner.close();
    this.#phase = 'closed';
  }
}

/** The file that a VM's technology takes its memory from. */
function fileOf(vm: Vm, size: number): Memfile {
  if (vm.sys.kernel.arch === 'arm64' && vm.type !== 0n) return new PlainMemfile(vm, size);
  return noSharedFiles(vm) === undefined ? new MmapMemfile(vm, size) : new TwoSidedMemfile(vm, size);
}

export const unboundFirst: Design = {
  name: 'unbound-first',
  summary: "Lutomirski's order: unbound, bind, initialise, declare complete; kept by the library on top of guest_memfd",
  initialState: 'unbound',
  fillsBeforeBind: false,
  convertsInPlace: false,
  sided: false,
  promises: {
    hostAccessBeforeBind: refusedBy('library', 'mmap ENODEV'),
    bindToSecondVm: refusedBy('library', 'KVM_SET_USER_MEMORY_REGION2 EINVAL'),
    completeWithLiveMapping: refusedBy('library'),
    hostAccessAfterComplete: refusedBy('library', 'mmap ENODEV'),
    hostAccessToShared: 'ok',
    hostAccessAfterTakenBack: refusedBy('library', 'mmap ENODEV'),
  },
  missing: noSharedFilesAtAll,
  obstacle: (vm) => {
    if (vm.sys.kernel.arch === 'arm64' && vm.type !== 0n) return undefined;
    const reason = noSharedFiles(vm);
    return reason === undefined || noPrivateMemory(vm) === undefined ? undefined : reason;
  },
  create: (vm, size, options) => new UnboundFirstMemfile(fileOf(vm, size), options),
};
