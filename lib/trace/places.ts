/** Where descriptors and host addresses lie in the argument of an ioctl: from the layouts and declarations of lib/uapi, never by guess. */
import type { Field } from '../uapi/fields.ts';
import { KVM_CAP, KVM_ENABLE_CAP, kvm_enable_cap } from '../uapi/index.ts';
import { type Layout, viewOf } from '../uapi/layout.ts';
import type { Ioctl } from '../uapi/registry.ts';

export interface Leaf {
  /** `cs.base`, `entries[3].function`, `args[0]`. */
  readonly path: string;
  /** Bytes from the start of the argument. */
  readonly offset: number;
  readonly field: Field<unknown, never>;
}

export interface Place {
  readonly path: string;
  readonly offset: number;
  /** Bytes: 4 for a descriptor; 8 for one in a register, and for addresses. */
  readonly size: 4 | 8;
  readonly what: 'fd' | 'hva';
  /** The field that says how many bytes at the address the kernel will use, where one does. */
  readonly span?: string;
  /** Nothing goes in: the call puts a new descriptor there. */
  readonly made?: true;
}

const isLayout = (field: Field<unknown, never>): field is Layout & Field<unknown, never> => 'fields' in field;

function* leavesOfField(field: Field<unknown, never>, path: string, offset: number): Generator<Leaf> {
  if (isLayout(field)) {
    yield* leavesOf(field, path, offset);
  } else if (field.element !== undefined) {
    const { element } = field;
    const count = Math.floor(field.size / element.size);
    for (let i = 0; i < count; i++) yield* leavesOfField(element, `${path}[${i}]`, offset + i * element.size);
  } else yield { path, offset, field };
}

/** The plain fields of a struct, nested ones included. */
export function* leavesOf(layout: Layout, prefix = '', base = 0): Generator<Leaf> {
  for (const [name, field] of Object.entries(layout.fields)) {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    yield* leavesOfField(field as Field<unknown, never>, path, base + (layout.offsets[name] ?? 0));
  }
}

/** The same with the flexible tail: the elements that `bytes` has room for, at most those that its count field says. */
export function* leavesOfBytes(layout: Layout, bytes: Uint8Array): Generator<Leaf> {
  if (bytes.length < layout.size) return;
  yield* leavesOf(layout);
  const { flexible } = layout;
  if (flexible === undefined) return;
  const room = Math.floor((bytes.length - layout.size) / flexible.element.size);
  let said = room;
  if (flexible.count !== undefined) {
    // A count that is too large to be a number is as good as too many.
    try {
      said = Math.floor((layout.lengthOf(bytes) - layout.size) / flexible.element.size);
    } catch {
      said = room;
    }
  }
  for (let i = 0; i < Math.min(room, said); i++) {
    const element = flexible.element as Field<unknown, never>;
    yield* leavesOfField(element, `${flexible.name}[${i}]`, layout.size + i * element.size);
  }
}

/** The sizes of what addresses point to, by request and field. */
const SPANS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  KVM_SET_USER_MEMORY_REGION: { userspace_addr: 'memory_size' },
  KVM_SET_USER_MEMORY_REGION2: { userspace_addr: 'memory_size' },
  KVM_MEMORY_ENCRYPT_REG_REGION: { addr: 'size' },
  KVM_MEMORY_ENCRYPT_UNREG_REGION: { addr: 'size' },
};

/** Capabilities whose enabling takes a descriptor or an address in `args[0]`. Documentation/virt/kvm/api.rst */
const CAP_ARGS: ReadonlyMap<number, 'fd' | 'hva'> = new Map([
  [KVM_CAP.value.KVM_CAP_SGX_ATTRIBUTE, 'fd'],
  [KVM_CAP.value.KVM_CAP_VM_COPY_ENC_CONTEXT_FROM, 'fd'],
  [KVM_CAP.value.KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, 'fd'],
  [KVM_CAP.value.KVM_CAP_HYPERV_ENLIGHTENED_VMCS, 'hva'],
]);

function capabilityPlaces(bytes: Uint8Array): Place[] {
  const what = CAP_ARGS.get(viewOf(bytes).getUint32(kvm_enable_cap.offsets.cap, true));
  return what === undefined ? [] : [{ path: 'args[0]', offset: kvm_enable_cap.offsets.args, size: 8, what }];
}

/** `ranges[].bitmap` names a field of every element. */
const matches = (pattern: string, path: string): boolean => pattern === path.replace(/\[\d+\]/g, '[]');

/** The places in `bytes`; empty for a request that is not declared or takes no struct. */
export function placesOf(ioctl: Ioctl | undefined, bytes: Uint8Array): Place[] {
  if (ioctl?.arg.kind !== 'struct' || bytes.length < ioctl.arg.layout.size) return [];
  const places: Place[] = [];
  for (const { path, offset, field } of leavesOfBytes(ioctl.arg.layout, bytes)) {
    if (path === ioctl.makesField) places.push({ path, offset, size: 4, what: 'fd', made: true });
    else if (field.isFd) places.push({ path, offset, size: 4, what: 'fd' });
    else if (field.size === 8 && ioctl.pointers?.some((pattern) => matches(pattern, path))) {
      const span = SPANS[ioctl.name]?.[path];
      places.push({ path, offset, size: 8, what: 'hva', ...(span === undefined ? {} : { span }) });
    }
  }
  if (ioctl.name === KVM_ENABLE_CAP.name) places.push(...capabilityPlaces(bytes));
  return places;
}
