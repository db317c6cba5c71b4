/** Structs as data: fields in the kernel's order, offsets by natural alignment, a codec, and a printer for traces. */
import type { Field } from './fields.ts';

// biome-ignore lint/suspicious/noExplicitAny: the constraint must accept fields of every type; it never reaches a user.
export type Fields = Record<string, Field<any, any>>;

export type Decoded<F extends Fields> = { [K in keyof F]: F[K] extends Field<infer Out, infer _In> ? Out : never };
export type Encodable<F extends Fields> = { [K in keyof F]?: F[K] extends Field<infer _Out, infer In> ? In : never };

/** The architectures whose tables this project has. x86 means x86-64. */
export type Arch = 'x86' | 'arm64';

export interface FlexibleTail<Out = unknown, In = Out> {
  /** What the elements are called. */
  readonly name: string;
  /** A layout, or a plain field (kvm_msr_list is an array of u32). */
  readonly element: Field<Out, In>;
  /**
   * The field that holds the number of elements, dotted where it lies in a nested struct (`cpuid.nent`); absent where the kernel
   * takes the number from elsewhere.
   */
  readonly count?: string;
}

export interface LayoutOptions<Out = unknown, In = Out> {
  /** Total size in bytes where it exceeds the end of the last field. Must be a multiple of the alignment, as in C. */
  readonly size?: number;
  /** Offsets that do not follow from natural alignment (unions, gaps), by field name. */
  readonly at?: Readonly<Record<string, number>>;
  readonly flexible?: FlexibleTail<Out, In>;
  /** Where the layout comes from: header of the kernel, or a patch series. Shown by the documentation and the header check. */
  readonly source?: string;
  /** The architecture, where the struct of this name differs between them or exists on one only. */
  readonly arch?: Arch;
  /** The type in C, where it is not `struct NAME`: `kvm_run.memory_fault` is an anonymous struct inside another. For the header check. */
  readonly cType?: string;
  /** Members in C, by field name, where the names differ (a union that is one field here). For the header check. */
  readonly cNames?: Readonly<Record<string, string>>;
}

// biome-ignore lint/suspicious/noExplicitAny: elements of every type; users get the type from the layout that they name.
export interface Layout<F extends Fields = Fields, Out = any, In = any> extends Field<Decoded<F>, Encodable<F>> {
  readonly name: string;
  readonly fields: F;
  readonly offsets: { readonly [K in keyof F]: number };
  readonly flexible?: FlexibleTail<Out, In>;
  readonly source?: string;
  readonly arch?: Arch;
  readonly cType?: string;
  readonly cNames?: Readonly<Record<string, string>>;
  /** Encodes into fresh bytes; fields left out are zero. `elements` fills the flexible tail, or its length in elements. */
  encode(values?: Encodable<F>, elements?: number | readonly In[]): Uint8Array;
  /** Decodes at `offset` bytes into `bytes`. RangeError when there are too few bytes. */
  decode(bytes: Uint8Array, offset?: number): Decoded<F>;
  /** Decodes `count` elements of the flexible tail (default: what the count field says, at most what the bytes hold). */
  decodeElements(bytes: Uint8Array, count?: number): Out[];
  /** Length in bytes with the number of elements that the count field says; the size where there is none. */
  lengthOf(bytes: Uint8Array): number;
  get<K extends keyof F & string>(bytes: Uint8Array, field: K): Decoded<F>[K];
  set<K extends keyof F & string>(bytes: Uint8Array, field: K, value: NonNullable<Encodable<F>[K]>): void;
  /** `{slot=1, flags=KVM_MEM_GUEST_MEMFD, …}`: zero fields whose name starts with `pad` or `reserved` are left out. */
  format(bytes: Uint8Array, offset?: number): string;
}

