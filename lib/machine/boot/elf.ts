/** An ELF kernel (vmlinux): what is loaded where, and how it is entered. */
import { NotBootableError, viewOf } from './not-a-kernel.ts';

const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const PT_NOTE = 4;
/** A loader that is asked for, variables for each thread: programs have them. */
const PROGRAMS_ONLY: ReadonlySet<number> = new Set([3, 7]);
/** XEN_ELFNOTE_PHYS32_ENTRY: the entry point of the PVH boot protocol. xen/interface/elfnote.h */
const PHYS32_ENTRY = 18;
const EHDR = { phoff: 32, phentsize: 54, phnum: 56, entry: 24, machine: 18 } as const;
const PHDR = { type: 0, offset: 8, paddr: 24, filesz: 32, memsz: 40, align: 48, size: 56 } as const;

export interface ElfSegment {
  /** Guest-physical address in bytes. */
  readonly gpa: number;
  readonly bytes: Uint8Array;
  /** Bytes in memory; what the file does not have is zero. */
  readonly size: number;
}

export interface ElfKernel {
  readonly kind: 'elf';
  readonly segments: readonly ElfSegment[];
  /** Physical address of the 64-bit entry point. */
  readonly entry: number;
  /** That of PVH, where the kernel has it (CONFIG_PVH). */
  readonly pvhEntry: number | undefined;
}

/** Undefined when it is no ELF file; NotBootableError for one that is no kernel of this architecture. */
export function parseElf(file: Uint8Array): ElfKernel | undefined {
  if (file.length < 64 || String.fromCharCode(...file.subarray(0, 4)) !== '\x7fELF') return undefined;
  const view = viewOf(file);
  const machine = view.getUint16(EHDR.machine, true);
  if (file[4] !== ELFCLASS64 || file[5] !== ELFDATA2LSB || machine !== EM_X86_64) {
    throw new NotBootableError(`an ELF file of another kind (machine ${machine}), not of x86-64`);
  }
  const u64 = (at: number): number => Number(view.getBigUint64(at, true));
  const segments: ElfSegment[] = [];
  let pvhEntry: number | undefined;
  const phoff = u64(EHDR.phoff);
  const count = view.getUint16(EHDR.phnum, true);
  const step = view.getUint16(EHDR.phentsize, true);
  if (count > 0 && (step < PHDR.size || phoff + count * step > file.length))
    throw new NotBootableError('its program headers are beyond its end: it is cut short');
  for (let i = 0; i < count; i++) {
    const at = phoff + i * step;
    const type = view.getUint32(at + PHDR.type, true);
    if (PROGRAMS_ONLY.has(type)) throw new NotBootableError('an ELF program, not a kernel');
    if (type !== PT_LOAD && type !== PT_NOTE) continue;
    const offset = u64(at + PHDR.offset);
    const length = u64(at + PHDR.filesz);
    if (offset + length > file.length) throw new NotBootableError('a segment is beyond its end: it is cut short');
    const bytes = file.subarray(offset, offset + length);
    if (type === PT_LOAD) segments.push({ gpa: u64(at + PHDR.paddr), bytes, size: u64(at + PHDR.memsz) });
    else pvhEntry ??= pvhNote(bytes);
  }
  if (segments.length === 0)
    throw new NotBootableError('an ELF file with nothing to load (an object file or a module?)');
  const entry = u64(EHDR.entry);
  if (pvhEntry === undefined && !segments.some(({ gpa, size }) => entry >= gpa && entry < gpa + size))
    throw new NotBootableError('an ELF program, not a kernel: its entry point is no physical address');
  return { kind: 'elf', segments, entry, pvhEntry };
}

const align4 = (value: number): number => Math.ceil(value / 4) * 4;

function pvhNote(notes: Uint8Array): number | undefined {
  const view = viewOf(notes);
  for (let at = 0; at + 12 <= notes.length; ) {
    const nameSize = view.getUint32(at, true);
    const descSize = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const desc = at + 12 + align4(nameSize);
    if (desc + descSize > notes.length) return undefined;
    const name = String.fromCharCode(...notes.subarray(at + 12, at + 12 + Math.max(0, nameSize - 1)));
    if (name === 'Xen' && type === PHYS32_ENTRY && descSize >= 4) return view.getUint32(desc, true);
    at = desc + align4(descSize);
  }
  return undefined;
}
