/** KVM_CREATE_GUEST_MEMFD: arguments, the file that comes out. */
import { GUEST_MEMFD_FLAG, KVM_CREATE_GUEST_MEMFD, kvm_create_guest_memfd } from '../../../uapi/index.ts';
import { topic } from '../../scenario.ts';

const PAGE = 4096;

export const guestMemfdCreate = topic(
  'guest_memfd/create',
  {
    promise: 'virt/kvm/guest_memfd.c: kvm_gmem_create, Linux 6.8',
    needs: { vmType: 'default', vmCaps: { KVM_CAP_GUEST_MEMFD: 1 } },
  },
  (scenario) => {
    scenario('size_0_is_EINVAL', (t) => {
      t.refused(t.vm().raw.createGuestMemfd(0), 'EINVAL', 'a guest_memfd of 0 bytes');
    });

    scenario('size_below_a_page_is_EINVAL', (t) => {
      const vm = t.vm();
      for (const size of [1, 511, 2048, PAGE - 1]) {
        t.refused(vm.raw.createGuestMemfd(size), 'EINVAL', `a guest_memfd of ${size} bytes`);
      }
    });

    scenario('reserved_words_are_ignored', (t) => {
      const vm = t.vm();
      const arg = kvm_create_guest_memfd.encode({ size: PAGE });
      arg.fill(0xff, kvm_create_guest_memfd.offsets.reserved);
      const fd = t.accepted(vm.raw.ioctl(KVM_CREATE_GUEST_MEMFD, arg), 'reserved words set');
      t.sys.close(fd);
    });

    scenario('sizes_and_inodes_are_the_files_own', (t) => {
      const vm = t.vm();
      const [one, two] = [t.guestMemfd(vm, PAGE), t.guestMemfd(vm, 2 * PAGE)];
      t.same([one.size, two.size], [PAGE, 2 * PAGE], 'sizes of two files');
      t.holds(one.stat().ino !== two.stat().ino, 'two files have two inodes');
    });

    scenario(
      'pages_are_zero_at_first',
      {
        needs: { vmCaps: { KVM_CAP_GUEST_MEMFD_FLAGS: 3 } },
        promise: 'virt/kvm/guest_memfd.c: kvm_gmem_fault_user_mapping, Linux 6.18',
      },
      (t) => {
        const { GUEST_MEMFD_FLAG_MMAP, GUEST_MEMFD_FLAG_INIT_SHARED } = GUEST_MEMFD_FLAG.value;
        const file = t.guestMemfd(t.vm(), 4 * PAGE, GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED);
        t.filledWith(t.map(file).read(0, 4 * PAGE), 0, 'a fresh file');
      },
    );
  },
);
