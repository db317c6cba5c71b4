/** Backings and memslot of a new region. When one step is refused, nothing is left of those before it. */
import { UnsupportedError } from '../../kernel/errors.ts';
import type { Vm } from '../../kvm/vm.ts';
import { PAGE_SIZE } from '../../memory/mapping.ts';
import { KVM_CAP, KVM_MEM } from '../../uapi/index.ts';
import { openPrivate, openShared } from './backing.ts';
import type { AliasOptions, RamOptions, RomOptions } from './options.ts';
import type { Region, RegionParts } from './region.ts';
import type { Side } from './words.ts';

const { KVM_MEM_READONLY } = KVM_MEM.value;

export interface OpenedRam {
  readonly parts: RegionParts;
  /** Where every page is now: a page of a file is as the file was made; attributes start shared. */
  readonly side: Side;
}

export function openRam(vm: Vm, slotId: number, options: RamOptions): OpenedRam {
  const { name, gpa, size, shared: backing } = options;
  const undo: (() => void)[] = [];
  try {
    const flags = backing === 'guest-memfd' ? { mmap: true, initShared: options.initial === 'shared' } : {};
    const opened = options.private ? openPrivate(vm, size, options.private, flags) : undefined;
    if (opened?.owned) undo.push(() => opened.side.file.close());
    const shared = openShared(vm.sys, name, size, backing, opened?.side);
    undo.push(shared.close);
    const slot = vm.addMemslot({
      slot: slotId,
      gpa,
      size,
      backing: shared.mapping,
      ...(opened === undefined ? {} : { guestMemfd: opened.side.file, guestMemfdOffset: opened.side.offset }),
    });
    const release = (): void => {
      shared.close();
      if (opened?.owned) opened.side.file.close();
    };
    const parts = { name, kind: 'ram', gpa, size, slot, shared, sharedOffset: 0, release } as const;
    return {
      parts: opened === undefined ? parts : { ...parts, privateSide: opened.side },
      side: shared.inPlace && !opened?.side.file.initShared ? 'private' : 'shared',
    };
  } catch (error) {
    for (const step of undo.reverse()) step();
    throw error;
  }
}

/** Whole pages. */
export const romSize = ({ contents }: RomOptions): number => Math.ceil(contents.length / PAGE_SIZE) * PAGE_SIZE;

/** UnsupportedError where the VM has no read-only slots. */
export function openRom(vm: Vm, slotId: number, options: RomOptions): RegionParts {
  const { name, gpa, contents } = options;
  if (vm.checkExtension(KVM_CAP.value.KVM_CAP_READONLY_MEM) === 0) {
    throw new UnsupportedError(
      `ROM ${name}`,
      'KVM_CAP_READONLY_MEM is 0 for this VM: the state of its guest is protected',
      'add RAM and write the contents into it',
    );
  }
  const size = romSize(options);
  const shared = openShared(vm.sys, name, size, 'memfd', undefined);
  try {
    shared.mapping.write(0, contents);
    const slot = vm.addMemslot({ slot: slotId, gpa, size, backing: shared.mapping, flags: KVM_MEM_READONLY });
    return { name, kind: 'rom', gpa, size, slot, shared, sharedOffset: 0, release: shared.close };
  } catch (error) {
    shared.close();
    throw error;
  }
}

export function openAlias(
  vm: Vm,
  slotId: number,
  of: Region,
  options: Required<Omit<AliasOptions, 'of'>>,
): RegionParts {
  const { name, gpa, offset, size } = options;
  const sharedOffset = of.sharedOffset + offset;
  const flags = of.slot.flags & KVM_MEM_READONLY;
  const backing = of.shared.mapping;
  const slot = vm.addMemslot({ slot: slotId, gpa, size, backing, backingOffset: sharedOffset, flags });
  return { name, kind: 'alias', gpa, size, slot, shared: of.shared, sharedOffset, of, release: () => {} };
}
