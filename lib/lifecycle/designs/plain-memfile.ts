/** An ordinary memfd as guest memory: what there is where the technology takes pages from any memory (pKVM). */

import type { Memslot } from '../../kvm/memslot.ts';
import type { Vm } from '../../kvm/vm.ts';
import type { Mapping } from '../../memory/mapping.ts';
import { Memfd } from '../../memory/memfd.ts';
import { notBound } from '../words.ts';
import type { Done, Memfile, Range } from './design.ts';

export class PlainMemfile implements Memfile {
  readonly file: Memfd;
  readonly startsAs = 'shared';
  readonly #vm: Vm;
  readonly #mapping: Mapping;
  #slot: Memslot | undefined;

  constructor(vm: Vm, size: number) {
    this.#vm = vm;
    this.file = Memfd.create(vm.sys, { name: 'privmem-private', size });
    try {
      this.#mapping = this.file.map();
    } catch (error) {
      this.file.close();
      throw error;
    }
  }

  get slotMapping(): Mapping | undefined {
    return this.#slot === undefined ? undefined : this.#mapping;
  }

  get sharedFile(): Memfd {
    return this.file;
  }

  bind(slot: number, gpa: number): Memslot {
    this.#slot = this.#vm.addMemslot({ slot, gpa, size: this.#mapping.length, backing: this.#mapping });
    return this.#slot;
  }

  bindElsewhere(other: Vm): void {
    if (this.#slot === undefined) throw notBound();
    const { slot, gpa, size, hva } = this.#slot;
    other.setUserMemoryRegion({ slot, guest_phys_addr: gpa, memory_size: size, userspace_addr: hva });
  }

  hostMap({ offset, length }: Range): Mapping {
    return this.file.map({ offset, length });
  }

  sharedMap(range: Range): Mapping {
    return this.hostMap(range);
  }

  complete(): Done {
    return { detail: 'the kernel has no such operation, and the file stays as it was', enforcedBy: 'nobody' };
  }

  toShared(): Done {
    return { detail: 'nothing is asked of the file', enforcedBy: 'nobody' };
  }

  toPrivate(): Done {
    return { detail: 'nothing is asked of the file', enforcedBy: 'nobody' };
  }

  close(): void {
    this.#slot?.close();
    this.#mapping.close();
    this.file.close();
  }
}
