/** Carries out commands of a differential run of KVM and says what came of them in words that do not depend on a kernel's own numbers. */

import { CACHESTAT_LENGTH, FAULT, FAULT_LENGTH, STAT, STAT_LENGTH } from '../../lib/kernel/kernel.ts';
import {
  KVM_CLEAR_DIRTY_LOG,
  KVM_CREATE_GUEST_MEMFD,
  KVM_CREATE_VCPU,
  KVM_ENABLE_CAP,
  KVM_GET_DIRTY_LOG,
  KVM_PRE_FAULT_MEMORY,
  KVM_SET_MEMORY_ATTRIBUTES,
  KVM_SET_MP_STATE,
  KVM_SET_USER_MEMORY_REGION,
  KVM_SET_USER_MEMORY_REGION2,
  kvm_clear_dirty_log,
  kvm_create_guest_memfd,
  kvm_dirty_log,
  kvm_enable_cap,
  kvm_memory_attributes,
  kvm_mp_state,
  kvm_pre_fault_memory,
  kvm_userspace_memory_region,
  kvm_userspace_memory_region2,
} from '../../lib/uapi/index.ts';
import type { KvmCommand } from './kvm-commands.ts';
import { enquire } from './kvm-enquire.ts';
import { runGuest } from './kvm-guest.ts';
import { BACKING_PAGES, type KvmWorld, PAGE } from './kvm-world.ts';
import { digest, errnoOrValue, type Outcome } from './outcome.ts';

const MAKES_FD = 1;
const SLOT_PAGES = 64;
const MAP_FIXED = 0x10;
const MAP_SHARED = 1;
const MAP_ANONYMOUS = 0x20;
const MADV_DONTNEED = 4;
const F_DUPFD_CLOEXEC = 1030;
/** KEEP_SIZE, with PUNCH_HOLE. */
const ALLOCATE = 1;
const PUNCH = 3;

function region(world: KvmWorld, c: KvmCommand & { do: 'region' }): Outcome {
  const fields = {
    slot: c.slot,
    flags: c.flags,
    guest_phys_addr: c.gpa,
    memory_size: c.size,
    userspace_addr: BigInt.asUintN(64, c.absolute ? c.hva : BigInt(world.backing) + c.hva),
  };
  const vm = world.fd('vm', c.vm);
  if (!c.v2) {
    const bytes = kvm_userspace_memory_region.encode(fields);
    return errnoOrValue(world.kernel.ioctl(vm, KVM_SET_USER_MEMORY_REGION.request, bytes));
  }
  const file =
    c.file === 'vm'
      ? vm
      : c.file === -1
        ? -1
        : typeof c.file === 'number'
          ? world.fd('gmem', c.file)
          : world.fd(c.file, 0);
  const bytes = kvm_userspace_memory_region2.encode({ ...fields, guest_memfd: file, guest_memfd_offset: c.offset });
  return errnoOrValue(world.kernel.ioctl(vm, KVM_SET_USER_MEMORY_REGION2.request, bytes));
}

function hostMap({ kernel, backing }: KvmWorld, fd: number, page: number, pages: number): Outcome {
  const flags = MAP_SHARED | MAP_FIXED | (fd < 0 ? MAP_ANONYMOUS : 0);
  const at = backing + page * PAGE;
  const result = kernel.mmap(at, pages * PAGE, 3, flags, fd, fd < 0 ? 0 : page * PAGE);
  return errnoOrValue(result, 'mapped');
}

const F_GETFL = 3;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;

