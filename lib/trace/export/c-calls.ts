/** One recorded call as C: what is called, with what, and what is expected of it. */
import { CALLS, type CallName } from '../../kernel/calls.ts';
import { CACHESTAT, FAULT, STAT } from '../../kernel/kernel.ts';
import { exitPayload } from '../../kernel/trace-exit.ts';
import { EFD, KVM_EXIT, KVM_RUN_EXIT_OFFSET, kvm_run, MFD, O } from '../../uapi/index.ts';
import { describeRequest } from '../../uapi/ioctl.ts';
import { kvm_run_internal, kvm_run_io, kvm_run_mmio, kvm_run_system_event } from '../../uapi/kvm-run.ts';
import { type Layout, viewOf } from '../../uapi/layout.ts';
import { allNameSets, type Ioctl } from '../../uapi/registry.ts';
import { madeBy, type Role, TRACED } from '../calls.ts';
import type { FdKinds } from '../kinds.ts';
import { changesWithTime } from '../outcome.ts';
import { leavesOf, placesOf } from '../places.ts';
import type { RecordedCall, RecordedPointer, RecordedValue } from '../recording.ts';
import { buffer } from './c-data.ts';
import type { Helper } from './c-prelude.ts';
import { Structs } from './c-structs.ts';
import { hex, indent, literal, message, quote } from './c-text.ts';
import { codeLines, type GuestCode } from './code.ts';
import { Names } from './names.ts';

/** A program that takes longer for one run is interrupted, in milliseconds. */
const LEAST_LIMIT_MS = 10_000;

export class Emitter {
  readonly names = new Names();
  readonly structs = new Structs();
  readonly helpers = new Set<Helper>();
  /** Numbers of requests and of system calls, by name. */
  readonly requests = new Map<string, string>();
  readonly syscalls = new Map<string, number>();
  /** Tables of fields, by the name of their variable. */
  readonly tables = new Map<string, readonly string[]>();
  readonly #kinds: FdKinds;
  readonly #code: ReadonlyMap<RecordedCall, GuestCode>;
  readonly #arch: 'x64' | 'arm64';

  constructor(kinds: FdKinds, code: ReadonlyMap<RecordedCall, GuestCode>, arch: 'x64' | 'arm64') {
    this.#kinds = kinds;
    this.#code = code;
    this.#arch = arch;
  }

  /** Lines for the call, and what it changes for later ones. Undefined when there is no way to write it. */
  call(call: RecordedCall): string[] | undefined {
    const lines = [...this.writes(call), ...(this.#emit(call) ?? ['#'])];
    this.#kinds.follow(call);
    return lines.includes('#') ? undefined : lines;
  }

  #emit(call: RecordedCall): string[] | undefined {
    switch (call.call) {
      case 'ioctl':
        return this.#ioctl(call);
      case 'adopt':
      case 'view':
        return [];
      case 'vcpuAttach':
        return this.#attach(call);
      case 'vcpuDetach':
        return this.#detach(call);
      case 'vcpuRun':
        return this.run(call, false);
      default:
        return this.#plain(call);
    }
  }

  /** What the host wrote through views. */
  writes({ n, writes }: RecordedCall): string[] {
    if (writes.length > 0) this.helpers.add('copy');
    return writes.flatMap(([hva, bytes], i) => {
      const { declare, fill } = this.#buffer(`view_${n}_${i}`, bytes);
      return block([...declare, ...fill, `copy_in(${this.names.hva(hva)}, view_${n}_${i}, ${bytes.length});`]);
    });
  }

  #buffer(name: string, bytes: Uint8Array, code?: readonly string[]): ReturnType<typeof buffer> {
    const made = buffer(name, bytes, code);
    if (made.fill.some((line) => line.startsWith('words('))) this.helpers.add('words');
    return made;
  }

