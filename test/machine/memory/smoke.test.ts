import { expect, test } from 'vitest';
import { Kvm, Sys, simulate } from '../../../lib/index.ts';
import { GuestMemory } from '../../../lib/machine/index.ts';

test('a conversion moves pages from one side to the other', () => {
  using kvm = Kvm.open(new Sys(simulate()));
  using vm = kvm.createVm(1);
  using memory = new GuestMemory(vm);
  memory.addRam({ name: 'ram', gpa: 0, size: 0x10000, shared: 'memfd', private: true, initial: 'private' });
  const receipt = memory.convert({ gpa: 0x1000, size: 0x2000 }, 'shared', { measure: true });
  memory.write(0x1000, new Uint8Array(0x2000).fill(7));
  const back = memory.convert({ gpa: 0, size: 0x10000 }, 'private', { measure: true });
  expect(receipt.calls.map(({ request }) => request)).toEqual(['KVM_SET_MEMORY_ATTRIBUTES', 'fallocate']);
  expect(back.residency).toEqual({ before: { private: 0, shared: 0x2000 }, after: { private: 0, shared: 0 } });
});
