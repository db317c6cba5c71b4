/** What the host wants of the memfile: accesses through mappings, and I/O by the kernel on its behalf. */
import type { Mapping } from '../memory/mapping.ts';
import { Pipe } from '../memory/pipe.ts';
import type { Range } from './designs/index.ts';
import type { StepResult } from './ledger.ts';
import { PAGE, type Stage } from './stage.ts';
import { notBound } from './words.ts';

/** A host access that the discussion wants to see refused at this moment. */
export function withHostMapping<T>(stage: Stage, range: Range, body: (mapping: Mapping) => T): T {
  stage.hostRange = range;
  const mapping = stage.needMemfile().hostMap(range);
  try {
    return body(mapping);
  } finally {
    mapping.close();
  }
}

/** Access at the slot's userspace_addr, which every VMM has, and no design hands out. */
export function atSlot<T>(stage: Stage, offset: number, body: (mapping: Mapping, offset: number) => T): T {
  const mapping = stage.needMemfile().slotMapping;
  if (mapping === undefined) throw notBound();
  stage.hostRange = { offset: 0, length: stage.size };
  return body(mapping, offset);
}

export const pageAt = (offset: number): Range => ({ offset, length: PAGE });

export function hostWrites(stage: Stage, offset: number, byte: number, done: string): StepResult {
  withHostMapping(stage, pageAt(offset), (mapping) => mapping.fill(byte, { length: 8 }));
  return { detail: `${done}: mapped and written, nobody objects`, enforcedBy: 'nobody' };
}

export function hostMaps(stage: Stage, offset: number): StepResult {
  withHostMapping(stage, pageAt(offset), () => {});
  return { detail: 'the host maps a page of the bound file, nobody objects', enforcedBy: 'nobody' };
}

export function hostReads(stage: Stage, offset: number): StepResult {
  withHostMapping(stage, pageAt(offset), (mapping) => mapping.readU64(0));
  return { detail: 'the host reads a page of the bound file, nobody objects', enforcedBy: 'nobody' };
}

/** read(2) of a pipe into the memory: the kernel copies, so that no signal comes but EFAULT. */
export function kernelWrites(mapping: Mapping, byte: number, offset = 0): void {
  const pipe = Pipe.create(mapping.sys);
  try {
    pipe.write(new Uint8Array(8).fill(byte));
    pipe.vmspliceTo(mapping, { offset, length: 8 });
  } finally {
    pipe.close();
  }
}

/** process_vm_readv(2) of the memory: the kernel pins the page. */
export function kernelReads(mapping: Mapping, offset = 0): bigint {
  const bytes = new Uint8Array(8);
  mapping.readPinned(offset, bytes);
  return new DataView(bytes.buffer).getBigUint64(0, true);
}
