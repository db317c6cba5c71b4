/** KVM_PRE_FAULT_MEMORY against what comes in between: a signal, a slot that goes and comes. */
import type { Vcpu } from '../../../kvm/vcpu.ts';
import { KVM_MEM, KVM_SET_USER_MEMORY_REGION2, kvm_userspace_memory_region2 } from '../../../uapi/index.ts';
import { breathe } from '../../background.ts';
import type { Context } from '../../context.ts';
import { onAnotherThread, type RemoteCall, signals } from '../../elsewhere.ts';
import { both, type Needs } from '../../needs.ts';
import { PRE_FAULT, type PreFaulted, preFault } from '../../pre-fault.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_VM } from '../../two-sided.ts';

const MANY = 128 * 1024 * 1024;
const FLAPS = 10;

/** Progress if and only if it succeeded, and the end of the range stays where it is. */
function consistent(t: Context, { result, gpa, size }: PreFaulted, from: number, to: number): void {
  t.same(gpa + size, BigInt(to), 'the end of the range');
  const left = `0x${size.toString(16)} of 0x${(to - from).toString(16)} bytes left after ${result.ok ? 'success' : result.code}`;
  t.holds(size <= BigInt(to - from) && result.ok === size < BigInt(to - from), 'progress, and only with success', left);
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** A vCPU of a VM whose slot 0 is yet to come, with the calls that make it and delete it, and its memory. */
function flapping(t: Context, side: 'shared' | 'private', pages: number) {
  const vm = t.vm();
  const size = pages * PAGE;
  const backing = t.anonymous(size);
  const region = { slot: 0, guest_phys_addr: AREA, memory_size: size, userspace_addr: backing.hva };
  const file =
    side === 'private'
      ? { flags: KVM_MEM.value.KVM_MEM_GUEST_MEMFD, guest_memfd: t.guestMemfd(vm, size).fd, guest_memfd_offset: 0 }
      : {};
  if (side === 'private') vm.setPrivate(AREA, size);
  const call = (memory_size: number): RemoteCall => ({
    call: 'ioctl',
    on: 0,
    args: [
      KVM_SET_USER_MEMORY_REGION2.request,
      hex(kvm_userspace_memory_region2.encode({ flags: 0, ...region, ...file, memory_size })),
    ],
  });
  return { vm, vcpu: vm.createVcpu(), create: call(size), remove: call(0) };
}

/** Repeats what a signal interrupted. */
function uninterrupted(t: Context, vcpu: Vcpu, size: number): PreFaulted {
  for (;;) {
    const done = preFault(vcpu, AREA, size);
    consistent(t, done, AREA, AREA + size);
    if (done.result.ok || done.result.code !== 'EINTR') return done;
  }
}

export const preFaultRace = topic(
  'pre_fault/race',
  {
    promise:
      'virt/kvm/kvm_main.c: kvm_vcpu_pre_fault_memory; arch/x86/kvm/mmu/mmu.c: kvm_tdp_page_prefault, kvm_mmu_faultin_pfn; api.rst 4.143',
    needs: { arch: 'x64', real: true, ...PRE_FAULT },
  },
  (scenario) => {
    scenario('signal_ends_it_with_what_is_done', async (t) => {
      const vm = t.vm();
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: MANY, backing: t.anonymous(MANY) }));
      const vcpu = vm.createVcpu();
      const end = AREA + MANY;
      const sender = t.use(signals(0));
      let interrupted: PreFaulted | undefined;
      for (let attempt = 0; attempt < 200 && interrupted === undefined; attempt++) {
        const done = preFault(vcpu, AREA, MANY);
        consistent(t, done, AREA, end);
        if (!done.result.ok) t.refused(done.result, 'EINTR', 'an interrupted call');
        if (done.size > 0n) interrupted = done;
        // The other process may not have begun.
        else await breathe(10);
      }
      sender.close();
      t.holds(interrupted !== undefined, 'a signal interrupts one of the calls');
      let at = Number(interrupted?.gpa ?? 0);
      for (let attempt = 0; attempt < 1000 && at < end; attempt++) {
        const done = preFault(vcpu, at, end - at);
        consistent(t, done, at, end);
        at = Number(done.gpa);
      }
      t.same(at, end, 'where repeated calls come to');
    });

    for (const side of ['shared', 'private'] as const) {
      const needs: Needs = both(side === 'shared' ? {} : PRIVATE_VM, { ...PRE_FAULT, release: [6, 18] });
      const gone = side === 'shared' ? 'ENOENT' : 'EFAULT';

      scenario(`${side}_slot_that_goes_and_comes`, { needs }, async (t) => {
        const size = 8 * PAGE;
        const { vm, vcpu, create, remove } = flapping(t, side, 8);
        // A call that would never end is a failure of its own words, not of the suite's patience.
        t.use(signals(1000));
        const seen = new Map<string, number>();
        let flaps: readonly number[] | undefined;
        const calls = Array.from({ length: FLAPS }, () => [create, remove]).flat();
        const worker = onAnotherThread([vm.fd], [...calls, create]).then((results) => {
          flaps = results;
        });
        const limit = performance.now() + 20_000;
        while (flaps === undefined && performance.now() < limit) {
          const { result } = uninterrupted(t, vcpu, size);
          if (!result.ok) t.refused(result, [gone, 'EAGAIN'], 'pre-faulting a slot that goes and comes');
          const word = result.ok ? 'success' : result.code;
          seen.set(word, (seen.get(word) ?? 0) + 1);
          await breathe();
        }
        await worker;
        t.same(
          flaps?.every((result) => result === 0),
          true,
          'creating and deleting the slot meanwhile',
        );
        t.holds(
          seen.has(gone),
          'the slot is seen to be gone at some moment',
          `seen were ${[...seen.keys()].join(', ')}`,
        );
        const last = uninterrupted(t, vcpu, size);
        t.accepted(last.result, 'pre-faulting the slot that stays');
        t.same(last.size, 0n, 'bytes left');
      });
    }
  },
);
