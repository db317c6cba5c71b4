/** Requests that fill a flexible array of a size that only the kernel knows: ask with room, grow at E2BIG. */
import type { Descriptor } from '../kernel/descriptor.ts';
import { KernelError } from '../kernel/errors.ts';
import type { Ioctl } from '../uapi/registry.ts';

/** One leaf of struct kvm_cpuid_entry2. */
export interface CpuidEntry {
  readonly function: number;
  readonly index: number;
  /** KVM_CPUID_FLAG bits: 1 means that `index` matters. */
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

const FIRST_ROOM = 128;
const MOST_ROOM = 65536;

/** The elements that the kernel gives. `E` is what the layout's element decodes to. */
export function readGrowing<E>(on: Descriptor, request: Ioctl): E[] {
  if (request.arg.kind !== 'struct') throw new TypeError(`${request.name} takes no struct`);
  const { layout } = request.arg;
  for (let room = FIRST_ROOM; ; room *= 4) {
    const bytes = layout.encode({}, room);
    try {
      on.ioctl(request, bytes);
      return layout.decodeElements(bytes) as E[];
    } catch (error) {
      if (!(error instanceof KernelError) || error.code !== 'E2BIG' || room >= MOST_ROOM) throw error;
    }
  }
}
