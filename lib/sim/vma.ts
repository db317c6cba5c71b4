/**
 * A mapping. Where it lies is kept by the address space; a mapping whose parts are unmapped or split away is still one Vma, since every
 * part has the same distance between its pages' numbers and those in the file.
 */
import type { SimFile } from './file.ts';

export interface VmaFields {
  /** Absent for anonymous private memory. */
  readonly file: SimFile | undefined;
  /** File page = page number of the address + delta. */
  readonly delta: number;
  /** VM_MAYSHARE. */
  readonly shared: boolean;
  /** PROT bits. */
  readonly prot: number;
  /** PROT bits that mprotect may give. Without PROT_WRITE a shared mapping cannot change its file. */
  readonly mayProt: number;
  /** VM_LOCKED. */
  readonly locked: boolean;
  /** VM_LOCKONFAULT: locked pages are not fetched in advance. */
  readonly onFault?: boolean;
  /** VM_DROPPABLE. */
  readonly droppable: boolean;
  /** Advice that it was given, kept for mappings in huge pages only: different advice for a part would split them. */
  readonly advice?: number;
  /** Backed by huge pages: unmapped and protected only in whole ones. Bytes. */
  readonly align: number;
}

export class Vma implements VmaFields {
  readonly file: SimFile | undefined;
  readonly delta: number;
  readonly shared: boolean;
  readonly prot: number;
  readonly mayProt: number;
  readonly locked: boolean;
  readonly onFault: boolean;
  readonly droppable: boolean;
  readonly advice: number;
  readonly align: number;
  /** Pages that are mapped through it now. */
  pages = 0;

  constructor(fields: VmaFields) {
    this.file = fields.file;
    this.delta = fields.delta;
    this.shared = fields.shared;
    this.prot = fields.prot;
    this.mayProt = fields.mayProt;
    this.locked = fields.locked;
    this.onFault = fields.onFault ?? false;
    this.droppable = fields.droppable;
    this.advice = fields.advice ?? 0;
    this.align = fields.align;
  }

  /** vma_is_shared_maywrite: it could change the file, now or after mprotect. */
  get sharedWritable(): boolean {
    return this.shared && (this.mayProt & 2) !== 0;
  }

  /** The same mapping with some fields changed. */
  altered(changes: Partial<VmaFields>): Vma {
    const { file, delta, shared, prot, mayProt, locked, onFault, droppable, advice, align } = this;
    return new Vma({ file, delta, shared, prot, mayProt, locked, onFault, droppable, advice, align, ...changes });
  }
}
