/**
 * Lutomirski's order of April 2022: unbound (only bind and close), bound (the technology's initial state), declared complete (earlier
 * mappings gone, no new access), and from then on only ranges given back are reachable. No kernel keeps it: it is kept here, on top of a
 * mappable guest_memfd, and every refusal says so. Another program with the descriptor would get through.
 */
import type { Memslot } from '../../kvm/memslot.ts';
import type { Vm } from '../../kvm/vm.ts';
import type { Mapping } from '../../memory/mapping.ts';
import { LibraryRefusal } from '../words.ts';
import type { Design, Done, Memfile, Range } from './design.ts';
import { MmapMemfile, noSharedFiles } from './guest-memfd-mmap.ts';

const inside = (inner: Range, outer: Range): boolean =>
  inner.offset >= outer.offset && inner.offset + inner.length <= outer.offset + outer.length;

const overlap = (a: Range, b: Range): boolean => a.offset < b.offset + b.length && b.offset < a.offset + a.length;

interface Handed {
  readonly mapping: Mapping;
  readonly range: Range;
}

class UnboundFirstMemfile extends MmapMemfile implements Memfile {
  #phase: 'unbound' | 'bound' | 'initialized' = 'unbound';
  #handed: Handed[] = [];
  #shared: Range[] = [];

  override bind(slot: number, gpa: number): Memslot {
    if (this.#phase !== 'unbound') throw new LibraryRefusal('the file is bound already');
    const memslot = super.bind(slot, gpa);
    this.#phase = 'bound';
    return memslot;
  }

  override hostMap(range: Range): Mapping {
    if (this.#phase === 'unbound') {
      throw new LibraryRefusal('unbound: only bind and close are allowed (the kernel would allow mmap)');
    }
    if (this.#phase === 'initialized' && !this.#shared.some((shared) => inside(range, shared))) {
      throw new LibraryRefusal('initialised: the host may map shared ranges only (the kernel would allow it)');
    }
    const mapping = super.hostMap(range);
    this.#handed.push({ mapping, range });
    return mapping;
  }

  #live(within?: Range): number {
    this.#handed = this.#handed.filter(({ mapping }) => !mapping.closed);
    return this.#handed.filter(({ range }) => within === undefined || overlap(range, within)).length;
  }

  override complete(): Done {
    if (this.#phase !== 'bound') throw new LibraryRefusal(`complete needs a bound file, this one is ${this.#phase}`);
    const live = this.#live();
    if (live > 0) throw new LibraryRefusal(`${live} earlier mapping${live === 1 ? ' is' : 's are'} still there`);
    this.#phase = 'initialized';
    return {
      detail: "earlier mappings are gone; only KVM's own at userspace_addr stays, which nobody is handed",
      enforcedBy: 'library',
    };
  }

  override toShared(range: Range): Done {
    super.toShared(range);
    this.#shared.push(range);
    return { detail: 'the hole is punched, contents are gone; the host may map the range now', enforcedBy: 'library' };
  }

  override toPrivate(range: Range): Done {
    if (this.#live(range) > 0) throw new LibraryRefusal('the host still maps a part of the range');
    super.toPrivate(range);
    this.#shared = this.#shared.filter((shared) => !overlap(shared, range));
    return {
      detail: 'the hole is punched, contents are gone; the host may not map the range any more',
      enforcedBy: 'library',
    };
  }

  override close(): void {
    for (const { mapping } of this.#handed) mapping.close();
    super.close();
  }
}

export const unboundFirst: Design = {
  name: 'unbound-first',
  summary: "Lutomirski's order: unbound, bind, initialise, declare complete; kept by the library on top of guest_memfd",
  initialState: 'unbound',
  promises: {
    hostAccessBeforeBind: 'refused',
    bindToSecondVm: 'refused',
    completeWithLiveMapping: 'refused',
    hostAccessAfterComplete: 'refused',
    hostAccessToShared: 'ok',
    hostAccessAfterTakenBack: 'refused',
  },
  obstacle: noSharedFiles,
  create: (vm: Vm, size: number) => new UnboundFirstMemfile(vm, size),
};
