/** ioctls as C: the argument as a struct with its fields by name, what it must hold afterwards, the buffers behind pointers. */
import { describeRequest } from '../../uapi/ioctl.ts';
import { type Layout, viewOf } from '../../uapi/layout.ts';
import type { Ioctl } from '../../uapi/registry.ts';
import { madeBy } from '../calls.ts';
import { changesWithTime, describesProcessor } from '../outcome.ts';
import { placesOf } from '../places.ts';
import type { RecordedCall, RecordedPointer } from '../recording.ts';
import { block, type Context, checked, type Kind } from './c-context.ts';
import type { Expressions } from './c-structs.ts';
import { hex, indent } from './c-text.ts';

/** The statements around a call: what is declared, what is done before it, what is compared after it. */
interface Parts {
  readonly declared: string[];
  readonly before: string[];
  readonly checks: string[];
}

function requestName(context: Context, call: RecordedCall, ioctl: Ioctl | undefined): string {
  const number = Number(call.args[1]);
  const name = ioctl?.name ?? `REQUEST_${number.toString(16)}`;
  const since = ioctl === undefined ? '' : `, since ${ioctl.since}`;
  context.requests.set(name, `${hex(number)} // ${describeRequest(number)}${since}`);
  return name;
}

const layoutOf = (ioctl: Ioctl | undefined): Layout | undefined =>
  ioctl?.arg.kind === 'struct' ? ioctl.arg.layout : undefined;

export function emitIoctl(context: Context, call: RecordedCall): string[] {
  const ioctl = context.kinds.ioctl(call);
  const fd = context.names.fd(Number(call.args[0]));
  const request = requestName(context, call, ioctl);
  const arg = call.args[2];
  const makes = madeBy(call.call, call.args, ioctl) === 'fd';
  const kind: Kind = makes ? 'A_DESCRIPTOR' : 'A_NUMBER';
  const answer = (passed: string): string => {
    const made = makes && call.result >= 0 ? `${context.names.newFd(call.result, ioctl?.makes)} = (int)` : '';
    return `${made}sys(ioctl(${fd}, ${request}, ${passed}))`;
  };
  const alias = call.mapped.get(2);
  if (alias !== undefined) {
    const passed = context.names.hva(alias);
    return checked(call, `ioctl(${fd}, ${request}, ${passed})`, answer(passed), [], kind);
  }
  if (arg instanceof Uint8Array) {
    const { declared, before, checks } = structParts(context, call, ioctl, arg);
    const given = ioctl?.travels === 'out' ? undefined : layoutOf(ioctl)?.format(arg);
    const shown = `ioctl(${fd}, ${request}, ${given ?? `<${arg.length} bytes>`})`;
    const lines = [...before, ...checked(call, shown, answer('&arg'), checks, kind)];
    return block(declared, [...lines, ...madeInField(context, ioctl, call.out.get(2))]);
  }
  const names = ioctl?.arg.kind === 'value' ? ioctl.arg.names : undefined;
  const ENCODED_SIZE = (Number(call.args[1]) >>> 16) & 0x3fff;
  const value =
    ENCODED_SIZE === 0
      ? context.structs.named(BigInt(arg as number | bigint), names)
      : context.names.address(arg as number | bigint);
  return checked(call, `ioctl(${fd}, ${request}, ${value})`, answer(value), [], kind);
}

function structParts(context: Context, call: RecordedCall, ioctl: Ioctl | undefined, arg: Uint8Array): Parts {
  const parts: Parts = { declared: [], before: [], checks: [] };
  const expressions = expressionsOf(context, ioctl, arg);
  ((call.args[4] ?? []) as readonly RecordedPointer[]).forEach(([offset, bytes], i) => {
    expressions.set(offset, `(uintptr_t)pointed_${i}`);
    pointed(context, parts, i, bytes, call.pointed[i]);
  });
  parts.declared.push(...declaration(context, ioctl, arg, expressions));
  const want = call.out.get(2);
  if (want !== undefined && ioctl?.travels !== 'in' && !describesProcessor(ioctl?.name))
    wanted(context, parts, ioctl, want);
  return parts;
}

/** Variables in place of descriptors and addresses, by offset. */
function expressionsOf(context: Context, ioctl: Ioctl | undefined, arg: Uint8Array): Map<number, string> {
  const view = viewOf(arg);
  return new Map(
    placesOf(ioctl, arg).map(({ offset, size, what, made }) => {
      if (what === 'hva') return [offset, context.names.address(view.getBigUint64(offset, true))];
      if (made) return [offset, '-1'];
      const fd = size === 4 ? view.getInt32(offset, true) : Number(view.getBigUint64(offset, true));
      // A field that a flag turns off holds 0.
      return [offset, fd === 0 ? '0' : context.names.fd(fd)];
    }),
  );
}

/** The buffer behind a pointer, and what it must hold afterwards when that is something else. */
function pointed(context: Context, parts: Parts, i: number, bytes: Uint8Array, after: Uint8Array | undefined): void {
  const given = context.buffer(`pointed_${i}`, bytes);
  parts.declared.push(...given.declare);
  parts.before.push(...given.fill);
  if (after === undefined || Buffer.compare(after, bytes) === 0) return;
  const want = context.buffer(`want_${i}`, after);
  parts.declared.push(...want.declare);
  parts.before.push(...want.fill);
  parts.checks.push(`bytes("buffer ${i}", want_${i}, pointed_${i}, ${after.length});`);
}

