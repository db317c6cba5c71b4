/**
 * Conversion inside one guest_memfd, under review in 2026: one mappable file holds both kinds of pages, and KVM_SET_MEMORY_ATTRIBUTES2 on the file
 * turns one into the other where it lies. To private it takes the host's mappings away, and refuses a page that somebody holds.
 */
import type { Vm } from '../../kvm/vm.ts';
import { noConversionInPlace, setAttributes2 } from '../attributes2.ts';
import { faultsBy, refusedBy } from '../words.ts';
import type { Design, Done, Range } from './design.ts';
import { MmapMemfile } from './guest-memfd-mmap.ts';

class InPlaceMemfile extends MmapMemfile {
  setState(range: Range, state: 'private' | 'shared'): void {
    setAttributes2(this.file.sys, this.file.fd, range, state);
  }

  override complete(): Done {
    const range = { offset: 0, length: this.file.size };
    this.setState(range, 'private');
    return { detail: 'all of the file is private: mappings that were there reach nothing', enforcedBy: 'kernel' };
  }

  override toShared(range: Range): Done {
    this.setState(range, 'shared');
    return { detail: 'converted in place: the design keeps the contents', enforcedBy: 'kernel' };
  }

  override toPrivate(range: Range): Done {
    this.setState(range, 'private');
    return { detail: 'converted in place, the host’s mappings taken away', enforcedBy: 'kernel' };
  }
}

export const inPlace: Design = {
  name: 'in-place',
  summary: 'one guest_memfd for both kinds of pages, converted where they lie (under review, v8)',
  initialState: 'brand-new',
  fillsBeforeBind: false,
  convertsInPlace: true,
  sided: false,
  promises: {
    hostAccessBeforeBind: 'ok',
    bindToSecondVm: refusedBy('KVM_SET_USER_MEMORY_REGION2 EINVAL'),
    completeWithLiveMapping: 'ok',
    hostAccessAfterComplete: faultsBy('SIGBUS BUS_ADRERR'),
    hostAccessToShared: 'ok',
    hostAccessAfterTakenBack: faultsBy('SIGBUS BUS_ADRERR'),
  },
  missing: (kvm) => {
    const vm = kvm.createVm();
    try {
      const obstacle = noConversionInPlace(vm);
      // A VM without private memory is refused by a kernel that has the series: what counts then is asked of the VM itself.
      if (obstacle === undefined || !obstacle.noSeries) return undefined;
      return { reason: obstacle.reason, nextStep: 'run a kernel with the in-place conversion series' };
    } finally {
      vm.close();
    }
  },
  obstacle: (vm: Vm) => noConversionInPlace(vm)?.reason,
  create: (vm, size) => new InPlaceMemfile(vm, size),
};
