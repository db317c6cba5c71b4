/** Requests that are not merged, in traces: the memslot request of 2022 has the number of the merged one. */
import { expect, it } from 'vitest';
import { Sys } from '../../lib/kernel/sys.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { runLifecycle } from '../../lib/lifecycle/lifecycle.ts';
import { Mapping } from '../../lib/memory/mapping.ts';
import { simulate } from '../../lib/sim/simulate.ts';
import { FdKinds } from '../../lib/trace/kinds.ts';
import { replayTrace } from '../../lib/trace/replay.ts';
import {
  KVM_SET_USER_MEMORY_REGION,
  kvm_userspace_memory_region,
  kvm_userspace_memory_region_ext,
  privateMemoryRegion,
} from '../../lib/uapi/index.ts';
import { record, summary } from './record.ts';

const patched = () => simulate({ patches: ['inaccessible-memfd-v5'] });

it('a lifecycle of the design of 2022 shows the private half of its slots, and ordinary slots as ever', async () => {
  const recording = await record(patched(), (traced) =>
    runLifecycle(new Sys(traced), { design: 'inaccessible-memfd', technology: 'sw-protected' }),
  );
  const slots = recording.calls.filter(({ request }) => request?.startsWith('KVM_SET_USER_MEMORY_REGION'));
  const extended = slots.filter(({ request }) => request === privateMemoryRegion.name);
  expect(extended.length).toBeGreaterThan(0);
  for (const { text } of extended) {
    expect(text).toMatch(/KVM_SET_USER_MEMORY_REGION_PRIVATE, \{.*private_offset=.*private_fd=\d/);
  }
  const ordinary = slots.filter(({ request }) => request !== privateMemoryRegion.name);
  expect(ordinary.length).toBeGreaterThan(0);
  for (const { text } of ordinary) {
    expect(text).toMatch(/KVM_SET_USER_MEMORY_REGION2?, \{/);
    expect(text).not.toMatch(/private_fd/);
  }
  // To a replay the field is a descriptor, in the one request and not in the other.
  const kinds = new FdKinds(recording);
  for (const call of recording.calls) {
    if (extended.includes(call)) expect(kinds.ioctl(call)).toBe(privateMemoryRegion);
    if (ordinary.includes(call)) expect(kinds.ioctl(call)?.name).toBe(call.request);
    kinds.follow(call);
  }
  expect(summary(await replayTrace(recording, patched()))).toEqual([]);
});

it('the request that was handed over counts for its own call only, and only if its struct fits', async () => {
  const recording = await record(patched(), (traced) => {
    const sys = new Sys(traced);
    const vm = Kvm.open(sys).createVm();
    const backing = Mapping.anonymous(sys, 4096);
    const slot = { slot: 1, guest_phys_addr: 0, memory_size: 4096, userspace_addr: backing.hva };
    vm.ioctl(privateMemoryRegion, kvm_userspace_memory_region_ext.encode(slot));
    vm.ioctl(KVM_SET_USER_MEMORY_REGION.request, kvm_userspace_memory_region.encode({ ...slot, memory_size: 0 }));
    vm.ioctl(privateMemoryRegion, kvm_userspace_memory_region.encode(slot));
  });
  const names = recording.calls.flatMap(({ request }) => (request?.includes('MEMORY_REGION') ? [request] : []));
  const merged = 'KVM_SET_USER_MEMORY_REGION';
  expect(names).toEqual([privateMemoryRegion.name, merged, merged]);
});
