/** The structs of requests as C: declared from the layouts, since headers may be older than the request; initialised field by field. */
import { type Field, showNamed } from '../../uapi/fields.ts';
import { type Layout, viewOf } from '../../uapi/layout.ts';
import { hex, literal } from './c-text.ts';

type AnyField = Field<unknown, never>;

const isLayout = (field: AnyField): field is Layout & AnyField => 'fields' in field;
const alignUp = (value: number, align: number): number => Math.ceil(value / align) * align;
const UNSIGNED: Readonly<Record<number, string>> = { 1: 'uint8_t', 2: 'uint16_t', 4: 'uint32_t', 8: 'uint64_t' };

interface Placed {
  readonly name: string;
  readonly offset: number;
  readonly field: AnyField;
}

const placed = (layout: Layout): Placed[] =>
  Object.entries(layout.fields)
    .map(([name, field]) => ({ name, offset: layout.offsets[name] ?? 0, field: field as AnyField }))
    .sort((a, b) => a.offset - b.offset);

/** False for a union: its members lie in one place, and one initialiser cannot name them all. */
function isPlain(layout: Layout): boolean {
  let end = 0;
  return placed(layout).every(({ offset, field }) => {
    const inner = field.element ?? field;
    const fits = offset >= end && (!isLayout(inner) || isPlain(inner));
    end = offset + field.size;
    return fits;
  });
}

const tag = (layout: Layout): string => layout.name.replace(/\W/g, '_');

/** One path of a struct for messages, with what lies there. */
export interface CField {
  readonly path: string;
  readonly offset: number;
  readonly size: number;
}

/** Expressions for the values at some offsets: descriptors and addresses, which are variables. */
export type Expressions = ReadonlyMap<number, string>;

export class Structs {
  readonly #declared = new Map<string, readonly string[]>();
  /** Every name that was used, with its value. */
  readonly names = new Map<string, bigint>();

  /** Declarations, inner structs first. */
  lines(): string[] {
    return [...this.#declared.values()].flatMap((lines) => [...lines, '']);
  }

  /** Declares the struct and what is in it; false when it cannot be. */
  declare(layout: Layout): boolean {
    if (!isPlain(layout)) return false;
    const name = tag(layout);
    if (this.#declared.has(name)) return true;
    const lines = [`struct ${name} {`];
    let end = 0;
    for (const { name: fieldName, offset, field } of placed(layout)) {
      const natural = alignUp(end, field.align);
      if (offset > natural) lines.push(`\tuint8_t gap_at_${end}[${offset - end}];`);
      lines.push(`\t${this.#member(field, fieldName)};`);
      end = offset + field.size;
    }
    if (layout.size > alignUp(end, layout.align)) lines.push(`\tuint8_t gap_at_${end}[${layout.size - end}];`);
    lines.push('};');
    lines.push(`_Static_assert(sizeof(struct ${name}) == ${layout.size}, "struct ${name}");`);
    if (layout.source !== undefined) lines.unshift(`// ${layout.source}`);
    this.#declared.set(name, lines);
    return true;
  }

  /** `struct kvm_regs` */
  type(layout: Layout): string {
    return `struct ${tag(layout)}`;
  }

  #member(field: AnyField, name: string): string {
    if (isLayout(field)) {
      this.declare(field);
      return `${this.type(field)} ${name}`;
    }
    if (field.element !== undefined) return `${this.#member(field.element, name)}[${field.size / field.element.size}]`;
    const plain = field.size === field.align ? UNSIGNED[field.size] : undefined;
    if (plain !== undefined) return `${field.isFd ? 'int32_t' : plain} ${name}`;
    const aligned = field.align > 1 ? ` __attribute__((aligned(${field.align})))` : '';
    return `uint8_t ${name}[${field.size}]${aligned}`;
  }

  /** Lines of an initialiser, with its braces; undefined when bytes that are not 0 lie outside of every field. */
  initialiser(layout: Layout, bytes: Uint8Array, expressions: Expressions, base = 0): string[] | undefined {
    const rest = bytes.slice(base, base + layout.size);
    const lines = ['{'];
    for (const { name, offset, field } of placed(layout)) {
      rest.fill(0, offset, offset + field.size);
      const value = this.#value(field, bytes, base + offset, expressions);
      if (value === undefined) return undefined;
      if (value.length > 0) lines.push(...nest(`.${name} = `, value));
    }
    // Padding of inner structs is covered by them.
    return rest.some((byte) => byte !== 0) ? undefined : lines.length === 1 ? ['{ 0 }'] : [...lines, '}'];
  }

  /** Lines for one value; none when it is 0. */
  #value(field: AnyField, bytes: Uint8Array, offset: number, expressions: Expressions): string[] | undefined {
    const expression = expressions.get(offset);
    if (expression !== undefined) return [expression];
    const view = viewOf(bytes);
    const isBlank = ![...expressions.keys()].some((at) => at > offset && at < offset + field.size);
    if (isBlank && field.isZero(view, offset)) return [];
    if (isLayout(field)) return this.initialiser(field, bytes, expressions, offset);
    if (field.element !== undefined) return this.#array(field, field.element, bytes, offset, expressions);
    if (UNSIGNED[field.size] === undefined || field.align !== field.size) {
      return [`{ ${[...bytes.subarray(offset, offset + field.size)].map((byte) => hex(byte)).join(', ')} }`];
    }
    return [this.#scalar(field, view, offset)];
  }

  #array(
    field: AnyField,
    element: AnyField,
    bytes: Uint8Array,
    offset: number,
    expressions: Expressions,
  ): string[] | undefined {
    const lines = ['{'];
    for (let i = 0; i < field.size / element.size; i++) {
      const value = this.#value(element, bytes, offset + i * element.size, expressions);
      if (value === undefined) return undefined;
      if (value.length > 0) lines.push(...nest(`[${i}] = `, value));
    }
    if (lines.length === 1) return [];
    // Short ones on one line.
    const flat = lines.slice(1).map((line) => line.trim());
    const short = `{ ${flat.join(' ').replace(/,$/, '')} }`;
    const MOST = 90;
    return short.length <= MOST && !short.includes('{ .') ? [short] : [...lines, '}'];
  }

