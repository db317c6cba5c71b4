/** KVM_CREATE_GUEST_MEMFD: arguments, the file that comes out. */
import { FD, KVM_CAP, KVM_CREATE_GUEST_MEMFD, kvm_create_guest_memfd, PROT } from '../../../uapi/index.ts';
import { F, O } from '../../../uapi/mman.ts';
import {
  CACHESTAT,
  forKinds,
  INIT_SHARED,
  MMAP,
  PAGE,
  PLAIN,
  PROTECTED,
  PROTECTED_MAPPABLE,
  SHARED,
} from '../../file-kinds.ts';
import { topic } from '../../scenario.ts';

const BITS = Array.from({ length: 64 }, (_, i) => 1n << BigInt(i));
const MAX_SIZE = (1n << 63n) - BigInt(PAGE);

const CACHED = { needs: CACHESTAT };

export const guestMemfdCreate = topic(
  'guest_memfd/create',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_create, Linux 6.8', needs: PLAIN.needs },
  (scenario) => {
    const ofBothVms = forKinds(scenario, [PLAIN, PROTECTED]);

    ofBothVms('size_0_is_EINVAL', (t) => {
      const vm = t.vm();
      t.refused(vm.raw.createGuestMemfd(0), 'EINVAL', 'a guest_memfd of 0 bytes');
      t.guestMemfd(vm, PAGE);
    });

    ofBothVms('size_that_is_no_multiple_of_a_page_is_EINVAL', (t) => {
      const vm = t.vm();
      const sizes = Array.from({ length: 12 }, (_, i) => 1 << i).flatMap((size) => [size, PAGE - size, PAGE + size]);
      for (const size of [...sizes, 3 * PAGE + 512, PAGE * 1000 + 1 + t.random.below(PAGE - 1)])
        t.refused(vm.raw.createGuestMemfd(size), 'EINVAL', `a guest_memfd of ${size} bytes`);
    });

    ofBothVms('negative_size_is_EINVAL', (t) => {
      const vm = t.vm();
      for (const size of [1n << 63n, (1n << 63n) + BigInt(PAGE), (1n << 64n) - BigInt(PAGE)])
        t.refused(vm.raw.createGuestMemfd(size), 'EINVAL', `a guest_memfd of 0x${size.toString(16)} bytes`);
    });

    scenario('largest_size_is_accepted', (t) => {
      const file = t.use(t.accepted(t.vm().raw.createGuestMemfd(MAX_SIZE), 'a guest_memfd of 2^63 - 4096 bytes'));
      t.same(file.stat().size, MAX_SIZE, 'its size');
    });

    ofBothVms(
      'each_flag_is_taken_as_its_capability_says',
      (t) => {
        const vm = t.vm();
        const offered = BigInt(vm.checkExtension(KVM_CAP.value.KVM_CAP_GUEST_MEMFD_FLAGS));
        for (const bit of BITS) {
          const what = `flags 0x${bit.toString(16)}, offered 0x${offered.toString(16)}`;
          const made = vm.raw.createGuestMemfd(PAGE, bit);
          if ((offered & bit) === 0n) t.refused(made, 'EINVAL', what);
          else t.accepted(made, what).close();
        }
      },
      { promise: 'Documentation/virt/kvm/api.rst: KVM_CAP_GUEST_MEMFD_FLAGS, Linux 6.18' },
    );

    forKinds(scenario, [SHARED])('both_flags_may_be_set_and_no_third', (t) => {
      const vm = t.vm();
      for (const flags of [0, MMAP, INIT_SHARED, MMAP | INIT_SHARED]) t.guestMemfd(vm, PAGE, flags);
      for (const flags of [4 | MMAP, 4 | MMAP | INIT_SHARED, (1n << 63n) | BigInt(MMAP)])
        t.refused(vm.raw.createGuestMemfd(PAGE, flags), 'EINVAL', `flags 0x${flags.toString(16)}`);
    });

    forKinds(scenario, [PROTECTED_MAPPABLE])(
      'INIT_SHARED_is_EINVAL_where_memory_is_private',
      (t) => {
        const vm = t.vm();
        for (const flags of [INIT_SHARED, MMAP | INIT_SHARED])
          t.refused(vm.raw.createGuestMemfd(PAGE, flags), 'EINVAL', `flags ${flags}`);
        t.guestMemfd(vm, PAGE, MMAP);
      },
      { promise: 'arch/x86/kvm/x86.c: kvm_arch_supports_gmem_init_shared, Linux 6.18' },
    );

    scenario('reserved_words_are_ignored', (t) => {
      const vm = t.vm();
      const arg = kvm_create_guest_memfd.encode({ size: PAGE });
      arg.fill(0xff, kvm_create_guest_memfd.offsets.reserved);
      const fd = t.accepted(vm.raw.ioctl(KVM_CREATE_GUEST_MEMFD, arg), 'reserved words set');
      t.sys.close(fd);
    });

    scenario('request_is_not_written_to', (t) => {
      const vm = t.vm();
      const arg = kvm_create_guest_memfd.encode({ size: 3 * PAGE });
      arg.fill(0x5a, kvm_create_guest_memfd.offsets.reserved);
      const before = arg.slice();
      t.sys.close(t.accepted(vm.raw.ioctl(KVM_CREATE_GUEST_MEMFD, arg), 'a file'));
      t.same(arg, before, 'the request after the call');
    });

    scenario('unreadable_request_is_EFAULT', { promise: 'virt/kvm/kvm_main.c: kvm_vm_ioctl, Linux 6.8' }, (t) => {
      const vm = t.vm();
      const place = t.anonymous(2 * PAGE);
      const arg = kvm_create_guest_memfd.encode({ size: PAGE });
      const at = PAGE - arg.length;
      place.write(at, arg);
      place.protect(PROT.value.PROT_NONE, { offset: PAGE });
      t.refused(vm.raw.ioctl(KVM_CREATE_GUEST_MEMFD, place.hva + PAGE), 'EFAULT', 'a request without access');
      t.refused(vm.raw.ioctl(KVM_CREATE_GUEST_MEMFD, place.hva + at + 1), 'EFAULT', 'a request cut off by a byte');
      t.refused(vm.raw.ioctl(KVM_CREATE_GUEST_MEMFD, 0), 'EFAULT', 'a request at NULL');
      t.sys.close(t.accepted(vm.raw.ioctl(KVM_CREATE_GUEST_MEMFD, place.hva + at), 'the same within its page'));
    });

    ofBothVms('sizes_and_inodes_are_the_files_own', (t) => {
      const vm = t.vm();
      const [one, two] = [t.guestMemfd(vm, PAGE), t.guestMemfd(vm, 2 * PAGE)];
      t.same([one.size, two.size], [PAGE, 2 * PAGE], 'sizes of two files');
      t.holds(one.stat().ino !== two.stat().ino, 'two files have two inodes');
    });

    scenario('many_files_of_one_vm', CACHED, (t) => {
      const vm = t.vm();
      const files = Array.from({ length: 100 }, (_, i) => t.guestMemfd(vm, (i + 1) * PAGE));
      files.forEach((file, i) => {
        if (i % 3 === 0) file.allocate(i * PAGE, PAGE);
      });
      files.forEach((file, i) => {
        t.same(
          [file.size, file.residency().cache],
          [(i + 1) * PAGE, i % 3 === 0 ? 1 : 0],
          `size and pages of file ${i}`,
        );
      });
    });

    scenario(
      'descriptor_is_read_write_and_not_close_on_exec',
      { promise: 'virt/kvm/guest_memfd.c: __kvm_gmem_create, Linux 6.8' },
      (t) => {
        const vm = t.vm();
        const arg = kvm_create_guest_memfd.encode({ size: PAGE });
        // Not through the owner: that one sets FD_CLOEXEC.
        const fd = t.sys.kernel.ioctl(vm.fd, KVM_CREATE_GUEST_MEMFD.request, arg);
        t.holds(fd >= 0, 'a file is made', `errno ${-fd}`);
        const flags = t.sys.raw.fcntl(fd, F.value.F_GETFD);
        const status = t.sys.raw.fcntl(fd, F.value.F_GETFL);
        t.sys.adopt(fd);
        t.sys.close(fd);
        t.same(t.accepted(flags, 'F_GETFD') & FD.value.FD_CLOEXEC, 0, 'FD_CLOEXEC');
        t.same(t.accepted(status, 'F_GETFL'), O.value.O_RDWR | O.value.O_LARGEFILE, 'file status flags');
      },
    );

    forKinds(scenario, [SHARED])(
      'pages_are_zero_at_first',
      (t) => {
        const file = t.guestMemfd(t.vm(), 16 * PAGE, MMAP | INIT_SHARED);
        t.filledWith(t.map(file).read(0, 16 * PAGE), 0, 'a fresh file');
      },
      { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_fault_user_mapping, Linux 6.18' },
    );

    forKinds(scenario, [SHARED])(
      'memory_of_two_files_is_apart',
      (t) => {
        const vm = t.vm();
        const maps = [1, 2, 3].map((byte) => {
          const map = t.map(t.guestMemfd(vm, 4 * PAGE, MMAP | INIT_SHARED));
          map.fill(byte);
          return map;
        });
        maps.forEach((map, i) => {
          t.filledWith(map.read(0, 4 * PAGE), i + 1, `file ${i}`);
        });
      },
      { promise: 'virt/kvm/guest_memfd.c: __kvm_gmem_create, Linux 6.18' },
    );
  },
);
