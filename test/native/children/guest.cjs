'use strict';
// The smallest guests: a few bytes of real-mode code in a memfd. Plain JavaScript, because child processes and workers use it too.
const os = require('node:os');

const E = os.constants.errno;
const PAGE = 4096;
const MEMORY = 16 * PAGE;
const ENTRY = 0x1000;

const PROT = { NONE: 0, READ: 1, RW: 3 };
const MAP = { SHARED: 1, PRIVATE: 2, FIXED: 0x10, ANONYMOUS: 0x20, NORESERVE: 0x4000, FIXED_NOREPLACE: 0x100000 };
const O = { RDONLY: 0, RDWR: 2, CLOEXEC: 0o2000000 };
const FCNTL = {
  DUPFD: 0,
  GETFD: 1,
  SETFD: 2,
  GETFL: 3,
  SETFL: 4,
  DUPFD_CLOEXEC: 1030,
  ADD_SEALS: 1033,
  GET_SEALS: 1034,
};
const KVM = {
  GET_API_VERSION: 0xae00,
  CREATE_VM: 0xae01,
  CHECK_EXTENSION: 0xae03,
  GET_VCPU_MMAP_SIZE: 0xae04,
  CREATE_VCPU: 0xae41,
  GET_DIRTY_LOG: 0x4010ae42,
  SET_USER_MEMORY_REGION: 0x4020ae46,
  RUN: 0xae80,
  GET_REGS: 0x8090ae81,
  SET_REGS: 0x4090ae82,
  GET_SREGS: 0x8138ae83,
  SET_SREGS: 0x4138ae84,
  GET_MSRS: 0xc008ae88,
  CREATE_GUEST_MEMFD: 0xc040aed4,
};
const CAP_GUEST_MEMFD = 234;
const EXIT = { IO: 2, HLT: 5, MMIO: 6 };
const CODE = {
  // mov al,5; out 0x10,al; jmp back
  out: [0xb0, 0x05, 0xe6, 0x10, 0xeb, 0xfa],
  // jmp self
  spin: [0xeb, 0xfe],
  // mov byte [0x3000],1; hlt; jmp back
  dirty: [0xc6, 0x06, 0x00, 0x30, 0x01, 0xf4, 0xeb, 0xf8],
};

/** The result of a call that must succeed. */
function ok(result, what) {
  if (typeof result === 'number' && result < 0) throw new Error(`${what} failed with errno ${-result}`);
  return result;
}

/** Why guests cannot run here, or undefined when they can. */
function kvmMissing(kernel) {
  if (process.arch !== 'x64') return `the guest code of these tests is for x64, this is ${process.arch}`;
  const fd = kernel.open('/dev/kvm', O.RDWR, 0);
  if (fd < 0) return `/dev/kvm cannot be opened, errno ${-fd}`;
  kernel.close(fd);
  return undefined;
}

function openVm(kernel) {
  const kvm = ok(kernel.open('/dev/kvm', O.RDWR, 0), 'open');
  const vm = ok(kernel.ioctl(kvm, KVM.CREATE_VM, 0, 1), 'KVM_CREATE_VM');
  return { kvm, vm };
}

/** Why there is no guest_memfd here, or undefined when there is. */
function guestMemfdMissing(kernel) {
  const missing = kvmMissing(kernel);
  if (missing) return missing;
  const { kvm, vm } = openVm(kernel);
  const has = kernel.ioctl(vm, KVM.CHECK_EXTENSION, CAP_GUEST_MEMFD);
  const mmap = kernel.ioctl(vm, KVM.CHECK_EXTENSION, 244);
  kernel.close(vm);
  kernel.close(kvm);
  if (has !== 1) return 'this kernel has no guest_memfd';
  return mmap > 0 ? undefined : 'guest_memfd cannot be mapped on this kernel';
}

/** Flags of guest_memfd: 1 lets it be mapped, 2 makes its pages shared at first. */
function guestMemfd(kernel, vm, size, flags) {
  const arg = new Uint8Array(64);
  const at = new DataView(arg.buffer);
  at.setBigUint64(0, BigInt(size), true);
  at.setBigUint64(8, BigInt(flags), true);
  return kernel.ioctl(vm, KVM.CREATE_GUEST_MEMFD, arg, 1);
}

function addVcpu(kernel, kvm, vm, id) {
  const fd = ok(kernel.ioctl(vm, KVM.CREATE_VCPU, id, 1), 'KVM_CREATE_VCPU');
  const runSize = ok(kernel.ioctl(kvm, KVM.GET_VCPU_MMAP_SIZE, 0), 'KVM_GET_VCPU_MMAP_SIZE');
  const runPage = ok(kernel.mmap(0, runSize, PROT.RW, MAP.SHARED, fd, 0), 'mmap');
  const sregs = new Uint8Array(312);
  ok(kernel.ioctl(fd, KVM.GET_SREGS, sregs), 'KVM_GET_SREGS');
  sregs.fill(0, 0, 8); // cs.base
  sregs.fill(0, 12, 14); // cs.selector
  ok(kernel.ioctl(fd, KVM.SET_SREGS, sregs), 'KVM_SET_SREGS');
  const regs = new Uint8Array(144);
  const at = new DataView(regs.buffer);
  at.setBigUint64(128, BigInt(ENTRY), true); // rip
  at.setBigUint64(136, 2n, true); // rflags
  ok(kernel.ioctl(fd, KVM.SET_REGS, regs), 'KVM_SET_REGS');
  const handle = ok(kernel.vcpuAttach(fd, runPage), 'vcpuAttach');
  return { fd, runSize, runPage, handle };
}

/** A VM with 64 KiB of memory at 0, the code at 0x1000, and one vCPU, attached. */
function openGuest(kernel, code, slotFlags = 0) {
  const { kvm, vm } = openVm(kernel);
  const file = ok(kernel.memfdCreate('guest', 0), 'memfd_create');
  ok(kernel.ftruncate(file, MEMORY), 'ftruncate');
  const hva = ok(kernel.mmap(0, MEMORY, PROT.RW, MAP.SHARED, file, 0), 'mmap');
  kernel.copyIn(hva + ENTRY, Uint8Array.from(code));
  const region = new Uint8Array(32);
  const at = new DataView(region.buffer);
  at.setUint32(4, slotFlags, true);
  at.setBigUint64(16, BigInt(MEMORY), true);
  at.setBigUint64(24, BigInt(hva), true);
  ok(kernel.ioctl(vm, KVM.SET_USER_MEMORY_REGION, region), 'KVM_SET_USER_MEMORY_REGION');
  const vcpu = addVcpu(kernel, kvm, vm, 0);
  return { kvm, vm, file, hva, ...vcpu };
}

function exitReason(kernel, guest) {
  const bytes = new Uint8Array(12);
  kernel.copyOut(guest.runPage, bytes);
  return new DataView(bytes.buffer).getUint32(8, true);
}

function closeGuest(kernel, guest) {
  kernel.vcpuDetach(guest.handle);
  ok(kernel.munmap(guest.runPage, guest.runSize), 'munmap');
  ok(kernel.munmap(guest.hva, MEMORY), 'munmap');
  for (const fd of [guest.fd, guest.file, guest.vm, guest.kvm]) ok(kernel.close(fd), 'close');
}

module.exports = {
  E,
  PAGE,
  MEMORY,
  ENTRY,
  PROT,
  MAP,
  O,
  FCNTL,
  KVM,
  EXIT,
  CODE,
  ok,
  kvmMissing,
  guestMemfdMissing,
  openVm,
  guestMemfd,
  addVcpu,
  openGuest,
  exitReason,
  closeGuest,
};