  #named(set: string, value: number): string {
    const names = allNameSets().find(({ name }) => name === set);
    return this.structs.named(BigInt(value < 0 ? value : value >>> 0), names);
  }

  /** An argument as an expression. */
  #arg(call: RecordedCall, index: number, role: Role): string {
    const value = call.args[index];
    switch (role.kind) {
      case 'fd':
        return this.names.fd(Number(value));
      case 'hva':
        return this.names.hva(value as number);
      case 'int': {
        const shape = CALLS[call.call as CallName].args[index];
        const number = Number(value ?? 0);
        return typeof shape === 'object' ? this.#named(shape.names, number) : literal(number);
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

  #args(call: RecordedCall): string[] {
    return (TRACED[call.call]?.args ?? []).map(({ role }, index) => this.#arg(call, index, role));
  }

  /** `begin`, the call, its result, what else is compared when the result lets it. */
  #checked(
    call: RecordedCall,
    shown: string,
    expression: string,
    checks: readonly string[],
    kind = 'A_NUMBER',
  ): string[] {
    const lines = [`begin(${call.n}, ${message(shown)});`];
    const compared = `result(${kind}, ${literal(call.result)}, ${expression})`;
    if (checks.length === 0) lines.push(`${compared};`);
    else if (checks.length === 1) lines.push(`if (${compared})`, ...indent(checks));
    else lines.push(`if (${compared}) {`, ...indent(checks), '}');
    return [...lines, 'end();'];
  }

  /** Calls that make a descriptor: the variable, and the function with its arguments. */
  #making(call: RecordedCall, expression: string): string[] {
    const kind = call.call === 'fcntl' ? this.#kinds.of(Number(call.args[0])) : kindOf(call);
    const name = call.result < 0 ? undefined : this.names.newFd(call.result, kind);
    const target = name === undefined ? `sys(${expression})` : `${name} = (int)sys(${expression})`;
    return this.#checked(call, expression, target, [], 'A_DESCRIPTOR');
  }

  #syscall(name: string, x64: number, arm64: number): string {
    this.syscalls.set(name, this.#arch === 'x64' ? x64 : arm64);
    return `SYS_${name}`;
  }

  #plain(call: RecordedCall): string[] | undefined {
    const row = TRACED[call.call];
    if (row === undefined) return undefined;
    const args = this.#args(call);
    const [first = '', second = '', third = ''] = args;
    const made = madeBy(call.call, call.args, false);
    switch (call.call) {
      case 'open':
        return this.#open(call, first, third);
      case 'memfdCreate':
        return this.#making(
          call,
          `syscall(${this.#syscall('memfd_create', 319, 279)}, ${first}, ${this.#with('MFD', call.args[1], MFD.value.MFD_CLOEXEC)})`,
        );
      case 'memfdSecret':
        return this.#making(
          call,
          `syscall(${this.#syscall('memfd_secret', 447, 447)}, ${this.#with('O', call.args[0], O.value.O_CLOEXEC)})`,
        );
      case 'eventfd':
        return this.#making(
          call,
          `syscall(${this.#syscall('eventfd2', 290, 19)}, ${first}, ${this.#with('EFD', call.args[1], EFD.value.EFD_CLOEXEC)})`,
        );
      case 'mmap':
        return this.#mmap(call, args);
      case 'close':
        this.names.closeFd(Number(call.args[0]));
        break;
      case 'fstat':
        return this.#fstat(call, first);
      case 'lseek':
        return this.#lseek(call, args);
      case 'cachestat':
        return this.#cachestat(call, args);
      case 'mincore':
        return this.#out(call, 2, (name) => `mincore(${first}, ${second}, ${name})`, 'all');
      case 'read':
        return this.#out(call, 1, (name, size) => `read(${first}, ${name}, ${size})`, 'result');
      case 'pread':
        return this.#out(call, 1, (name, size) => `pread(${first}, ${name}, ${size}, ${third})`, 'result');
      case 'write':
        return this.#in(call, (name, size) => `sys(write(${first}, ${name}, ${size}))`, []);
      case 'pwrite':
        return this.#in(call, (name, size) => `sys(pwrite(${first}, ${name}, ${size}, ${third}))`, []);
      case 'copyOut':
      case 'copyIn':
      case 'compare':
      case 'fill':
        return this.#copy(call, args);
      default:
        break;
    }
    if (made === 'fd') return this.#making(call, `${String(row.c)}(${args.join(', ')})`);
    if (row.c === undefined) return undefined;
    const expression =
      typeof row.c === 'string'
        ? `${row.c}(${args.join(', ')})`
        : `syscall(${[this.#syscall(row.c.name, row.c.x64, row.c.arm64), ...args].join(', ')})`;
    return this.#checked(call, expression, `sys(${expression})`, []);
  }

  #with(set: string, flags: RecordedValue, more: number): string {
    return this.#named(set, Number(flags ?? 0) | more);
  }

  #open(call: RecordedCall, path: string, mode: string): string[] | undefined {
    const flags = Number(call.args[1]) | O.value.O_CLOEXEC;
    const writes = (flags & (O.value.O_CREAT | O.value.O_TRUNC)) !== 0;
    const isDevice = String(call.args[0]).startsWith('/dev/');
    // Whoever runs the program must not lose a file by it.
    if (writes || (!isDevice && (flags & (O.value.O_WRONLY | O.value.O_RDWR)) !== 0)) return undefined;
    return this.#making(call, `open(${path}, ${this.#named('O', flags)}, ${mode})`);
  }

  #mmap(call: RecordedCall, args: readonly string[]): string[] {
    const expression = `mmap(${args.join(', ')})`;
    const lines = this.#checked(call, expression, 'at', [], 'AN_ADDRESS');
    const name = call.result < 0 ? undefined : this.names.newRange(call.result, Number(call.args[1]));
    const target = name === undefined ? 'char *' : `${name} = `;
    const variable = name ?? 'mapped';
    const [begin = '', ...rest] = lines;
    const made = name === undefined ? `${target}mapped = ${expression};` : `${target}${expression};`;
    const answer = `${variable} == MAP_FAILED ? -errno : (long long)(uintptr_t)${variable}`;
    return [begin, ...block([made, ...rest.map((line) => line.replace(', at)', `, ${answer})`))])];
  }

  #words(call: RecordedCall, index: number): bigint[] {
    const bytes = call.out.get(index) ?? new Uint8Array();
    const view = viewOf(bytes);
    return Array.from({ length: Math.floor(bytes.length / 8) }, (_, i) => view.getBigInt64(i * 8, true));
  }

  #fstat(call: RecordedCall, fd: string): string[] {
    const words = this.#words(call, 1);
    const word = (name: string, index: number, got: string): string =>
      `word(${quote(name)}, ${literal(BigInt.asUintN(64, words[index] ?? 0n))}, (unsigned long long)${got});`;
    const checks = [
      word('st_mode', STAT.mode, 'st.st_mode'),
      word('st_nlink', STAT.nlink, 'st.st_nlink'),
      word('st_size', STAT.size, 'st.st_size'),
      word('st_blksize', STAT.blksize, 'st.st_blksize'),
      word('st_blocks', STAT.blocks, 'st.st_blocks'),
      word('f_type', STAT.fsType, 'fs.f_type'),
    ];
    const answer = `fstat(${fd}, &st) == 0 ? sys(fstatfs(${fd}, &fs)) : -errno`;
    return block([
      'struct stat st;',
      'struct statfs fs;',
      '',
      ...this.#checked(call, `fstat(${fd})`, answer, call.result < 0 ? [] : checks),
    ]);
  }

  #lseek(call: RecordedCall, [fd = '', offset = '', whence = '']: readonly string[]): string[] {
    const expression = `lseek(${fd}, ${offset}, ${whence})`;
    const want = call.result < 0 ? call.result : (this.#words(call, 3)[0] ?? 0n);
    return [
      `begin(${call.n}, ${message(expression)});`,
      `result(A_NUMBER, ${literal(want)}, sys(${expression}));`,
      'end();',
    ];
  }

  #cachestat(call: RecordedCall, [fd = '', offset = '', length = '']: readonly string[]): string[] {
    const words = this.#words(call, 3);
    const checks = Object.entries(CACHESTAT).map(
      ([name, index]) =>
        `word(${quote(name)}, ${literal(BigInt.asUintN(64, words[index] ?? 0n))}, got_pages[${index}]);`,
    );
    const number = this.#syscall('cachestat', 451, 451);
    return block([
      `uint64_t range[2] = { ${offset}, ${length} }, got_pages[5] = { 0 };`,
      '',
      ...this.#checked(
        call,
        `cachestat(${fd}, ${offset}, ${length})`,
        `sys(syscall(${number}, ${fd}, range, got_pages, 0))`,
        call.result < 0 ? [] : checks,
      ),
    ]);
  }

  /** A call that fills a buffer. */
  #out(
    call: RecordedCall,
    index: number,
    expression: (name: string, size: number) => string,
    upTo: 'all' | 'result',
  ): string[] {
    const given = call.args[index];
    const size = given instanceof Uint8Array ? given.length : 0;
    const want = call.out.get(index) ?? new Uint8Array();
    const length = call.result < 0 ? 0 : upTo === 'all' ? want.length : Math.min(want.length, call.result);
    const text = expression('bytes', size);
    const { declare, fill } = this.#buffer('want', want.subarray(0, length));
    const check = [...fill, `bytes("bytes", want, got_bytes, ${length});`];
    return block([
      `static unsigned char got_bytes[${Math.max(size, 1)}];`,
      ...(length === 0 ? [] : declare),
      '',
      ...this.#checked(call, text, `sys(${expression('got_bytes', size)})`, length === 0 ? [] : check),
    ]);
  }

  #in(call: RecordedCall, expression: (name: string, size: number) => string, checks: readonly string[]): string[] {
    const bytes = call.args[1] instanceof Uint8Array ? call.args[1] : new Uint8Array();
    const hint = this.#code.get(call);
    const { declare, fill } = this.#buffer('data', bytes, hint === undefined ? undefined : codeLines(bytes, hint));
    const shown = expression('data', bytes.length).replace(/^sys\((.*)\)$/, '$1');
    return block([...declare, '', ...fill, ...this.#checked(call, shown, expression('data', bytes.length), checks)]);
  }

  /** Where an access stopped, and why. */
  #faulted(call: RecordedCall, index: number): string[] {
    const words = this.#words(call, index);
    if (words.length === 0) return [];
    const [signal, code, address] = [words[FAULT.signal], words[FAULT.code], words[FAULT.address]];
    if (signal === undefined || signal === 0n) return ['faulted(0, 0, NULL);'];
    const name = signal === 7n ? 'SIGBUS' : signal === 11n ? 'SIGSEGV' : String(signal);
    return [`faulted(${name}, ${literal(code ?? 0n)}, ${this.names.hva(BigInt.asUintN(64, address ?? 0n))});`];
  }

  #copy(call: RecordedCall, [at = '', length = '', byte = '']: readonly string[]): string[] {
    this.helpers.add(call.call === 'fill' ? 'fill' : call.call === 'compare' ? 'compare' : 'copy');
    if (call.call === 'fill') {
      const expression = `fill(${at}, ${length}, ${byte})`;
      return withFault(this.#checked(call, expression, expression, []), this.#faulted(call, 3));
    }
    const faulted = this.#faulted(call, 2);
    if (call.call === 'copyOut') {
      const given = call.args[1];
      const size = given instanceof Uint8Array ? given.length : 0;
      const want = (call.out.get(1) ?? new Uint8Array()).subarray(0, call.result);
      const { declare, fill } = this.#buffer('want', want);
      return block([
        `static unsigned char got_bytes[${Math.max(size, 1)}];`,
        ...(want.length === 0 ? [] : declare),
        '',
        ...(want.length === 0 ? [] : fill),
        ...withFault(
          this.#checked(
            call,
            `copy_out(${at}, bytes, ${size})`,
            `copy_out(${at}, got_bytes, ${size})`,
            want.length === 0 ? [] : [`bytes("bytes", want, got_bytes, ${want.length});`],
          ),
          faulted,
        ),
      ]);
    }
    const name = call.call === 'copyIn' ? 'copy_in' : 'compare';
    const lines = this.#in(call, (data, size) => `${name}(${at}, ${data}, ${size})`, []);
    return faulted.length === 0 ? lines : [...lines.slice(0, -2), ...indent(faulted), ...lines.slice(-2)];
  }

  #request(call: RecordedCall, ioctl: Ioctl | undefined): string {
    const number = Number(call.args[1]);
    const name = ioctl?.name ?? `REQUEST_${number.toString(16)}`;
    this.requests.set(
      name,
      `${hex(number)} // ${describeRequest(number)}${ioctl === undefined ? '' : `, since ${ioctl.since}`}`,
    );
    return name;
  }

  #ioctl(call: RecordedCall): string[] {
    const ioctl = this.#kinds.ioctl(call);
    const fd = this.names.fd(Number(call.args[0]));
    const request = this.#request(call, ioctl);
    const arg = call.args[2];
    const makes = ioctl?.makes !== undefined && ioctl.makesField === undefined;
    const answer = (passed: string): string => `sys(ioctl(${fd}, ${request}, ${passed}))`;
    const kind = makes ? 'A_DESCRIPTOR' : 'A_NUMBER';
    if (!(arg instanceof Uint8Array)) {
      const names = ioctl?.arg.kind === 'value' ? ioctl.arg.names : undefined;
      const hasStruct = ((Number(call.args[1]) >>> 16) & 0x3fff) !== 0;
      const value = hasStruct ? this.names.address(arg as number) : this.structs.named(BigInt(arg as number), names);
      const target = makes && call.result >= 0 ? `${this.names.newFd(call.result, ioctl?.makes)} = (int)` : '';
      return this.#checked(call, `ioctl(${fd}, ${request}, ${value})`, `${target}${answer(value)}`, [], kind);
    }
    return block(this.#structIoctl(call, ioctl, arg, `ioctl(${fd}, ${request}, &arg)`, answer, kind));
  }

  #structIoctl(
    call: RecordedCall,
    ioctl: Ioctl | undefined,
    arg: Uint8Array,
    shown: string,
    answer: (passed: string) => string,
    kind: string,
  ): string[] {
    const patches = (call.args[4] ?? []) as readonly RecordedPointer[];
    const expressions = new Map<number, string>();
    const view = viewOf(arg);
    for (const { offset, size, what, made } of placesOf(ioctl, arg)) {
      if (what === 'hva') expressions.set(offset, this.names.address(view.getBigUint64(offset, true)));
      else if (made) expressions.set(offset, '-1');
      else {
        const fd = size === 4 ? view.getInt32(offset, true) : Number(view.getBigUint64(offset, true));
        // What no call made is not looked at, as a rule: 0 says so.
        expressions.set(offset, fd === 0 ? '0' : this.names.fd(fd));
      }
    }
    const before: string[] = [];
    const declared: string[] = [];
    const checks: string[] = [];
    patches.forEach(([offset, bytes], i) => {
      const { declare, fill } = this.#buffer(`pointed_${i}`, bytes);
      declared.push(...declare);
      before.push(...fill);
      expressions.set(offset, `(uintptr_t)pointed_${i}`);
      const after = call.pointed[i];
      if (after === undefined || Buffer.compare(after, bytes) === 0) return;
      const want = this.#buffer(`want_${i}`, after);
      declared.push(...want.declare);
      before.push(...want.fill);
      checks.push(`bytes("buffer ${i}", want_${i}, pointed_${i}, ${after.length});`);
    });
    const want = call.out.get(2);
    const struct = this.#struct('arg', '', ioctl, arg, expressions);
    if (want !== undefined && ioctl?.travels !== 'in') checks.push(...this.#wanted(ioctl, want, declared, before));
    const made = kind === 'A_DESCRIPTOR' && call.result >= 0 ? this.names.newFd(call.result, ioctl?.makes) : undefined;
    const target = made === undefined ? '' : `${made} = (int)`;
    const lines = [
      ...declared,
      ...struct,
      '',
      ...before,
      ...this.#checked(call, shown, `${target}${answer('&arg')}`, checks, kind),
    ];
    return [...lines, ...this.#madeInField(ioctl, want)];
  }

  #madeInField(ioctl: Ioctl | undefined, want: Uint8Array | undefined): string[] {
    if (want === undefined) return [];
    const place = placesOf(ioctl, want).find(({ made }) => made);
    const fd = place === undefined ? -1 : viewOf(want).getInt32(place.offset, true);
    if (place === undefined || fd < 0) return [];
    return [`memcpy(&${this.names.newFd(fd, 'device')}, (char *)&arg + ${place.offset}, sizeof(int));`];
  }

  /** The declaration of `name` with these bytes: a struct where its layout is known, bytes otherwise. */
  #struct(
    name: string,
    qualifier: string,
    ioctl: Ioctl | undefined,
    bytes: Uint8Array,
    expressions: ReadonlyMap<number, string>,
  ): string[] {
    const layout = ioctl?.arg.kind === 'struct' ? ioctl.arg.layout : undefined;
    const typed = layout === undefined ? undefined : this.#typed(name, qualifier, layout, bytes, expressions);
    if (typed !== undefined) return typed;
    const list = [...bytes].map((byte) => hex(byte)).join(', ');
    const lines = [
      `${qualifier}union { unsigned char bytes[${bytes.length}]; uint64_t align; } ${name} = { { ${list} } };`,
    ];
    let i = 0;
    for (const [offset, expression] of expressions) {
      lines.push(`uint64_t value_${i} = ${expression};`, `memcpy(${name}.bytes + ${offset}, &value_${i}, 8);`);
      i++;
    }
    return lines;
  }

  #typed(
    name: string,
    qualifier: string,
    layout: Layout,
    bytes: Uint8Array,
    expressions: ReadonlyMap<number, string>,
  ): string[] | undefined {
    if (bytes.length < layout.size || !this.structs.declare(layout)) return undefined;
    const head = this.structs.initialiser(layout, bytes, expressions);
    if (head === undefined) return undefined;
    const type = this.structs.type(layout);
    if (bytes.length === layout.size) return joined(`${qualifier}${type} ${name} = `, head, ';');
    const { flexible } = layout;
    const element = flexible?.element as Layout | undefined;
    const count = element === undefined ? 0 : (bytes.length - layout.size) / element.size;
    if (flexible === undefined || element === undefined || !('fields' in element) || !Number.isInteger(count))
      return undefined;
    if (!this.structs.declare(element)) return undefined;
    const items: string[] = [];
    for (let i = 0; i < count; i++) {
      const item = this.structs.initialiser(element, bytes, expressions, layout.size + i * element.size);
      if (item === undefined) return undefined;
      items.push(...indent(joined('', item, ',')));
    }
    return [
      `${qualifier}struct { ${type} head; ${this.structs.type(element)} ${flexible.name}[${count}]; } ${name} = {`,
      ...indent(joined('.head = ', head, ',')),
      `\t.${flexible.name} = {`,
      ...indent(items),
      '\t},',
      '};',
    ];
  }

  /** What the struct must hold afterwards. */
  #wanted(ioctl: Ioctl | undefined, want: Uint8Array, declared: string[], before: string[]): string[] {
    const layout = ioctl?.arg.kind === 'struct' ? ioctl.arg.layout : undefined;
    const blank = want.slice();
    for (const { offset, size } of placesOf(ioctl, want)) blank.fill(0, offset, offset + size);
    const typed = layout === undefined ? undefined : this.#typed('want', 'static const ', layout, blank, new Map());
    if (layout === undefined || typed === undefined || ioctl === undefined) {
      const { declare, fill } = this.#buffer('want', want);
      declared.push(...declare);
      before.push(...fill);
      return [`bytes("argument", want, &arg, ${want.length});`];
    }
    declared.push(...typed);
    this.helpers.add('fields');
    const skipped = new Set(placesOf(ioctl, want).map(({ path }) => path));
    const table = this.#table(`${ioctl.name.toLowerCase()}_fields`, layout, ioctl.name, skipped);
    const isWhole = want.length === layout.size;
    const of = (whole: string): string => (isWhole ? `&${whole}` : `&${whole}.head`);
    const size = (name: string): string => `sizeof ${name} / sizeof ${name}[0]`;
    const checks = [`fields("", ${table}, ${size(table)}, ${of('want')}, ${of('arg')});`];
    const element = layout.flexible?.element as Layout | undefined;
    if (!isWhole && element !== undefined && layout.flexible !== undefined) {
      const items = this.#table(`${ioctl.name.toLowerCase()}_element_fields`, element, ioctl.name, new Set());
      const { name } = layout.flexible;
      const count = (want.length - layout.size) / element.size;
      checks.push(
        `for (size_t i = 0; i < ${count}; i++)`,
        `\tfields("${name}.", ${items}, ${size(items)}, &want.${name}[i], &arg.${name}[i]);`,
      );
    }
    return checks;
  }

  #table(name: string, layout: Layout, request: string, skipped: ReadonlySet<string>): string {
    const fields = this.structs
      .fields(layout)
      .filter(
        ({ path }) => !/(^|\.)(pad|reserved)/.test(path) && !skipped.has(path) && !changesWithTime(request, path),
      );
    this.tables.set(name, [
      `static const struct field ${name}[] = {`,
      ...fields.map(({ path, offset, size }) => `\t{ "${path}", ${offset}, ${size} },`),
      '};',
    ]);
    return name;
  }

  #attach(call: RecordedCall): string[] {
    if (call.result < 0) return [];
    this.helpers.add('run');
    const name = this.names.newVcpu(call.result);
    return [
      `${name}.fd = ${this.names.fd(Number(call.args[0]))};`,
      `${name}.page = (void *)(${this.names.hva(call.args[1] as number)});`,
    ];
  }

  #detach(call: RecordedCall): string[] {
    const name = this.names.vcpu(Number(call.args[0]));
    if (name === undefined || call.result < 0) return [];
    const stop = this.helpers.has('threads')
      ? [`if (${name}.running) {`, `\tkick(&${name});`, `\tfinish(&${name}, 0);`, '}']
      : [];
    return [...stop, `${name}.page = NULL;`];
  }

  limitOf({ micros }: RecordedCall): number {
    return Math.min(Math.max(LEAST_LIMIT_MS, Math.ceil((micros / 1000) * 20)), 3_600_000);
  }

  /** A run, or the end of one that `start` began. */
  run(call: RecordedCall, threaded: boolean): string[] {
    const name = this.names.vcpu(Number(call.args[0]));
    if (name === undefined) return ['// no such vCPU'];
    this.helpers.add(threaded ? 'threads' : 'run');
    const timeout = call.call === 'vcpuRun' ? Number(call.args[1]) : 0;
    const limit = timeout > 0 ? timeout : this.limitOf(call);
    const answer = threaded ? `finish(&${name}, ${limit})` : `run(&${name}, ${limit})`;
    return this.#checked(call, `ioctl(${this.#vcpuFd(name)}, KVM_RUN, 0)`, answer, this.#exit(call, name));
  }

  #vcpuFd(name: string): string {
    return `${name}.fd`;
  }

  begin(call: RecordedCall): string[] {
    const name = this.names.vcpu(Number(call.args[0]));
    if (name === undefined) return ['// no such vCPU'];
    this.helpers.add('threads');
    return [...this.writes(call), `start(&${name});`];
  }

  kick(call: RecordedCall, during: RecordedCall | undefined): string[] {
    const name = this.names.vcpu(Number(call.args[0]));
    if (name === undefined) return ['// no such vCPU'];
    const EINTR = 4;
    const lines = [`kick(&${name});`];
    if (during === undefined) return lines;
    const delay = Math.min(5_000_000, Math.max(0, Math.round(call.at - during.at)));
    return during.result === -EINTR
      ? [`usleep(${delay}); // as long as the run took before it was kicked`, ...lines]
      : [`finish(&${name}, ${this.limitOf(during)});`, ...lines];
  }

  /** The exit, from struct kvm_run. */
  #exit(call: RecordedCall, name: string): string[] {
    const { exit } = call;
    if (exit === undefined) return [];
    const { page } = exit;
    const view = viewOf(page);
    const reason = view.getUint32(kvm_run.offsets.exit_reason, true);
    const is = (path: string, offset: number, size: number, want: string): string =>
      `exit_is(&${name}, "${path}", ${offset}, ${size}, ${want});`;
    const lines = [is('exit_reason', kvm_run.offsets.exit_reason, 4, this.structs.named(BigInt(reason), KVM_EXIT))];
    for (const path of ['if_flag', 'flags', 'cr8', 'apic_base'] as const) {
      const { size } = kvm_run.fields[path];
      const offset = kvm_run.offsets[path];
      lines.push(is(path, offset, size, literal(wordAt(page, offset, size))));
    }
    const layout = exitPayload(reason);
    if (layout !== undefined) lines.push(...this.#payload(name, layout, page, is));
    const direction = page[KVM_RUN_EXIT_OFFSET + kvm_run_io.offsets.direction];
    if (reason === KVM_EXIT.value.KVM_EXIT_IO && direction === 1 && exit.data !== undefined && exit.data.length > 0) {
      const at = Number(wordAt(page, KVM_RUN_EXIT_OFFSET + kvm_run_io.offsets.data_offset, 8));
      lines.push(exitBytes(name, 'data', at, exit.data));
    }
    return lines;
  }

  #payload(
    name: string,
    layout: Layout,
    page: Uint8Array,
    is: (path: string, offset: number, size: number, want: string) => string,
  ): string[] {
    const payload = viewOf(page.subarray(KVM_RUN_EXIT_OFFSET));
    const limits = new Map<Layout, number>([
      [kvm_run_internal as Layout, payload.getUint32(kvm_run_internal.offsets.ndata, true)],
      [kvm_run_system_event as Layout, payload.getUint32(kvm_run_system_event.offsets.ndata, true)],
    ]);
    return [...leavesOf(layout)].flatMap(({ path, offset, field }) => {
      const at = KVM_RUN_EXIT_OFFSET + offset;
      const index = Number(/^data\[(\d+)\]$/.exec(path)?.[1] ?? -1);
      const limit = limits.get(layout);
      if ((limit !== undefined && index >= limit) || /(^|\.)pad/.test(path)) return [];
      if (layout === (kvm_run_mmio as Layout) && path === 'data') {
        const length = Math.min(8, payload.getUint32(kvm_run_mmio.offsets.len, true));
        return length === 0 ? [] : [exitBytes(name, path, at, page.subarray(at, at + length))];
      }
      if (field.size > 8) return [exitBytes(name, path, at, page.subarray(at, at + field.size))];
      return [is(path, at, field.size, this.structs.named(wordAt(page, at, field.size), field.names))];
    });
  }
}

