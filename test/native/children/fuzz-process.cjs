'use strict';
// What the process of the fuzzer has to offer: descriptors, mappings, vCPUs. And what must not happen, because it would harm the
// machine or block, not because the addon could not bear it.
const fs = require('node:fs');
const { isProxy, isUint8Array } = require('node:util').types;
const { oddities } = require('./fuzz-values.cjs');
const guest = require('./guest.cjs');

const { KVM, MAP, PAGE, PROT } = guest;
const NONBLOCK = 0x800;
const CAP = 4 * 2 ** 20;
const MAX_FDS = 40;

/** Requests whose argument holds no pointer and no length. */
const REQUESTS = {
  kvm: [KVM.GET_API_VERSION, KVM.CHECK_EXTENSION, KVM.GET_VCPU_MMAP_SIZE],
  vm: [KVM.CHECK_EXTENSION, KVM.CREATE_GUEST_MEMFD, 0x4020aed2, 0xae47, 0x4008ae48, 0xaea2, 0xaea3],
  vcpu: [
    KVM.GET_REGS,
    KVM.SET_REGS,
    KVM.GET_SREGS,
    KVM.SET_SREGS,
    0x81a0ae8c,
    0x41a0ae8d,
    0x8004ae98,
    0x4004ae99,
  ].concat([0xc018ae85, 0x8040ae9f, 0x4040aea0, 0x8080aea1, 0x4080aea2, 0x4004ae86, 0xae9a, 0xaead]),
  other: [0, 0x1234, 0xffffffff, -1, 0x8090ae81, 0x4004667e, 0xc0000000, 0x80000000],
};

const HARMLESS = ['/dev/null', '/dev/zero', '/dev/kvm', '/proc/self/maps', '/', 'nothing'];

/** Whether a descriptor has its inode for itself: the anonymous inode of VMs and event descriptors is everybody's. */
function isMemory(fd) {
  try {
    return fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith('/memfd:');
  } catch {
    return false;
  }
}

class FuzzProcess {
  constructor(kernel) {
    this.kernel = kernel;
    this.fds = [];
    this.maps = [];
    this.views = [];
    this.vcpus = [];
    this.kvmFds = new Map();
    if (guest.kvmMissing(kernel) === undefined) {
      const { kvm, vm } = guest.openVm(kernel);
      this.kvmFds.set(kvm, 'kvm').set(vm, 'vm');
      this.kvmFds.set(guest.ok(kernel.ioctl(vm, KVM.CREATE_VCPU, 0, 1), 'KVM_CREATE_VCPU'), 'vcpu');
      for (const code of [guest.CODE.out, guest.CODE.spin]) this.vcpus.push(guest.openGuest(kernel, code).handle);
    }
    this.fds.push(kernel.memfdCreate('first', 2), kernel.eventfd(0, NONBLOCK));
    this.maps.push([kernel.mmap(0, 16 * PAGE, PROT.RW, MAP.PRIVATE | MAP.ANONYMOUS, -1, 0), 16 * PAGE]);
  }

  value(made) {
    if (made === null || typeof made !== 'object' || !Object.hasOwn(made, 'token')) return made;
    const one = (list) => list[made.pick % list.length];
    switch (made.token) {
      case 'odd':
        return one(oddities)();
      case 'fd':
        return one([...this.fds, ...this.kvmFds.keys(), -1, 1_000_000]);
      case 'own': {
        const [address, length] = one(this.maps) ?? [0, PAGE];
        return address + (made.skew < 64 ? (made.skew * PAGE) % length : made.skew % length);
      }
      case 'real':
        return this.realAddress(made.pick, made.skew);
      case 'view':
        return one(this.views) ?? new Uint8Array(0);
      case 'vcpu':
        return one([...this.vcpus, 0, -1, 99]);
      default:
        return made;
    }
  }

  /** Near an end of some mapping of the process, but not below its stack, which would keep it from growing. */
  realAddress(pick, skew) {
    const lines = fs.readFileSync('/proc/self/maps', 'utf8').trimEnd().split('\n');
    const line = lines[pick % lines.length];
    const ends = line.split(' ', 1)[0].split('-');
    const low = BigInt(`0x${ends[0]}`);
    const address = skew < 0 && !line.endsWith('[stack]') ? low + BigInt(skew * PAGE) : low + BigInt(Math.abs(skew));
    return address < 2n ** 53n ? Number(BigInt.asUintN(64, address)) : BigInt.asUintN(64, address);
  }

  /** A descriptor of Node.js itself: what is done to it is done to the event loop. */
  foreign(fd) {
    if (!Number.isInteger(fd) || fd < 0 || this.fds.includes(fd) || this.kvmFds.has(fd)) return false;
    return fs.existsSync(`/proc/self/fd/${fd}`);
  }

