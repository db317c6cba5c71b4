/** Conversion in place: KVM_SET_MEMORY_ATTRIBUTES2 on a guest_memfd, as in revision 8 of the series under review. */
import { KernelError } from '../kernel/errors.ts';
import type { Sys } from '../kernel/sys.ts';
import type { Vm } from '../kvm/vm.ts';
import { declareMemoryAttributes2, KVM_MEMORY_ATTRIBUTE, kvm_memory_attributes2 } from '../uapi/index.ts';
import type { Range } from './designs/design.ts';

const PAGE = 4096;
/** No offset that is written: a page's offset never ends so. */
const UNTOUCHED = 1;

/** EAGAIN: somebody holds a page; the hint says which. ENOTTY without the series, EINVAL for a VM without private memory. */
export function setAttributes2(sys: Sys, fd: number, range: Range, state: 'private' | 'shared'): void {
  const attributes = state === 'private' ? KVM_MEMORY_ATTRIBUTE.value.KVM_MEMORY_ATTRIBUTE_PRIVATE : 0;
  const { offset, length: size } = range;
  const bytes = kvm_memory_attributes2.encode({ offset, size, attributes, error_offset: UNTOUCHED });
  try {
    sys.ioctl(fd, declareMemoryAttributes2(), bytes);
  } catch (error) {
    const at = kvm_memory_attributes2.get(bytes, 'error_offset');
    if (!(error instanceof KernelError) || at === UNTOUCHED) throw error;
    const { errno, syscall, request, args } = error;
    const hint = `error_offset 0x${at.toString(16)}: somebody holds that page (vmsplice, direct I/O, VFIO); let go of it and ask again`;
    throw new KernelError({ errno, syscall, request, args, hint });
  }
}

export interface InPlaceObstacle {
  readonly reason: string;
  /** The kernel has no such series at all. */
  readonly noSeries: boolean;
}

/** Why files of a VM do not convert in place; undefined when they do. Shown on a page: it is converted, and the host touches it. */
export function noConversionInPlace(vm: Vm): InPlaceObstacle | undefined {
  const made = vm.raw.createGuestMemfd(PAGE, { mmap: true, initShared: true });
  if (!made.ok) {
    const reason = `a guest_memfd that starts shared cannot be had: KVM_CREATE_GUEST_MEMFD ${made.code}`;
    return { reason, noSeries: true };
  }
  const mapping = made.value.map();
  try {
    mapping.fill(1, { length: 1 });
    const attributes = KVM_MEMORY_ATTRIBUTE.value.KVM_MEMORY_ATTRIBUTE_PRIVATE;
    const request = kvm_memory_attributes2.encode({ offset: 0, size: PAGE, attributes });
    const asked = made.value.raw.ioctl(declareMemoryAttributes2(), request);
    if (!asked.ok && asked.code === 'ENOTTY')
      return { reason: 'a guest_memfd does not know KVM_SET_MEMORY_ATTRIBUTES2 (ENOTTY)', noSeries: true };
    if (!asked.ok) {
      const reason = `KVM_SET_MEMORY_ATTRIBUTES2 on a file of this VM: ${asked.code}: a VM of this type has no private memory`;
      return { reason, noSeries: false };
    }
    // That it says yes proves nothing: the host must have lost the page.
    if (!mapping.raw.read(0, 1).ok) return undefined;
    return { reason: 'KVM_SET_MEMORY_ATTRIBUTES2 goes through, and the host still reads the page', noSeries: true };
  } finally {
    mapping.close();
    made.value.close();
  }
}