const exitBytes = (name: string, path: string, offset: number, bytes: Uint8Array): string =>
  `exit_bytes(&${name}, "${path}", ${offset}, ${bytes.length}, (const unsigned char[]){ ${[...bytes].map((byte) => hex(byte)).join(', ')} });`;

function wordAt(bytes: Uint8Array, offset: number, size: number): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[offset + i] ?? 0);
  return value;
}

function kindOf(call: RecordedCall): string | undefined {
  if (call.call === 'open') return call.args[0] === '/dev/kvm' ? 'kvm' : 'fd';
  return { memfdCreate: 'memfd', memfdSecret: 'secret', eventfd: 'event' }[call.call];
}

const block = (lines: readonly string[]): string[] => {
  const tidy = lines[0] === '' ? lines.slice(1) : lines;
  return ['{', ...indent(tidy), '}'];
};

function joined(head: string, lines: readonly string[], tail: string): string[] {
  const [first = '', ...rest] = lines;
  if (rest.length === 0) return [`${head}${first}${tail}`];
  return [`${head}${first}`, ...rest.slice(0, -1), `${rest.at(-1) ?? ''}${tail}`];
}

/** The fault of an access belongs before its `end();`. */
const withFault = (lines: readonly string[], faulted: readonly string[]): string[] => [
  ...lines.slice(0, -1),
  ...faulted,
  ...lines.slice(-1),
];
