/** Lifetimes around private memory: files, slots, vCPUs and VMs that go in any order, and what is left of them. */
import { F, FALLOC_FL, KVM_SET_MEMORY_ATTRIBUTES, kvm_memory_attributes } from '../../../uapi/index.ts';
import type { Context } from '../../context.ts';
import { memoryFault, phases } from '../../phases.ts';
import { topic } from '../../scenario.ts';
import { AREA, PAGE, PRIVATE_GUEST, twoSided } from '../../two-sided.ts';

const SIZE = 8 * PAGE;
const { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } = FALLOC_FL.value;

/** A VM of whose private memory all pages are in use. */
async function filled(t: Context) {
  const vm = t.vm();
  const memory = twoSided(t, vm, { size: SIZE });
  vm.setPrivate(AREA, SIZE);
  const guest = t.guest({ vm });
  await phases(guest, (g) => g.fill(AREA, SIZE, 0x21));
  return { vm, guest, ...memory };
}

const dup = (t: Context, fd: number): number => t.sys.fcntl(fd, F.value.F_DUPFD_CLOEXEC);

type Filled = Awaited<ReturnType<typeof filled>>;
type Part = 'file' | 'slot' | 'vCPU';
const ENDS: Readonly<Record<Part, (all: Filled) => void>> = {
  file: ({ file }) => file.close(),
  slot: ({ slot }) => slot.delete(),
  vCPU: ({ guest }) => guest.vcpu().close(),
};
const ORDERS: readonly (readonly Part[])[] = [
  ['file', 'slot', 'vCPU'],
  ['slot', 'file', 'vCPU'],
  ['vCPU', 'file', 'slot'],
  ['vCPU', 'slot', 'file'],
];

export const lifetimePrivateMemory = topic(
  'lifetime/private_memory',
  {
    promise: 'virt/kvm/guest_memfd.c: __kvm_gmem_create, kvm_gmem_release, kvm_gmem_unbind, Linux 6.8',
    needs: PRIVATE_GUEST,
  },
  (scenario) => {
    for (const order of ORDERS) {
      scenario(`VM_goes_on_after_${order.join('_then_')}`, async (t) => {
        const all = await filled(t);
        const { vm, guest } = all;
        for (const part of order) ENDS[part](all);
        memoryFault(await guest.start((g) => g.store(AREA + PAGE, 1), 1), { gpa: AREA + PAGE, private: true });
        twoSided(t, vm, { slot: 9, size: SIZE });
        await guest.run((g) => {
          g.check(AREA, SIZE, 0);
          g.fill(AREA, SIZE, 0x22);
          g.check(AREA, SIZE, 0x22);
        }, 2);
      });
    }

    scenario('file_outlives_its_VM', async (t) => {
      const { vm, file, guest } = await filled(t);
      const fd = dup(t, file.fd);
      guest.close();
      vm.close();
      t.same(t.sys.fstat(fd).size, BigInt(SIZE), 'size');
      t.same(t.sys.cachestat(fd, 0, 0).cache, 8, 'pages of the file');
      const { raw } = t.sys;
      t.accepted(raw.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 3 * PAGE), 'a hole');
      t.same(t.sys.cachestat(fd, 0, 0).cache, 5, 'pages after the hole');
      t.accepted(raw.fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, SIZE), 'an allocation');
      t.same(t.sys.cachestat(fd, 0, 0).cache, 8, 'pages after the allocation');
      t.accepted(raw.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE), 'a hole of all');
      t.same(t.sys.cachestat(fd, 0, 0).cache, 0, 'pages in the end');
      t.sys.close(fd);
    });

    scenario('file_of_a_VM_that_is_gone_fits_no_other_VM', async (t) => {
      const { vm, file, guest } = await filled(t);
      const fd = dup(t, file.fd);
      guest.close();
      vm.close();
      const other = t.vm();
      const own = other.createGuestMemfd(SIZE);
      const region = { slot: 0, flags: 4, guest_phys_addr: AREA, memory_size: SIZE };
      t.refused(other.raw.setUserMemoryRegion2({ ...region, guest_memfd: fd }), 'EINVAL', 'the file of another VM');
      t.accepted(other.raw.setUserMemoryRegion2({ ...region, guest_memfd: own.fd }), 'a file of its own');
      t.sys.close(fd);
    });

    scenario('same_addresses_of_two_VMs_are_two_memories', async (t) => {
      const [one, two] = [await filled(t), await filled(t)];
      await phases(one.guest, (g) => g.fill(AREA, SIZE, 0x31));
      await phases(two.guest, (g) => {
        g.check(AREA, SIZE, 0x21);
        g.fill(AREA, SIZE, 0x32);
      });
      one.file.punchHole(0, PAGE);
      one.vm.setShared(AREA + PAGE, PAGE);
      await phases(one.guest, (g) => {
        g.check(AREA, 2 * PAGE, 0);
        g.check(AREA + 2 * PAGE, SIZE - 2 * PAGE, 0x31);
      });
      await phases(two.guest, (g) => g.check(AREA, SIZE, 0x32));
    });

    scenario('VM_that_ends_leaves_the_other_alone', async (t) => {
      const [one, two] = [await filled(t), await filled(t)];
      one.guest.close();
      one.vm.close();
      await phases(two.guest, (g) => {
        g.check(AREA, SIZE, 0x21);
        g.fill(AREA, SIZE, 0x22);
        g.check(AREA, SIZE, 0x22);
      });
      t.same(two.file.residency().cache, 8, 'pages of the file of the other VM');
    });

    scenario('many_VMs_one_after_the_other', async (t) => {
      for (let round = 0; round < 12; round++) {
        const { vm, guest, file } = await filled(t);
        t.same(file.residency().cache, 8, `pages in VM ${round + 1}`);
        guest.close();
        vm.close();
      }
    });

    scenario('many_files_in_one_VM', async (t) => {
      const vm = t.vm();
      const count = 24;
      vm.setPrivate(AREA, count * PAGE);
      const parts = Array.from({ length: count }, (_, i) =>
        twoSided(t, vm, { slot: i, gpa: AREA + i * PAGE, size: PAGE }),
      );
      const guest = t.guest({ vm });
      await phases(guest, (g) => {
        for (let i = 0; i < count; i++) g.fill(AREA + i * PAGE, PAGE, i + 1);
        for (let i = 0; i < count; i++) g.check(AREA + i * PAGE, PAGE, i + 1);
      });
      for (const [i, { file }] of parts.entries()) if (i % 2 === 0) file.close();
      await phases(guest, (g) => {
        for (let i = 1; i < count; i += 2) g.check(AREA + i * PAGE, PAGE, i + 1);
      });
      memoryFault(await guest.start((g) => void g.load(AREA + 4 * PAGE)), { gpa: AREA + 4 * PAGE, private: true });
    });

    scenario('VM_by_another_descriptor_is_the_same_VM', async (t) => {
      const { vm, guest } = await filled(t);
      const fd = dup(t, vm.fd);
      const request = { address: AREA, size: PAGE, attributes: 0, flags: 0 };
      t.accepted(
        t.sys.raw.ioctl(fd, KVM_SET_MEMORY_ATTRIBUTES, kvm_memory_attributes.encode(request)),
        'through the other descriptor',
      );
      t.sys.close(fd);
      await phases(guest, (g) => {
        g.check(AREA, PAGE, 0);
        g.check(AREA + PAGE, SIZE - PAGE, 0x21);
      });
    });
  },
);
