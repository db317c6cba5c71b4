/** What the parts of an export share: variables, names, helpers, and how a checked call looks. */
import { CALLS, type CallName } from '../../kernel/calls.ts';
import { viewOf } from '../../uapi/layout.ts';
import { allNameSets } from '../../uapi/registry.ts';
import { type Role, TRACED } from '../calls.ts';
import type { FdKinds } from '../kinds.ts';
import type { RecordedCall } from '../recording.ts';
import { buffer, type CBuffer } from './c-data.ts';
import type { Helper } from './c-prelude.ts';
import { Structs } from './c-structs.ts';
import { indent, literal, message, quote } from './c-text.ts';
import type { GuestCode } from './code.ts';
import { Names } from './names.ts';

/** What `result` in C is told: how a value of zero or more is shown and compared. */
export type Kind = 'A_NUMBER' | 'A_DESCRIPTOR' | 'AN_ADDRESS';

export class Context {
  readonly names = new Names();
  readonly structs = new Structs();
  readonly helpers = new Set<Helper>();
  /** Numbers of requests and of system calls, by name. */
  readonly requests = new Map<string, string>();
  readonly syscalls = new Map<string, number>();
  /** Tables of fields, by the name of their variable. */
  readonly tables = new Map<string, readonly string[]>();
  readonly kinds: FdKinds;
  readonly code: ReadonlyMap<RecordedCall, GuestCode>;
  readonly #arch: 'x64' | 'arm64';

  constructor(kinds: FdKinds, code: ReadonlyMap<RecordedCall, GuestCode>, arch: 'x64' | 'arm64') {
    this.kinds = kinds;
    this.code = code;
    this.#arch = arch;
  }

  buffer(name: string, bytes: Uint8Array, code?: readonly string[]): CBuffer {
    const made = buffer(name, bytes, code);
    if (made.fill.some((line) => line.startsWith('words('))) this.helpers.add('words');
    return made;
  }

  /** A value by the names of a set. */
  named(set: string, value: number): string {
    const names = allNameSets().find(({ name }) => name === set);
    return this.structs.named(BigInt(value < 0 ? value : value >>> 0), names);
  }

  /** The number of a system call, for headers that do not have it. */
  syscall(name: string, x64: number, arm64: number): string {
    this.syscalls.set(name, this.#arch === 'x64' ? x64 : arm64);
    return `SYS_${name}`;
  }

  #arg(call: RecordedCall, index: number, role: Role): string {
    const value = call.args[index];
    switch (role.kind) {
      case 'fd':
        return this.names.fd(Number(value));
      case 'hva':
        return this.names.hva(value as number | bigint);
      case 'int': {
        const shape = CALLS[call.call as CallName].args[index];
        const number = Number(value ?? 0);
        return typeof shape === 'object' ? this.named(shape.names, number) : literal(number);
      }
      case 'u64':
      case 's64':
        return literal(value as number | bigint);
      case 'text':
        return quote(String(value));
      default:
        return '0';
    }
  }

  /** The arguments as expressions; 0 where there is none for it. */
  args(call: RecordedCall): string[] {
    return (TRACED[call.call]?.args ?? []).map(({ role }, index) => this.#arg(call, index, role));
  }

  /** What the call put into an argument of words. */
  words(call: RecordedCall, index: number): bigint[] {
    const bytes = call.out.get(index) ?? new Uint8Array();
    const view = viewOf(bytes);
    return Array.from({ length: Math.floor(bytes.length / 8) }, (_, i) => view.getBigInt64(i * 8, true));
  }
}

/** The call, its result, and what else is compared where the result lets it. */
export function checked(
  call: RecordedCall,
  shown: string,
  expression: string,
  checks: readonly string[] = [],
  kind: Kind = 'A_NUMBER',
): string[] {
  const lines = [`begin(${call.n}, ${message(shown)});`];
  const compared = `result(${kind}, ${literal(call.result)}, ${expression})`;
  if (checks.length === 0) lines.push(`${compared};`);
  else if (checks.length === 1) lines.push(`if (${compared})`, ...indent(checks));
  else lines.push(`if (${compared}) {`, ...indent(checks), '}');
  return [...lines, 'end();'];
}

/** More to compare, before the `end();` of a checked call. */
export const alsoChecked = (lines: readonly string[], more: readonly string[]): string[] => [
  ...lines.slice(0, -1),
  ...more,
  ...lines.slice(-1),
];

/** Declarations, an empty line, statements. */
export function block(declared: readonly string[], statements: readonly string[]): string[] {
  if (declared.length === 0) return [...statements];
  return ['{', ...indent([...declared, '', ...statements]), '}'];
}
