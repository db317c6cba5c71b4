/** Bulk work on guest private memory: pages of a guest_memfd that come and go, and the memslots that bind it. */
import { type GuestMemfd, Kvm, openKernel, type Vm } from 'privmem';
import { FALLOC_FL, KVM_MEM, KVM_SET_USER_MEMORY_REGION2, kvm_userspace_memory_region2 as region2 } from 'privmem/uapi';
import { type Contestant, type Item, mustBe, timed } from '../item.ts';

const AIM = 1.05;
const SLOT = 5;
const SLOT_GPA = 0x10000000;
const SIZES: readonly (readonly [label: string, bytes: number])[] = [
  ['4KiB', 4096],
  ['2MiB', 2 * 1024 * 1024],
];

type Loop = (vm: Vm, file: GuestMemfd, size: number) => (ops: number) => void;

/** A contestant that gets a VM without vCPUs and a guest_memfd that the host may map. */
const onFile = (name: string, size: number, loop: Loop): Contestant => ({
  name,
  aim: AIM,
  open: () => {
    const kvm = Kvm.open(openKernel());
    try {
      const vm = kvm.createVm();
      const file = vm.createGuestMemfd(size, { mmap: true, initShared: true });
      return { batch: timed(loop(vm, file, size)), close: () => kvm.close() };
    } catch (error) {
      kvm.close();
      throw error;
    }
  },
});

const allocateByAddon: Loop = ({ sys: { kernel } }, { fd }, size) => {
  const { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } = FALLOC_FL.value;
  const punch = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
  return (ops) => {
    let sum = 0;
    for (let i = 0; i < ops; i++) {
      sum += kernel.fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size);
      sum += kernel.fallocate(fd, punch, 0, size);
    }
    mustBe(sum, 0, 'fallocate');
  };
};

const allocate: Loop = (_vm, file, size) => (ops) => {
  for (let i = 0; i < ops; i++) {
    file.allocate(0, size);
    file.punchHole(0, size);
  }
};

const slotByAddon: Loop = ({ sys: { kernel }, fd: vm }, { fd }, size) => {
  const flags = KVM_MEM.value.KVM_MEM_GUEST_MEMFD;
  const region = { slot: SLOT, flags, guest_phys_addr: SLOT_GPA, memory_size: size, guest_memfd: fd };
  const made = region2.encode(region);
  const gone = region2.encode({ slot: SLOT });
  const { request } = KVM_SET_USER_MEMORY_REGION2;
  return (ops) => {
    let sum = 0;
    for (let i = 0; i < ops; i++) {
      sum += kernel.ioctl(vm, request, made);
      sum += kernel.ioctl(vm, request, gone);
    }
    mustBe(sum, 0, 'KVM_SET_USER_MEMORY_REGION2');
  };
};

const slot: Loop = (vm, guestMemfd, size) => (ops) => {
  for (let i = 0; i < ops; i++) vm.addMemslot({ slot: SLOT, gpa: SLOT_GPA, size, guestMemfd }).close();
};

export const guestMemfdItems = (): Item[] => [
  ...SIZES.map(
    ([label, size]): Item => ({
      id: `allocate-${label}`,
      title: `allocate and punch ${label} of a guest_memfd`,
      reference: ['allocate', size],
      contestants: [onFile('addon', size, allocateByAddon), onFile('GuestMemfd.allocate, punchHole', size, allocate)],
    }),
  ),
  ...SIZES.map(
    ([label, size]): Item => ({
      id: `memslot-${label}`,
      title: `create and delete a memslot of ${label}`,
      reference: ['memslot', size],
      contestants: [onFile('addon', size, slotByAddon), onFile('Vm.addMemslot, close', size, slot)],
    }),
  ),
];
