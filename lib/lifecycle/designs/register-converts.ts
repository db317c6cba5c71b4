/**
 * The other idea of April 2022: the file is an ordinary one until a memslot registers it. That turns it private, and what it holds is kept, so that
 * initial contents can be put there before. No posted kernel implements it.
 */
import type { Kvm } from '../../kvm/kvm.ts';
import type { Vm } from '../../kvm/vm.ts';
import { Memfd } from '../../memory/memfd.ts';
import { refusedBy } from '../words.ts';
import { noPrivateSlots } from './2022.ts';
import type { Design } from './design.ts';
import { MemfdMemfile, optingVm, probeBind } from './memfd-region.ts';

const PAGE = 4096;
const NEXT = 'use the simulated kernel with it: no posted kernel does this';

const ordinaryFile = (vm: Vm, size: number): Memfd =>
  Memfd.create(vm.sys, { name: 'privmem-private', size, sealable: false });

function missing(kvm: Kvm): { reason: string; nextStep: string } | undefined {
  const vm = optingVm(kvm) ?? kvm.createVm();
  const file = ordinaryFile(vm, PAGE);
  try {
    const code = probeBind(vm, file);
    if (code !== undefined) return { reason: `a memslot refuses an ordinary memfd (${code})`, nextStep: NEXT };
    if (!file.raw.pwrite(new Uint8Array(1), 0).ok) return undefined;
    return { reason: 'the memslot takes an ordinary memfd, which the host can still write', nextStep: NEXT };
  } finally {
    file.close();
    vm.close();
  }
}

export const registerConverts: Design = {
  name: 'register-converts',
  summary: 'an ordinary memfd, filled beforehand, turns private when a memslot registers it; its contents are kept',
  initialState: 'brand-new',
  fillsBeforeBind: true,
  convertsInPlace: false,
  privateFile: ordinaryFile,
  sided: true,
  promises: {
    hostAccessBeforeBind: 'ok',
    bindToSecondVm: 'ok',
    completeWithLiveMapping: 'ok',
    hostAccessAfterComplete: refusedBy('mmap EPERM'),
    hostAccessToShared: 'ok',
    hostAccessAfterTakenBack: refusedBy('mmap EPERM'),
  },
  missing,
  obstacle: (vm) => noPrivateSlots(vm, (owner) => ordinaryFile(owner, PAGE)),
  create: (vm, size) => new MemfdMemfile(vm, size, ordinaryFile(vm, size), 'private'),
};
