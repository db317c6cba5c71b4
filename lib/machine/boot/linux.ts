/** Puts a kernel, its initramfs and what it is told into guest memory. */
import type { MachineMemory } from '../words.ts';
import { acpiTables, type VirtioPlace } from './acpi.ts';
import { type BzImage, ENTRY_64, parseBzImage } from './bzimage.ts';
import { type ElfKernel, parseElf } from './elf.ts';
import { type Entry, entryMemory } from './entry.ts';
import {
  ACPI_ROOM,
  ACPI_TABLES,
  COMMAND_LINE,
  COMMAND_LINE_ROOM,
  e820,
  HIGH_MEMORY,
  PVH_START_INFO,
  ramRanges,
  ZERO_PAGE,
} from './layout.ts';
import { NotBootableError } from './not-a-kernel.ts';
import { pvhStartInfo, type StartFacts, zeroPage } from './zero-page.ts';

export type KernelImage = BzImage | ElfKernel;

/** A bzImage or an ELF kernel for x86-64. NotBootableError for anything else, with what it is where that can be told. */
export function parseKernel(file: Uint8Array): KernelImage {
  const found = parseBzImage(file) ?? parseElf(file);
  if (found !== undefined) return found;
  if (file.length === 0) throw new NotBootableError('the file is empty');
  if (file[0] === 0x1f && file[1] === 0x8b) throw new NotBootableError('compressed by gzip: unpack it first');
  if (String.fromCharCode(...file.subarray(0x38, 0x3c)) === 'ARM\x64') throw new NotBootableError('an Image for arm64');
  throw new NotBootableError('neither a bzImage (no HdrS at 0x202) nor an ELF file');
}

export interface LoadOptions {
  readonly kernel: KernelImage;
  readonly initrd?: Uint8Array | undefined;
  readonly commandLine: string;
  /** Bytes of RAM, laid out by `ramRanges`. */
  readonly memory: number;
  readonly cpus: number;
  readonly virtio: readonly VirtioPlace[];
  /** Whether the machine has a pair of 8259s. Default true. */
  readonly pic?: boolean;
  /** ELF kernels: `auto` takes PVH where the kernel has it. */
  readonly protocol?: 'auto' | '64-bit' | 'PVH';
}

export interface Loaded {
  readonly entry: Entry;
  /** Everything that the guest gets from the host, in bytes; of the kernel all that it takes for itself at its start. */
  readonly ranges: readonly { readonly gpa: number; readonly size: number; readonly what: string }[];
}

const PAGE = 4096;
const FOUR_GIB_LESS = 0xffff_ffff;
const MIB = 2 ** 20;

function choose(kernel: KernelImage, protocol: 'auto' | '64-bit' | 'PVH'): Entry {
  if (kernel.kind === 'bzImage') {
    if (protocol === 'PVH') throw new RangeError('a bzImage has no PVH entry: give the vmlinux');
    return { protocol: '64-bit', rip: kernel.loadAt + ENTRY_64 };
  }
  if (kernel.pvhEntry !== undefined && protocol !== '64-bit') return { protocol: 'PVH', rip: kernel.pvhEntry };
  if (protocol === 'PVH') throw new RangeError('this kernel has no PVH entry (CONFIG_PVH)');
  return { protocol: '64-bit', rip: kernel.entry };
}

/** RangeError when it does not fit into the memory; what is in memory already is overwritten. */
export function loadLinux(into: MachineMemory, options: LoadOptions): Loaded {
  const { kernel, initrd, commandLine, memory, cpus, virtio } = options;
  const entry = choose(kernel, options.protocol ?? 'auto');
  const ranges: { gpa: number; size: number; what: string }[] = [];
  const put = (what: string, gpa: number, bytes: Uint8Array): void => {
    into.write(gpa, bytes);
    ranges.push({ gpa, size: bytes.length, what });
  };
  const lowEnd = ramRanges(memory)[0]?.size ?? 0;
  const kernelEnd =
    kernel.kind === 'bzImage'
      ? kernel.loadAt + kernel.room
      : Math.max(...kernel.segments.map(({ gpa, size }) => gpa + size));
  const initrdRoom = Math.ceil((initrd?.length ?? 0) / PAGE) * PAGE;
  const need = kernelEnd + initrdRoom + MIB;
  if (need > lowEnd) {
    throw new RangeError(
      `the kernel needs ${Math.ceil(need / MIB)} MiB of memory, the machine has ${Math.floor(memory / MIB)}`,
    );
  }
  const text = new TextEncoder().encode(`${commandLine}\0`);
  const most = Math.min(COMMAND_LINE_ROOM, kernel.kind === 'bzImage' ? kernel.commandLineSize + 1 : COMMAND_LINE_ROOM);
  if (text.length > most)
    throw new RangeError(`the command line has ${text.length - 1} bytes, the kernel takes ${most - 1}`);
  if (kernel.kind === 'bzImage') {
    put('kernel', kernel.loadAt, kernel.code);
    ranges.push({ gpa: kernel.loadAt, size: kernel.room, what: 'room of the kernel' });
  } else {
    for (const { gpa, bytes, size } of kernel.segments) {
      if (bytes.length > 0) put('kernel', gpa, bytes);
      ranges.push({ gpa, size, what: 'room of the kernel' });
    }
  }
  const top = Math.min(lowEnd, (kernel.kind === 'bzImage' ? kernel.initrdMax : FOUR_GIB_LESS) + 1);
  const initrdPlace =
    initrd === undefined || initrd.length === 0 ? undefined : { gpa: top - initrdRoom, size: initrd.length };
  if (initrdPlace !== undefined && initrd !== undefined) {
    if (initrdPlace.gpa < Math.max(kernelEnd, HIGH_MEMORY))
      throw new RangeError('the initramfs does not fit below the limit of the kernel');
    put('initramfs', initrdPlace.gpa, initrd);
  }
  put('command line', COMMAND_LINE, text);
  const acpi = acpiTables({ at: ACPI_TABLES, cpus, virtio, pic: options.pic ?? true });
  if (acpi.length > ACPI_ROOM)
    throw new RangeError(`the ACPI tables have ${acpi.length} bytes, there is room for ${ACPI_ROOM}`);
  put('ACPI tables', ACPI_TABLES, acpi);
  const facts: StartFacts = { commandLine: COMMAND_LINE, initrd: initrdPlace, rsdp: ACPI_TABLES, e820: e820(memory) };
  if (entry.protocol === 'PVH') put('start info', PVH_START_INFO, pvhStartInfo(PVH_START_INFO, facts));
  else put('zero page', ZERO_PAGE, zeroPage(facts, kernel.kind === 'bzImage' ? kernel.header : undefined));
  for (const { gpa, bytes } of entryMemory(entry)) put('entry', gpa, bytes);
  return { entry, ranges };
}
