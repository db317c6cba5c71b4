/**
 * What is known by name: requests, flags, structs. The project's own tables and a user's declarations go in through the same
 * functions, so that a patched kernel's new ioctl appears in errors and traces like any other.
 */
import type { Int, NameSet } from './fields.ts';
import { decodeRequest, io, ior, iow, iowr, KVMIO } from './ioctl.ts';
import type { Arch, Layout } from './layout.ts';

/** The architecture of this process: what decides between two declarations of one request when nobody says which. */
export const hostArch: Arch = process.arch === 'arm64' ? 'arm64' : 'x86';

/** What a descriptor is, as far as requests care. */
export type FdKind = 'kvm' | 'vm' | 'vcpu' | 'guest_memfd' | 'device' | 'stats' | 'memfd' | 'file';

const keyOf = (name: string, arch: Arch | undefined): string => (arch === undefined ? name : `${arch}:${name}`);

function byArch<T>(map: ReadonlyMap<string, T>, name: string, arch: Arch): T | undefined {
  return map.get(keyOf(name, arch)) ?? map.get(name) ?? map.get(keyOf(name, arch === 'x86' ? 'arm64' : 'x86'));
}

/** How the argument is passed. */
export type IoctlArg =
  | { readonly kind: 'none' }
  /** A plain number: VM type, vCPU id, capability, … */
  | { readonly kind: 'value'; readonly name: string; readonly names?: NameSet }
  | { readonly kind: 'struct'; readonly layout: Layout };

export interface Ioctl {
  readonly name: string;
  readonly request: number;
  /** The kinds of descriptor that take it. */
  readonly on: readonly FdKind[];
  readonly arg: IoctlArg;
  /** Which way the struct travels; may differ from what the number declares (KVM_MEMORY_ENCRYPT_REG_REGION). */
  readonly travels: 'in' | 'out' | 'in-out';
  /** The kind of the descriptor that it returns. */
  readonly makes?: FdKind;
  /** The field of the argument that holds the new descriptor afterwards, where it is not the return value (KVM_CREATE_DEVICE). */
  readonly makesField?: string;
  /** The architecture, where only one has it or the argument differs. */
  readonly arch?: Arch;
  /** Fields that carry an address of other user memory, as a pointer or as a u64. */
  readonly pointers?: readonly string[];
  /** Length in bytes that the kernel will really touch, where the number does not say it (flexible arrays, misdeclared sizes). */
  readonly realLength?: (bytes: Uint8Array) => number;
  /** First release that has it, or the patch series for requests that are not merged. */
  readonly since: string;
}

const byRequest = new Map<number, Ioctl[]>();
const byName = new Map<string, Ioctl>();
const nameSets = new Map<string, NameSet>();
const layouts = new Map<string, Layout>();

export interface IoctlDeclaration {
  readonly nr: number;
  /** 0xAE unless given. */
  readonly type?: number;
  /** Which way the number says that the argument goes. */
  readonly direction: 'none' | 'write' | 'read' | 'read-write';
  readonly on: FdKind | readonly FdKind[];
  /** The argument: a struct layout, or the name of a plain number, or nothing. */
  readonly arg?: Layout | string | { readonly name: string; readonly names: NameSet };
  /** Size in bytes that the number encodes, where it is not the layout's. */
  readonly encodedSize?: number;
  readonly travels?: 'in' | 'out' | 'in-out';
  readonly makes?: FdKind;
  readonly makesField?: string;
  readonly arch?: Arch;
  readonly pointers?: readonly string[];
  readonly realLength?: (bytes: Uint8Array) => number;
  readonly since?: string;
}

function requestNumber(declaration: IoctlDeclaration, layout: Layout | undefined): number {
  const type = declaration.type ?? KVMIO;
  const size = declaration.encodedSize ?? layout?.size ?? 0;
  switch (declaration.direction) {
    case 'none':
      return io(type, declaration.nr);
    case 'write':
      return iow(type, declaration.nr, size);
    case 'read':
      return ior(type, declaration.nr, size);
    case 'read-write':
      return iowr(type, declaration.nr, size);
  }
}

const isLayout = (value: unknown): value is Layout =>
  typeof value === 'object' && value !== null && 'decode' in value && 'offsets' in value;

/** The rule of a flexible array: the header, and as many elements as its count field says. */
function flexibleLength(layout: Layout): ((bytes: Uint8Array) => number) | undefined {
  return layout.flexible?.count === undefined ? undefined : (bytes) => layout.lengthOf(bytes);
}

