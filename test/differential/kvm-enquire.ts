/** What a program asks KVM about itself: lists with room for too few, attributes that there are and are not. */
import {
  KVM_GET_DEVICE_ATTR,
  KVM_GET_MSR_INDEX_LIST,
  KVM_GET_SUPPORTED_CPUID,
  KVM_HAS_DEVICE_ATTR,
  KVM_SET_DEVICE_ATTR,
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_device_attr,
} from '../../lib/uapi/index.ts';
import type { KvmCommand, Target } from './kvm-commands.ts';
import { BACKING_PAGES, type KvmWorld, PAGE } from './kvm-world.ts';
import { errnoOrValue, type Outcome } from './outcome.ts';

const IOCTL_LENGTH_CHECKED = 2;
const HEADER_BYTES = 8;
const LISTS = {
  cpuid: { request: KVM_GET_SUPPORTED_CPUID.request, header: kvm_cpuid2.size, entry: kvm_cpuid_entry2.size },
  msrs: { request: KVM_GET_MSR_INDEX_LIST.request, header: 4, entry: 4 },
} as const;

const ATTR_REQUESTS = {
  has: KVM_HAS_DEVICE_ATTR.request,
  get: KVM_GET_DEVICE_ATTR.request,
  set: KVM_SET_DEVICE_ATTR.request,
} as const;

/** An address of the kind; the memory behind it is as it was once `then` is done. */
function at(world: KvmWorld, to: Exclude<Target, 'buffer'>, header: Uint8Array, then: (at: number) => number): number {
  const { kernel, backing } = world;
  const guard = backing + BACKING_PAGES * PAGE;
  if (to === 'guard') return then(guard);
  const before = new Uint8Array(HEADER_BYTES);
  const edge = guard - HEADER_BYTES;
  kernel.copyOut(edge, before);
  kernel.copyIn(edge, header.subarray(0, HEADER_BYTES));
  const result = then(edge);
  kernel.copyIn(edge, before);
  return result;
}

function list(world: KvmWorld, { on, index, of, room, to }: KvmCommand & { do: 'list' }): Outcome {
  const { request, header, entry } = LISTS[of];
  const bytes = new Uint8Array(Math.max(HEADER_BYTES, header + room * entry));
  new DataView(bytes.buffer).setUint32(0, room, true);
  const fd = world.fd(on, index);
  if (to !== 'buffer') return errnoOrValue(at(world, to, bytes, (place) => world.kernel.ioctl(fd, request, place)));
  const result = world.kernel.ioctl(fd, request, bytes, IOCTL_LENGTH_CHECKED);
  const told = new DataView(bytes.buffer).getUint32(0, true);
  return `${errnoOrValue(result)}, ${told === room ? 'as many' : told > room ? 'more' : 'fewer'}`;
}

function deviceAttr(world: KvmWorld, c: KvmCommand & { do: 'deviceAttr' }): Outcome {
  const { kernel, backing } = world;
  const fd = world.fd(c.on, c.index);
  const request = ATTR_REQUESTS[c.call];
  const guard = BigInt(backing + BACKING_PAGES * PAGE);
  const bytes = kvm_device_attr.encode({ group: c.group, attr: c.attr, addr: guard });
  if (c.to === 'edge') return errnoOrValue(at(world, c.to, bytes, (place) => kernel.ioctl(fd, request, place)));
  if (c.to === 'guard') return errnoOrValue(kernel.ioctl(fd, request, bytes));
  const value = new Uint8Array(8).fill(c.call === 'set' ? 0x11 : 0);
  return errnoOrValue(kernel.ioctl(fd, request, bytes, 0, [[kvm_device_attr.offsets.addr, value]]));
}

export const enquire = (world: KvmWorld, c: KvmCommand & { do: 'list' | 'deviceAttr' }): Outcome =>
  c.do === 'list' ? list(world, c) : deviceAttr(world, c);