  /** A request for the descriptor, with its argument; random ones only where no driver listens. */
  ioctlArguments([fd, request, arg, how, pointers], plain) {
    const list = REQUESTS[this.kvmFds.get(fd) ?? 'other'];
    const generated =
      request !== null && typeof request === 'object' && !isProxy(request) && request.token === 'request';
    const chosen = generated ? list[request.pick % list.length] : undefined;
    const known = chosen ?? (this.kvmFds.has(fd) || typeof request === 'number' ? list[0] : request);
    const size = typeof known === 'number' ? (known >>> 16) & 0x3fff : 0;
    // Without a size nobody knows whether the number is an address.
    const scalar = typeof arg === 'number' || typeof arg === 'bigint';
    // The addon itself looks into a buffer that gets pointers, and a view may be of memory that is out of reach.
    const viewed = isUint8Array(arg) && this.views.includes(arg);
    const sized = plain && size > 0 && (scalar || isUint8Array(arg));
    const fits = viewed || sized ? new Uint8Array(size).map((_, i) => i * 7) : arg;
    const safe = size === 0 && scalar ? 1 : fits;
    const makes = known === KVM.CREATE_GUEST_MEMFD ? 1 : 0;
    return [fd, known, safe, typeof how === 'number' ? (how & ~1) | makes : how, pointers];
  }

  /** The arguments without what would consume the machine or block. */
  tame(call, args) {
    const [first, second, third, fourth] = args;
    const high = (value, cap) => (typeof value === 'number' || typeof value === 'bigint') && value > cap;
    switch (call) {
      // The suite may run as root: nothing outside of its folder may be made or changed.
      case 'open':
        return typeof first !== 'string' || HARMLESS.includes(first)
          ? args
          : [first.replace(/[/.]/g, '_'), second, third];
      case 'fchown':
      case 'fchmod':
        return isMemory(first) ? args : [-1, ...args.slice(1)];
      case 'read':
      case 'write':
      case 'pread':
      case 'pwrite':
      case 'ftruncate':
      case 'adopt':
      case 'fsync':
      case 'fdatasync':
      case 'syncFileRange':
      case 'ioctl':
        return this.foreign(first) ? [-1, ...args.slice(1)] : args;
      case 'fcntl': {
        const fd = this.foreign(first) ? -1 : first;
        return second === 4 && typeof third === 'number' ? [fd, second, third | NONBLOCK] : [fd, second, third];
      }
      case 'fallocate':
        return [this.foreign(first) ? -1 : first, second, third, high(fourth, CAP) ? CAP : fourth];
      // Without LOCK_NB, or from a pipe that blocks, it would wait for ever.
      case 'flock':
        return [this.foreign(first) ? -1 : first, typeof second === 'number' ? second | 4 : second];
      case 'pipe':
        return [typeof first === 'number' ? first | NONBLOCK : first, second];
      case 'vmsplice':
        return [this.foreign(first) ? -1 : first, second, third, typeof fourth === 'number' ? fourth | 2 : fourth];
      case 'splice':
      case 'sendfile':
      case 'copyFileRange':
        return [this.foreign(first) ? -1 : first, this.foreign(second) ? -1 : second]
          .concat([high(third, CAP) ? CAP : third])
          .concat(args.slice(3));
      case 'eventfd':
        return [first, typeof second === 'number' ? second | NONBLOCK : second];
      case 'mmap': {
        const POPULATES = 0x2000 | 0x8000;
        return typeof fourth === 'number' && high(second, CAP)
          ? [first, second, third, fourth & ~POPULATES, ...args.slice(4)]
          : args;
      }
      // Not the advice that takes pages of the machine out of service.
      case 'madvise':
        return third === 100 || third === 101 ? [first, second, 4] : args;
      case 'vcpuRun':
        return this.vcpus.includes(first) && typeof second === 'number' ? [first, 2] : args;
      default:
        return args;
    }
  }

  /** Keeps what a call made, for the next ones. */
  keep(call, args, result) {
    const makes = ['open', 'memfdCreate', 'memfdSecret', 'eventfd'].includes(call);
    if ((makes || (call === 'fcntl' && args[1] === 1030)) && result >= 0) this.fds.push(result);
    if (call === 'ioctl' && args[1] === KVM.CREATE_GUEST_MEMFD && result >= 0) this.fds.push(result);
    if (call === 'pipe' && result === 0) this.fds.push(Number(args[1][0]), Number(args[1][1]));
    if (call === 'close' && result === 0) this.forget(args[0]);
    if (call === 'mmap' && result >= 0) {
      const length = Number(args[1]);
      if (length > CAP) this.kernel.munmap(result, length);
      else this.maps.push([result, length]);
    }
    if (call === 'view' && result instanceof ArrayBuffer) this.views.push(new Uint8Array(result));
    if (call === 'vcpuAttach' && result >= 0) this.vcpus.push(result);
    this.trim();
  }

  forget(fd) {
    this.fds = this.fds.filter((one) => one !== fd);
    this.kvmFds.delete(fd);
  }

  trim() {
    if (this.fds.length > MAX_FDS) this.kernel.close(this.fds.shift());
    if (this.views.length > MAX_FDS) this.views.shift();
    if (this.vcpus.length > MAX_FDS) this.kernel.vcpuDetach(this.vcpus.pop());
    if (this.maps.length > MAX_FDS) {
      const [address, length] = this.maps.shift();
      try {
        this.kernel.munmap(address, length);
      } catch {
        // A run page, or a part that is gone and taken by somebody else.
      }
    }
  }

  end() {
    for (const vcpu of this.vcpus) this.kernel.vcpuDetach(vcpu);
  }
}

module.exports = { FuzzProcess };