/** Describes a request without making it known: for one whose number is another's in the kernels that are not patched. */
export function makeIoctl(name: string, declaration: IoctlDeclaration): Ioctl {
  const { arg } = declaration;
  const layout = isLayout(arg) ? arg : undefined;
  const travels =
    declaration.travels ??
    ({ none: 'in', write: 'in', read: 'out', 'read-write': 'in-out' } as const)[declaration.direction];
  const realLength = declaration.realLength ?? (layout === undefined ? undefined : flexibleLength(layout));
  return {
    name,
    request: requestNumber(declaration, layout),
    on: typeof declaration.on === 'string' ? [declaration.on] : declaration.on,
    arg:
      layout !== undefined
        ? { kind: 'struct', layout }
        : arg === undefined || isLayout(arg)
          ? { kind: 'none' }
          : typeof arg === 'string'
            ? { kind: 'value', name: arg }
            : { kind: 'value', name: arg.name, names: arg.names },
    travels,
    ...(declaration.makes === undefined ? {} : { makes: declaration.makes }),
    ...(declaration.makesField === undefined ? {} : { makesField: declaration.makesField }),
    ...(declaration.arch === undefined ? {} : { arch: declaration.arch }),
    ...(declaration.pointers === undefined ? {} : { pointers: declaration.pointers }),
    ...(realLength === undefined ? {} : { realLength }),
    since: declaration.since ?? 'declared by the user',
  };
}

/**
 * Declares a request. Declaring the same name and number again replaces the old declaration; two names may share a number (a number
 * that an unmerged series quotes may belong to something else in a merged kernel), then the kind of descriptor decides.
 */
export function defineIoctl(name: string, declaration: IoctlDeclaration): Ioctl {
  const ioctl = makeIoctl(name, declaration);
  if (ioctl.arg.kind === 'struct') defineLayout(ioctl.arg.layout);
  const key = keyOf(name, ioctl.arch);
  const old = byName.get(key);
  if (old !== undefined) {
    byRequest.set(
      old.request,
      (byRequest.get(old.request) ?? []).filter((other) => other !== old),
    );
  }
  byRequest.set(ioctl.request, [...(byRequest.get(ioctl.request) ?? []), ioctl]);
  byName.set(key, ioctl);
  return ioctl;
}

/**
 * Finds a request by number. Several may share one: a struct that does not fit the argument is not meant, then the kind of descriptor
 * decides, then the architecture, then the declaration that came last (a user's, over one of the tables).
 */
export function findIoctl(request: number, on?: FdKind, arch: Arch = hostArch, given?: unknown): Ioctl | undefined {
  let best: Ioctl | undefined;
  let bestScore = -1;
  for (const ioctl of byRequest.get(request) ?? []) {
    const fits = on !== undefined && ioctl.on.includes(on) ? 2 : 0;
    const held =
      given instanceof Uint8Array && ioctl.arg.kind === 'struct' ? ioctl.arg.layout.size <= given.length : true;
    const score = (held ? 4 : 0) + fits + (ioctl.arch === undefined || ioctl.arch === arch ? 1 : 0);
    if (score >= bestScore) {
      best = ioctl;
      bestScore = score;
    }
  }
  return best;
}

/** The request of this name; where architectures differ, the one of `arch`. */
export const ioctlByName = (name: string, arch: Arch = hostArch): Ioctl | undefined => byArch(byName, name, arch);
export const allIoctls = (): readonly Ioctl[] => [...byName.values()];

/** Declares names for the bits or values of fields; more can be added with {@link defineFlag}. */
export function defineNames<const E extends Readonly<Record<string, Int>>>(
  name: string,
  kind: 'bits' | 'values',
  entries: E,
  arch?: Arch,
): NameSet & { readonly value: E } {
  const set = {
    name,
    kind,
    value: entries,
    entries: new Map<string, bigint>(),
    ...(arch === undefined ? {} : { arch }),
  };
  for (const [key, value] of Object.entries(entries)) set.entries.set(key, BigInt(value));
  nameSets.set(keyOf(name, arch), set);
  return set;
}

/** Adds a name to a set, for a flag of a patched kernel: it shows in traces and errors from now on. Bits pass unnamed as well. */
export function defineFlag(setName: string, name: string, value: Int, arch: Arch = hostArch): void {
  const set = byArch(nameSets, setName, arch);
  if (set === undefined) {
    throw new RangeError(`no set of names ${setName}; there are ${[...nameSets.keys()].join(', ')}`);
  }
  set.entries.set(name, BigInt(value));
}

export const allNameSets = (): readonly NameSet[] => [...nameSets.values()];

/** Makes a layout known, and those inside it: for the header check, and for exit payloads that no request carries. */
export function defineLayout<L extends Layout>(layout: L): L {
  for (const field of [...Object.values(layout.fields), layout.flexible?.element]) {
    const inner = field?.element ?? field;
    if (isLayout(inner)) defineLayout(inner);
  }
  layouts.set(keyOf(layout.name, layout.arch), layout);
  return layout;
}

/** The layout of this name; where architectures differ, the one of `arch`. */
export const layoutByName = (name: string, arch: Arch = hostArch): Layout | undefined => byArch(layouts, name, arch);
export const allLayouts = (): readonly Layout[] => [...layouts.values()];

/** Size in bytes that the number itself encodes. */
export const encodedSize = (request: number): number => decodeRequest(request).size;
