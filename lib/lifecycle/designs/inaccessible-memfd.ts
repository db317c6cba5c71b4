/**
 * Revision 5 of the series of 2022, as posted: a memfd made with MFD_INACCESSIBLE, which nobody outside can reach from its creation on. fallocate
 * makes a range private, a punched hole gives it back. The kernel asks nobody who else has the file.
 */
import { noPrivateSlots } from './2022.ts';
import type { Design } from './design.ts';
import { inaccessibleFile, MemfdMemfile } from './memfd-region.ts';

const NEXT = 'run a kernel with v3 to v8 of the series of 2022, or the simulation with it';
const MFD_INACCESSIBLE = 8;
const PAGE = 4096;

export const inaccessibleMemfd: Design = {
  name: 'inaccessible-memfd',
  summary: 'v5 of the series of 2022: an inaccessible memfd; fallocate makes private, a hole gives back',
  initialState: 'unbound',
  fillsBeforeBind: false,
  convertsInPlace: false,
  privateFile: inaccessibleFile,
  sided: true,
  promises: {
    hostAccessBeforeBind: 'refused',
    bindToSecondVm: 'ok',
    completeWithLiveMapping: 'ok',
    hostAccessAfterComplete: 'refused',
    hostAccessToShared: 'ok',
    hostAccessAfterTakenBack: 'refused',
  },
  missing: ({ sys }) => {
    const created = sys.raw.memfdCreate('privmem-probe', MFD_INACCESSIBLE);
    if (!created.ok) return { reason: `memfd_create with MFD_INACCESSIBLE (8): ${created.code}`, nextStep: NEXT };
    const fd = created.value;
    try {
      const writes = sys.raw.ftruncate(fd, PAGE).ok && sys.raw.pwrite(fd, new Uint8Array(1), 0).ok;
      if (!writes) return undefined;
      return { reason: 'flag 8 of memfd_create is MFD_NOEXEC_SEAL here: the file can be written', nextStep: NEXT };
    } finally {
      sys.close(fd);
    }
  },
  obstacle: (vm) => noPrivateSlots(vm, (owner) => inaccessibleFile(owner, PAGE)),
  create: (vm, size) => new MemfdMemfile(vm, size, inaccessibleFile(vm, size), 'shared'),
};
