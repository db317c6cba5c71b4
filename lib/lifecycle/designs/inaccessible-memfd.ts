/**
 * Revision 5 of the series of 2022, as posted: a memfd made with MFD_INACCESSIBLE, which nobody outside can reach from its creation on. fallocate
 * makes a range private, a punched hole gives it back. The kernel asks nobody who else has the file.
 */
import type { Sys } from '../../kernel/sys.ts';
import { MAP, MFD_INACCESSIBLE, PROT } from '../../uapi/index.ts';
import { refusedBy } from '../words.ts';
import { noPrivateSlots } from './2022.ts';
import type { Design } from './design.ts';
import { inaccessibleFile, MemfdMemfile } from './memfd-region.ts';

const NEXT = 'run a kernel with v3 to v8 of the series of 2022, or the simulation with it';
const PAGE = 4096;

function canMap(sys: Sys, fd: number): boolean {
  const mapped = sys.raw.mmap(0, PAGE, PROT.value.PROT_READ, MAP.value.MAP_SHARED, fd, 0);
  if (mapped.ok) sys.munmap(mapped.value, PAGE);
  return mapped.ok;
}

export const inaccessibleMemfd: Design = {
  name: 'inaccessible-memfd',
  summary: 'v5 of the series of 2022: an inaccessible memfd; fallocate makes private, a hole gives back',
  initialState: 'unbound',
  fillsBeforeBind: false,
  convertsInPlace: false,
  privateFile: inaccessibleFile,
  sided: true,
  promises: {
    hostAccessBeforeBind: refusedBy('mmap EPERM'),
    bindToSecondVm: 'ok',
    completeWithLiveMapping: 'ok',
    hostAccessAfterComplete: refusedBy('mmap EPERM'),
    hostAccessToShared: 'ok',
    hostAccessAfterTakenBack: refusedBy('mmap EPERM'),
  },
  missing: ({ sys }) => {
    const created = sys.raw.memfdCreate('privmem-probe', MFD_INACCESSIBLE);
    if (!created.ok) return { reason: `memfd_create with MFD_INACCESSIBLE (8): ${created.code}`, nextStep: NEXT };
    const fd = created.value;
    try {
      sys.ftruncate(fd, PAGE);
      const can = sys.raw.pwrite(fd, new Uint8Array(1), 0).ok ? 'written' : canMap(sys, fd) ? 'mapped' : undefined;
      if (can === undefined) return undefined;
      return { reason: `flag 8 of memfd_create is MFD_NOEXEC_SEAL here: the file can be ${can}`, nextStep: NEXT };
    } finally {
      sys.close(fd);
    }
  },
  obstacle: (vm) => noPrivateSlots(vm, (owner) => inaccessibleFile(owner, PAGE)),
  create: (vm, size) => new MemfdMemfile(vm, size, inaccessibleFile(vm, size), 'shared'),
};