  #scalar(field: AnyField, view: DataView, offset: number): string {
    if (field.isFd) return literal(view.getInt32(offset, true));
    const value = {
      1: () => BigInt(view.getUint8(offset)),
      2: () => BigInt(view.getUint16(offset, true)),
      4: () => BigInt(view.getUint32(offset, true)),
      8: () => view.getBigUint64(offset, true),
    }[field.size as 1]();
    return this.named(value, field.names);
  }

  /** `KVM_MEM_READONLY | 0x8`, with the names kept for {@link names}. */
  named(value: bigint, names: AnyField['names']): string {
    if (names === undefined || value < 0n) return literal(value);
    const parts = showNamed(value, names).split('|');
    for (const part of parts) {
      const known = names.entries.get(part);
      if (known !== undefined) this.names.set(part, known);
    }
    return parts.join(' | ');
  }

  /** The fields of a struct for messages: arrays of plain numbers as one. */
  fields(layout: Layout, prefix = '', base = 0): CField[] {
    return placed(layout).flatMap(({ name, offset, field }) => this.#fieldsOf(field, prefix + name, base + offset));
  }

  #fieldsOf(field: AnyField, path: string, offset: number): CField[] {
    if (isLayout(field)) return this.fields(field, `${path}.`, offset);
    const { element } = field;
    if (element === undefined || !isLayout(element)) return [{ path, offset, size: field.size }];
    return Array.from({ length: field.size / element.size }, (_, i) =>
      this.#fieldsOf(element, `${path}[${i}]`, offset + i * element.size),
    ).flat();
  }
}

/** `.cs = {` … `},` */
function nest(head: string, value: readonly string[]): string[] {
  const [first = '', ...rest] = value;
  if (rest.length === 0) return [`\t${head}${first},`];
  return [`\t${head}${first}`, ...rest.slice(0, -1).map((line) => `\t${line}`), `\t${rest.at(-1) ?? ''},`];
}
