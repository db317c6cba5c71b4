/**
 * A page of a guest_memfd that the machine lost: the guest's access says EHWPOISON.
 *
 * Losing it is asked for by madvise(2), whose answer says nothing about the page: it is marked first, and then the file keeps it, as
 * kvm_gmem_error_folio wants it, where memory_failure expects it to be gone. So Linux 7.3 answers EBUSY. Whoever asks also gets SIGBUS with
 * BUS_MCEERR_AR, as if it had touched the page: that ends a process which has no handler for it; the addon has one.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { Mapping } from '../../../memory/mapping.ts';
import { GUEST_MEMFD_FLAG, MADV } from '../../../uapi/index.ts';
import type { Context } from '../../context.ts';
import type { Environment } from '../../needs.ts';
import { memoryFault, phases, turn } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE } from '../../two-sided.ts';

const { GUEST_MEMFD_FLAG_MMAP, GUEST_MEMFD_FLAG_INIT_SHARED } = GUEST_MEMFD_FLAG.value;
const { MADV_HWPOISON } = MADV.value;
const FLAGS = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;

const PORTS = '/sys/class/virtio-ports';

/** Marks one page, in this process. */
function poison(t: Context, host: Mapping, offset: number): void {
  const advised = host.raw.advise(MADV_HWPOISON, { offset, length: PAGE });
  if (!advised.ok) t.refused(advised, 'EBUSY', 'MADV_HWPOISON');
}

/** Whether `privmem vm` booted this kernel. */
function isTestKernel(): boolean {
  try {
    if (readFileSync('/proc/cmdline', 'utf8').includes('privmem.')) return true;
    return readdirSync(PORTS).some((port) => readFileSync(`${PORTS}/${port}/name`, 'utf8').startsWith('privmem.'));
  } catch {
    return false;
  }
}

/** Poisoning takes a page of the machine's memory out of use until the next boot: done to test machines only. */
function lacking({ sys }: Environment): string | undefined {
  if (!isTestKernel()) return 'takes memory out of use until the next boot: in test kernels only (privmem vm)';
  const page = Mapping.anonymous(sys, PAGE);
  // Of no bytes at all: only whether the advice is known.
  const known = page.raw.advise(MADV_HWPOISON, { length: 0 });
  page.close();
  return known.ok ? undefined : `needs CONFIG_MEMORY_FAILURE and CAP_SYS_ADMIN: MADV_HWPOISON is ${known.code}`;
}

export const memoryFaultPoison = topic(
  'memory_fault/poison',
  {
    promise: 'virt/kvm/guest_memfd.c: __kvm_gmem_get_pfn, kvm_gmem_error_folio; api.rst 5, KVM_EXIT_MEMORY_FAULT',
    needs: { guest: true, mmu: true, real: true, vmCaps: { KVM_CAP_GUEST_MEMFD_FLAGS: FLAGS }, also: lacking },
  },
  (scenario) => {
    scenario('poisoned_page_is_EHWPOISON_and_its_neighbours_are_well', async (t) => {
      const vm = t.vm();
      const file = t.guestMemfd(vm, 3 * PAGE, FLAGS);
      const host = t.map(file);
      host.fill(0x11);
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 3 * PAGE, guestMemfd: file, backing: host }));
      const guest = t.guest({ vm });
      poison(t, host, PAGE);
      const run = await guest.start((g) => {
        g.check(AREA, PAGE, 0x11);
        g.check(AREA + 2 * PAGE, PAGE, 0x11);
        g.store(AREA + PAGE + 8, 1);
      });
      t.same(run.events.filter((event) => event.kind === 'check' && event.passed).length, 2, 'checks that passed');
      memoryFault(run, { gpa: AREA + PAGE, private: false, code: 'EHWPOISON' });
      memoryFault(await guest.resume(), { gpa: AREA + PAGE, private: false, code: 'EHWPOISON' });
    });

    scenario('page_is_taken_from_a_guest_that_uses_it', async (t) => {
      const vm = t.vm();
      const file = t.guestMemfd(vm, 2 * PAGE, FLAGS);
      const host = t.map(file);
      // Not the file's own mapping: that one is zapped as well when the host loses the page, whatever guest_memfd does.
      const elsewhere = t.anonymous(2 * PAGE);
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: 2 * PAGE, guestMemfd: file, backing: elsewhere }));
      const guest = t.guest({ vm });
      const first = await guest.start((g) => {
        g.fill(AREA, 2 * PAGE, 0x21);
        turn(g);
        g.report(0, g.load(AREA + PAGE + 16));
      });
      t.same(first.last.name, 'KVM_EXIT_IO', 'the exit of the first part');
      poison(t, host, PAGE);
      memoryFault(await guest.resume(), { gpa: AREA + PAGE, private: false, code: 'EHWPOISON' });
    });

    scenario('hole_heals_it', async (t) => {
      const vm = t.vm();
      const file = t.guestMemfd(vm, PAGE, FLAGS);
      const host = t.map(file);
      host.fill(0x11);
      t.use(vm.addMemslot({ slot: 0, gpa: AREA, size: PAGE, guestMemfd: file, backing: host }));
      const guest = t.guest({ vm });
      poison(t, host, 0);
      memoryFault(await guest.start((g) => g.store(AREA, 1)), { gpa: AREA, private: false, code: 'EHWPOISON' });
      file.punchHole(0, PAGE);
      await phases(guest, (g) => g.check(AREA, PAGE, 0));
    });
  },
);