/** A request that puts a descriptor into its argument: into a variable from there. */
function madeInField(context: Context, ioctl: Ioctl | undefined, want: Uint8Array | undefined): string[] {
  const place = want === undefined ? undefined : placesOf(ioctl, want).find(({ made }) => made);
  if (want === undefined || place === undefined) return [];
  const fd = viewOf(want).getInt32(place.offset, true);
  return fd < 0 ? [] : [`memcpy(&${context.names.newFd(fd, 'device')}, (char *)&arg + ${place.offset}, sizeof(int));`];
}

/** `arg`: a struct where its layout is known and says all of it, bytes otherwise. */
function declaration(
  context: Context,
  ioctl: Ioctl | undefined,
  bytes: Uint8Array,
  expressions: Expressions,
): string[] {
  const layout = layoutOf(ioctl);
  const typed = layout === undefined ? undefined : typedValue(context, 'arg', '', layout, bytes, expressions);
  if (typed !== undefined) return typed;
  const list = [...bytes].map((byte) => hex(byte)).join(', ');
  const lines = [
    `union { unsigned char bytes[${Math.max(bytes.length, 1)}]; uint64_t align; } arg = { { ${list || 0} } };`,
  ];
  for (const [offset, expression] of expressions) {
    if (offset + 8 > bytes.length) continue;
    const value = `value_at_${offset}`;
    lines.push(`uint64_t ${value} = ${expression};`, `memcpy(arg.bytes + ${offset}, &${value}, 8);`);
  }
  return lines;
}

function typedValue(
  context: Context,
  name: string,
  qualifier: string,
  layout: Layout,
  bytes: Uint8Array,
  expressions: Expressions,
): string[] | undefined {
  const { structs } = context;
  if (bytes.length < layout.size || !structs.declare(layout)) return undefined;
  const head = structs.initialiser(layout, bytes, expressions);
  if (head === undefined) return undefined;
  const type = structs.type(layout);
  if (bytes.length === layout.size) return joined(`${qualifier}${type} ${name} = `, head, ';');
  const tail = layout.flexible;
  const element = tail?.element as Layout | undefined;
  if (tail === undefined || element === undefined || !('fields' in element) || !structs.declare(element))
    return undefined;
  const count = (bytes.length - layout.size) / element.size;
  if (!Number.isInteger(count)) return undefined;
  const items: string[] = [];
  for (let i = 0; i < count; i++) {
    const item = structs.initialiser(element, bytes, expressions, layout.size + i * element.size);
    if (item === undefined) return undefined;
    items.push(...indent(joined('', item, ','), '\t\t'));
  }
  return [
    `${qualifier}struct { ${type} head; ${structs.type(element)} ${tail.name}[${count}]; } ${name} = {`,
    ...indent(joined('.head = ', head, ',')),
    `\t.${tail.name} = {`,
    ...items,
    '\t},',
    '};',
  ];
}

function joined(head: string, lines: readonly string[], end: string): string[] {
  const [first = '', ...rest] = lines;
  if (rest.length === 0) return [`${head}${first}${end}`];
  return [`${head}${first}`, ...rest.slice(0, -1), `${rest.at(-1) ?? ''}${end}`];
}

/** What the struct must hold afterwards, by its fields. */
function wanted(context: Context, parts: Parts, ioctl: Ioctl | undefined, want: Uint8Array): void {
  const layout = layoutOf(ioctl);
  const places = placesOf(ioctl, want);
  const blank = want.slice();
  for (const { offset, size } of places) blank.fill(0, offset, offset + size);
  const typed =
    layout === undefined ? undefined : typedValue(context, 'want', 'static const ', layout, blank, new Map());
  if (layout === undefined || typed === undefined || ioctl === undefined) {
    const { declare, fill } = context.buffer('want', want);
    parts.declared.push(...declare);
    parts.before.push(...fill);
    parts.checks.push(`bytes("argument", want, &arg, ${want.length});`);
    return;
  }
  context.helpers.add('fields');
  parts.declared.push(...typed);
  const stem = ioctl.name.toLowerCase();
  const head = table(context, `${stem}_fields`, layout, ioctl.name, new Set(places.map(({ path }) => path)));
  const tail = want.length === layout.size ? undefined : layout.flexible;
  const of = (name: string): string => (tail === undefined ? `&${name}` : `&${name}.head`);
  const count = (name: string): string => `sizeof ${name} / sizeof ${name}[0]`;
  parts.checks.push(`fields("", ${head}, ${count(head)}, ${of('want')}, ${of('arg')});`);
  if (tail === undefined) return;
  const element = tail.element as Layout;
  const items = table(context, `${stem}_element_fields`, element, ioctl.name, new Set());
  parts.checks.push(
    `for (size_t i = 0; i < ${(want.length - layout.size) / element.size}; i++)`,
    `\tfields("${tail.name}.", ${items}, ${count(items)}, &want.${tail.name}[i], &arg.${tail.name}[i]);`,
  );
}

/** The fields that are compared: not padding, not the time, not what is a variable. */
function table(context: Context, name: string, layout: Layout, request: string, skipped: ReadonlySet<string>): string {
  const isCompared = (path: string): boolean =>
    !/(^|\.)(pad|reserved)/.test(path) && !skipped.has(path) && !changesWithTime(request, path);
  const fields = context.structs.fields(layout).filter(({ path }) => isCompared(path));
  context.tables.set(name, [
    `static const struct field ${name}[] = {`,
    ...fields.map(({ path, offset, size }) => `\t{ "${path}", ${offset}, ${size} },`),
    '};',
  ]);
  return name;
}