function fileCall(world: KvmWorld, { on, index, call, value }: KvmCommand & { do: 'call' }): Outcome {
  const { kernel } = world;
  const fd = world.fd(on, index);
  const bytes = new Uint8Array(8);
  switch (call) {
    case 'read':
    case 'write':
      return errnoOrValue(kernel[call](fd, bytes));
    case 'pread':
    case 'pwrite':
      return errnoOrValue(kernel[call](fd, bytes, value));
    case 'lseek': {
      const out = new BigInt64Array(1);
      return `${errnoOrValue(kernel.lseek(fd, value, value % 6, out))} ${out[0]}`;
    }
    case 'ftruncate':
      return errnoOrValue(kernel.ftruncate(fd, value));
    case 'fallocate':
      return errnoOrValue(kernel.fallocate(fd, value % 4, 0, PAGE));
    case 'flags':
      return errnoOrValue(kernel.fcntl(fd, F_GETFL, 0));
    case 'seals':
      return errnoOrValue(kernel.fcntl(fd, F_GET_SEALS, 0));
    case 'addSeals':
      return errnoOrValue(kernel.fcntl(fd, F_ADD_SEALS, 1));
    case 'cachestat': {
      const out = new BigUint64Array(CACHESTAT_LENGTH);
      return `${errnoOrValue(kernel.cachestat(fd, 0, 0, out))} ${out[0]}`;
    }
    case 'stat': {
      const out = new BigInt64Array(STAT_LENGTH);
      const result = kernel.fstat(fd, out);
      // Whose the node of /dev/kvm is differs from host to host.
      const mode = on === 'kvm' ? 0n : out[STAT.mode];
      return `${errnoOrValue(result)} ${mode} ${out[STAT.size]} ${out[STAT.blocks]} ${out[STAT.fsType]}`;
    }
    case 'mmap': {
      const result = kernel.mmap(0, PAGE, value % 8, 1 + (value % 2), fd, (value % 5) * PAGE);
      if (result < 0) return errnoOrValue(result);
      const fault = new BigInt64Array(FAULT_LENGTH);
      const done = kernel.copyOut(result, bytes, fault);
      kernel.munmap(result, PAGE);
      return `${done} signal ${fault[FAULT.signal]} code ${fault[FAULT.code]}`;
    }
  }
}

export function carryOut(world: KvmWorld, c: KvmCommand): Outcome {
  try {
    return perform(world, c);
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) return error.constructor.name;
    throw error;
  }
}