const alignUp = (value: number, align: number): number => Math.ceil(value / align) * align;
const isPadding = (name: string): boolean => /^(pad|reserved)/.test(name);

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function struct<const F extends Fields, Out = unknown, In = Out>(
  name: string,
  fields: F,
  options: LayoutOptions<Out, In> = {},
): Layout<F, Out, In> {
  const offsets: Record<string, number> = {};
  const entries = Object.entries(fields);
  let end = 0;
  let align = 1;
  for (const [key, field] of entries) {
    const offset = options.at?.[key] ?? alignUp(end, field.align);
    offsets[key] = offset;
    end = Math.max(end, offset + field.size);
    align = Math.max(align, field.align);
  }
  const { flexible } = options;
  if (flexible !== undefined) align = Math.max(align, flexible.element.align);
  const size = options.size ?? alignUp(end, align);
  if (size < end) throw new RangeError(`struct ${name}: size ${size} is less than its fields need (${end})`);
  if (size % align !== 0)
    throw new RangeError(`struct ${name}: size ${size} is not a multiple of its alignment ${align}`);

  const fieldOf = (key: string) => {
    const field = fields[key];
    const offset = offsets[key];
    if (field === undefined || offset === undefined) {
      throw new TypeError(`struct ${name} has no field ${key}; it has ${Object.keys(fields).join(', ')}`);
    }
    return { field, offset };
  };
  /** The count field of the flexible tail, through nested structs: `cpuid.nent`. */
  const countField = (path: string) => {
    const [first = '', ...rest] = path.split('.');
    let { field, offset } = fieldOf(first);
    for (const part of rest) {
      const inner = field as unknown as Layout;
      field = inner.fields[part] ?? field;
      offset += inner.offsets[part] ?? 0;
    }
    return { field, offset };
  };
  const countOf = (view: DataView): number => {
    if (flexible?.count === undefined) return 0;
    const { field, offset } = countField(flexible.count);
    return Number(field.read(view, offset, name));
  };
  const need = (bytes: Uint8Array, offset: number): DataView => {
    if (!(bytes instanceof Uint8Array)) throw new TypeError(`struct ${name} is decoded from a Uint8Array`);
    if (offset < 0 || offset + size > bytes.length) {
      throw new RangeError(`struct ${name} needs ${size} bytes at ${offset}, there are ${bytes.length}`);
    }
    return viewOf(bytes);
  };

  const layout: Layout<F, Out, In> = {
    name,
    fields,
    offsets: offsets as Layout<F>['offsets'],
    size,
    align,
    ...(flexible === undefined ? {} : { flexible }),
    ...(options.source === undefined ? {} : { source: options.source }),
    ...(options.arch === undefined ? {} : { arch: options.arch }),
    ...(options.cType === undefined ? {} : { cType: options.cType }),
    ...(options.cNames === undefined ? {} : { cNames: options.cNames }),

    read(view, offset, where) {
      const out: Record<string, unknown> = {};
      for (const [key, field] of entries) {
        out[key] = field.read(view, offset + fieldOf(key).offset, `${where}.${key}`);
      }
      return out as Decoded<F>;
    },
    write(view, offset, value, where) {
      if (typeof value !== 'object' || value === null) throw new TypeError(`${where} must be an object`);
      for (const [key, item] of Object.entries(value)) {
        if (item === undefined) continue;
        const { field, offset: at } = fieldOf(key);
        field.write(view, offset + at, item, `${where}.${key}`);
      }
    },
    show(view, offset) {
      const parts: string[] = [];
      for (const [key, field] of entries) {
        const at = offset + fieldOf(key).offset;
        if (isPadding(key) && field.isZero(view, at)) continue;
        parts.push(`${key}=${field.show(view, at)}`);
      }
      return `{${parts.join(', ')}}`;
    },
    isZero: (view, offset) => entries.every(([key, field]) => field.isZero(view, offset + fieldOf(key).offset)),

    encode(values = {}, elements = 0) {
      const count = typeof elements === 'number' ? elements : elements.length;
      if (count > 0 && flexible === undefined) throw new TypeError(`struct ${name} has no flexible array`);
      const out = new Uint8Array(size + count * (flexible?.element.size ?? 0));
      const view = viewOf(out);
      layout.write(view, 0, values, name);
      if (flexible?.count !== undefined && count > 0) {
        const { field, offset } = countField(flexible.count);
        field.write(view, offset, count, `${name}.${flexible.count}`);
      }
      if (flexible !== undefined && typeof elements !== 'number') {
        elements.forEach((item, i) => {
          flexible.element.write(view, size + i * flexible.element.size, item, `${name}.${flexible.name}[${i}]`);
        });
      }
      return out;
    },
    decode: (bytes, offset = 0) => layout.read(need(bytes, offset), offset, name),
    decodeElements(bytes, count) {
      if (flexible === undefined) throw new TypeError(`struct ${name} has no flexible array`);
      const view = need(bytes, 0);
      const room = Math.floor((bytes.length - size) / flexible.element.size);
      const said = flexible.count === undefined ? room : countOf(view);
      const length = Math.min(count ?? said, room);
      return Array.from({ length }, (_, i) =>
        flexible.element.read(view, size + i * flexible.element.size, `${name}.${flexible.name}[${i}]`),
      );
    },
    lengthOf(bytes) {
      if (flexible?.count === undefined) return size;
      return size + countOf(need(bytes, 0)) * flexible.element.size;
    },
    get(bytes, key) {
      const { field, offset } = fieldOf(key);
      return field.read(need(bytes, 0), offset, `${name}.${key}`);
    },
    set(bytes, key, value) {
      const { field, offset } = fieldOf(key);
      field.write(need(bytes, 0), offset, value, `${name}.${key}`);
    },
    format(bytes, offset = 0) {
      if (offset + size > bytes.length) return `<${bytes.length} bytes, too few for struct ${name}>`;
      return layout.show(viewOf(bytes), offset);
    },
  };
  return layout;
}
