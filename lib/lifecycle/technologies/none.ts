/** No protection: a default VM. The host may always read and write; what is private is so by convention. */
import type { Technology } from './technology.ts';

export const none: Technology = {
  name: 'none',
  summary: 'a default VM: nothing but convention protects guest memory from the host',
  createVm: (kvm) => kvm.createVm(),
  initialContents: 'host-writes',
  conversion: 'host',
};