function perform(world: KvmWorld, c: KvmCommand): Outcome {
  const { kernel } = world;
  const place = (page: number): number => world.backing + page * PAGE;
  switch (c.do) {
    case 'region':
      return region(world, c);
    case 'gmem': {
      const bytes = kvm_create_guest_memfd.encode({ size: c.size, flags: c.flags });
      const fd = kernel.ioctl(world.fd('vm', c.vm), KVM_CREATE_GUEST_MEMFD.request, bytes, MAKES_FD);
      if (fd >= 0) world.keepFile(c.file, fd);
      return errnoOrValue(fd, 'fd');
    }
    case 'closeFile':
      return errnoOrValue(world.closeFile(c.file));
    case 'dupFile': {
      const fd = kernel.fcntl(world.fd('gmem', c.file), F_DUPFD_CLOEXEC, 0);
      if (fd >= 0) world.keepFile(c.to, fd);
      return errnoOrValue(fd, 'fd');
    }
    case 'fallocate':
      return errnoOrValue(kernel.fallocate(world.fd('gmem', c.file), c.punch ? PUNCH : ALLOCATE, c.offset, c.length));
    case 'attributes': {
      const { address, size, attributes, flags } = c;
      const bytes = kvm_memory_attributes.encode({ address, size, attributes, flags });
      return errnoOrValue(kernel.ioctl(world.fd('vm', c.vm), KVM_SET_MEMORY_ATTRIBUTES.request, bytes));
    }
    case 'preFault': {
      const bytes = kvm_pre_fault_memory.encode({ gpa: c.gpa, size: c.size, flags: c.flags });
      const result = kernel.ioctl(world.vcpu, KVM_PRE_FAULT_MEMORY.request, bytes);
      const { gpa, size } = kvm_pre_fault_memory.decode(bytes);
      return `${errnoOrValue(result)}, left ${gpa} ${size}`;
    }
    case 'ioctl': {
      const result = kernel.ioctl(world.fd(c.on, c.index), c.request, c.arg);
      return errnoOrValue(result);
    }
    case 'struct': {
      const bytes = new Uint8Array((c.request >>> 16) & 0x3fff);
      return `${errnoOrValue(kernel.ioctl(world.fd(c.on, c.index), c.request, bytes))}`;
    }
    case 'address':
      return errnoOrValue(kernel.ioctl(world.fd(c.on, c.index), c.request, world.backing + c.at));
    case 'list':
    case 'deviceAttr':
      return enquire(world, c);
    case 'call':
      return fileCall(world, c);
    case 'enableCap': {
      const bytes = kvm_enable_cap.encode({ cap: c.cap, flags: c.flags, args: [c.arg] });
      return errnoOrValue(kernel.ioctl(world.fd('vm', c.vm), KVM_ENABLE_CAP.request, bytes));
    }
    case 'createVcpu': {
      const fd = kernel.ioctl(world.fd('vm', c.vm), KVM_CREATE_VCPU.request, c.id, MAKES_FD);
      if (fd >= 0) world.keepOther(fd);
      return errnoOrValue(fd, 'fd');
    }
    case 'closeVm': {
      const fd = world.vms[c.vm];
      world.vms[c.vm] = undefined;
      return fd === undefined ? '-' : errnoOrValue(kernel.close(fd));
    }
    case 'dirtyLog': {
      const bitmap = new Uint8Array(SLOT_PAGES / 8);
      const bytes = kvm_dirty_log.encode({ slot: c.slot });
      const pointers = [[kvm_dirty_log.offsets.dirty_bitmap, bitmap]] as const;
      const result = kernel.ioctl(world.fd('vm', c.vm), KVM_GET_DIRTY_LOG.request, bytes, 0, pointers);
      return `${errnoOrValue(result)} ${bitmap.join(' ')}`;
    }
    case 'clearLog': {
      const bitmap = new Uint8Array(SLOT_PAGES / 8);
      new DataView(bitmap.buffer).setBigUint64(0, c.bits, true);
      const bytes = kvm_clear_dirty_log.encode({ slot: c.slot, num_pages: c.pages, first_page: c.first });
      const pointers = [[kvm_clear_dirty_log.offsets.dirty_bitmap, bitmap]] as const;
      return errnoOrValue(kernel.ioctl(world.fd('vm', c.vm), KVM_CLEAR_DIRTY_LOG.request, bytes, 0, pointers));
    }
    case 'mpState': {
      const bytes = kvm_mp_state.encode();
      new DataView(bytes.buffer).setUint32(0, c.state, true);
      return errnoOrValue(kernel.ioctl(world.vcpu, KVM_SET_MP_STATE.request, bytes));
    }
    case 'hostFill':
      return errnoOrValue(kernel.fill(place(c.page), c.pages * PAGE, c.byte));
    case 'hostProtect':
      return errnoOrValue(kernel.mprotect(place(c.page), c.pages * PAGE, c.prot));
    case 'hostUnmap': {
      // The place stays ours: nobody else's mapping must come to lie there.
      const at = place(c.page);
      return errnoOrValue(kernel.mmap(at, c.pages * PAGE, 0, MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS, -1, 0), 'mapped');
    }
    case 'hostMap': {
      const fd = c.file === -1 ? -1 : c.file === 'memfd' ? world.memfd : world.fd('gmem', c.file);
      return hostMap(world, fd, c.page, c.pages);
    }
    case 'hostDrop':
      return errnoOrValue(kernel.madvise(place(c.page), c.pages * PAGE, MADV_DONTNEED));
    case 'guest':
      return runGuest(world, c);
  }
}

/** What the host sees of the memory: by page, since some of it cannot be reached. */
export function observe({ kernel, backing, run }: KvmWorld): string[] {
  const pages = Array.from({ length: BACKING_PAGES }, (_, i) => {
    const bytes = new Uint8Array(PAGE);
    const done = kernel.copyOut(backing + i * PAGE, bytes);
    return `page ${i}: ${done} ${digest(bytes)}`;
  });
  return [...pages, `exit_reason ${run.getUint32(8, true)}`];
}
