/** How a kernel converts: attributes of the VM beside two backings, or inside one guest_memfd. */
import { UnsupportedError } from '../../kernel/errors.ts';
import type { Vm } from '../../kvm/vm.ts';
import { PAGE_SIZE } from '../../memory/mapping.ts';
import {
  declareMemoryAttributes2,
  KVM_MEMORY_ATTRIBUTE,
  KVM_SET_MEMORY_ATTRIBUTES,
  kvm_memory_attributes,
  kvm_memory_attributes2,
} from '../../uapi/index.ts';
import type { RegionMap } from './region.ts';
import type { GuestRange, Side, Strategy } from './words.ts';

const PRIVATE = KVM_MEMORY_ATTRIBUTE.value.KVM_MEMORY_ATTRIBUTE_PRIVATE;

export interface Converter {
  readonly strategy: Strategy;
  readonly request: string;
  /** One call cannot go from one region to the next. */
  readonly perRegion: boolean;
  /** One call: all of the range, or a KernelError and nothing of it. */
  set(range: GuestRange, side: Side): void;
}

const bits = (side: Side): number => (side === 'private' ? PRIVATE : 0);

/** Whether this VM has memory attributes, and so two backings for a page. */
export const hasAttributes = (vm: Vm): boolean => (vm.memoryAttributes() & PRIVATE) !== 0;

/** A 64-bit field, without a bigint in between: this is made once for each page of a guest that converts page by page. */
function setU64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value % 2 ** 32, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}

function attributes(vm: Vm): Converter {
  const argument = kvm_memory_attributes.encode();
  const view = new DataView(argument.buffer, argument.byteOffset, argument.byteLength);
  const { offsets } = kvm_memory_attributes;
  return {
    strategy: 'attributes',
    request: 'KVM_SET_MEMORY_ATTRIBUTES',
    perRegion: false,
    set: ({ gpa, size }, side) => {
      setU64(view, offsets.address, gpa);
      setU64(view, offsets.size, size);
      setU64(view, offsets.attributes, bits(side));
      vm.ioctl(KVM_SET_MEMORY_ATTRIBUTES, argument);
    },
  };
}

function inPlace(regions: RegionMap): Converter {
  const request = declareMemoryAttributes2();
  return {
    strategy: 'in-place',
    request: 'KVM_SET_MEMORY_ATTRIBUTES2',
    perRegion: true,
    set: ({ gpa, size }, side) => {
      const region = regions.at(gpa);
      const own = region?.privateSide;
      if (region === undefined || own === undefined)
        throw new RangeError(`no private side at gpa 0x${gpa.toString(16)}`);
      const offset = own.offset + gpa - region.gpa;
      own.file.ioctl(request, kvm_memory_attributes2.encode({ offset, size, attributes: bits(side) }));
    },
  };
}

/** A guest_memfd of a kernel without the series does not know the request: ENOTTY. Numbers of capabilities prove nothing. */
function convertsInPlace(vm: Vm): boolean {
  const file = vm.raw.createGuestMemfd(PAGE_SIZE);
  if (!file.ok) return false;
  try {
    const asked = file.value.raw.ioctl(declareMemoryAttributes2(), kvm_memory_attributes2.encode());
    return asked.ok || asked.code !== 'ENOTTY';
  } finally {
    file.value.close();
  }
}

/** UnsupportedError where this VM's memory cannot be converted by the host. */
export function converterFor(vm: Vm, regions: RegionMap): Converter {
  if (hasAttributes(vm)) return attributes(vm);
  if (convertsInPlace(vm)) return inPlace(regions);
  throw new UnsupportedError(
    'conversion',
    'KVM_CAP_MEMORY_ATTRIBUTES is 0 for this VM, and its files do not know KVM_SET_MEMORY_ATTRIBUTES2',
    'create a VM with private memory (KVM_X86_SW_PROTECTED_VM, SNP, TDX) on a kernel that offers it',
  );
}
