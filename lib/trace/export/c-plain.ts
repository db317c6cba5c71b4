/** System calls and memory accesses as C. A call that has a function in its row of the table of calls needs nothing here. */
import { CACHESTAT, FAULT, STAT } from '../../kernel/kernel.ts';
import { EFD, MFD, O } from '../../uapi/index.ts';
import { madeBy, TRACED } from '../calls.ts';
import { isInMemory, reopened } from '../kinds.ts';
import type { RecordedCall, RecordedValue } from '../recording.ts';
import { alsoChecked, block, type Context, checked } from './c-context.ts';
import { literal, quote } from './c-text.ts';
import { codeLines } from './code.ts';

/** Undefined: there is no way to write the call. */
type Emit = (context: Context, call: RecordedCall, args: readonly string[]) => string[] | undefined;

const bytesAt = (call: RecordedCall, index: number): Uint8Array => {
  const value = call.args[index];
  return value instanceof Uint8Array ? value : new Uint8Array();
};

/** A call that makes a descriptor, into a variable of its own. */
function making(context: Context, call: RecordedCall, kind: string | undefined, expression: string): string[] {
  const name = call.result < 0 ? undefined : context.names.newFd(call.result, kind);
  const target = name === undefined ? '' : `${name} = (int)`;
  return checked(call, expression, `${target}sys(${expression})`, [], 'A_DESCRIPTOR');
}

/** Descriptors are made close-on-exec, whatever was asked for. */
const withFlag = (context: Context, set: string, flags: RecordedValue, more: number): string =>
  context.named(set, Number(flags ?? 0) | more);

const open: Emit = (context, call, [path = '', , mode = '']) => {
  const { O_CLOEXEC, O_CREAT, O_RDWR, O_TRUNC, O_WRONLY } = O.value;
  const flags = Number(call.args[1]) | O_CLOEXEC;
  const again = reopened(call);
  if (again !== undefined && isInMemory(context.kinds.of(again))) {
    context.helpers.add('path');
    return making(
      context,
      call,
      'fd',
      `open(path_of(${context.names.fd(again)}), ${context.named('O', flags)}, ${mode})`,
    );
  }
  const isDevice = String(call.args[0]).startsWith('/dev/');
  // Whoever runs the program must not lose a file by it.
  if ((flags & (O_CREAT | O_TRUNC)) !== 0 || (!isDevice && (flags & (O_WRONLY | O_RDWR)) !== 0)) return undefined;
  const kind = call.args[0] === '/dev/kvm' ? 'kvm' : 'fd';
  return making(context, call, kind, `open(${path}, ${context.named('O', flags)}, ${mode})`);
};

const memfdCreate: Emit = (context, call, [name = '']) => {
  const flags = withFlag(context, 'MFD', call.args[1], MFD.value.MFD_CLOEXEC);
  return making(context, call, 'memfd', `syscall(${context.syscall('memfd_create', 319, 279)}, ${name}, ${flags})`);
};

const memfdSecret: Emit = (context, call) => {
  const flags = withFlag(context, 'O', call.args[0], O.value.O_CLOEXEC);
  return making(context, call, 'secret', `syscall(${context.syscall('memfd_secret', 447, 447)}, ${flags})`);
};

const eventfd: Emit = (context, call, [initial = '']) => {
  const flags = withFlag(context, 'EFD', call.args[1], EFD.value.EFD_CLOEXEC);
  return making(context, call, 'event', `syscall(${context.syscall('eventfd2', 290, 19)}, ${initial}, ${flags})`);
};

const mmap: Emit = (context, call, args) => {
  const expression = `mmap(${args.join(', ')})`;
  const name = call.result < 0 ? undefined : context.names.newRange(call.result, Number(call.args[1]));
  const variable = name ?? 'mapped';
  const answer = `${variable} == MAP_FAILED ? -errno : (long long)(uintptr_t)${variable}`;
  const lines = checked(call, expression, answer, [], 'AN_ADDRESS');
  if (name === undefined) return block([`char *mapped = ${expression};`], lines);
  return [`${name} = ${expression};`, ...lines];
};

const fstat: Emit = (context, call, [fd = '']) => {
  const words = context.words(call, 1);
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
  return block(
    ['struct stat st;', 'struct statfs fs;'],
    checked(call, `fstat(${fd})`, answer, call.result < 0 ? [] : checks),
  );
};

const lseek: Emit = (context, call, [fd = '', offset = '', whence = '']) => {
  const expression = `lseek(${fd}, ${offset}, ${whence})`;
  // The waist hands the new offset out beside the result.
  const result = call.result < 0 ? call.result : Number(context.words(call, 3)[0] ?? 0n);
  return checked({ ...call, result }, expression, `sys(${expression})`);
};

const cachestat: Emit = (context, call, [fd = '', offset = '', length = '']) => {
  const words = context.words(call, 3);
  const checks = Object.entries(CACHESTAT).map(
    ([name, index]) => `word(${quote(name)}, ${literal(BigInt.asUintN(64, words[index] ?? 0n))}, found[${index}]);`,
  );
  const number = context.syscall('cachestat', 451, 451);
  return block(
    [`uint64_t range[2] = { ${offset}, ${length} }, found[5] = { 0 };`],
    checked(
      call,
      `cachestat(${fd}, ${offset}, ${length})`,
      `sys(syscall(${number}, ${fd}, range, found, 0))`,
      call.result < 0 ? [] : checks,
    ),
  );
};

/** The memory that a buffer of the call aliases. */
function aliasOf(context: Context, call: RecordedCall, index: number): string | undefined {
  const hva = call.mapped.get(index);
  return hva === undefined ? undefined : context.names.hva(hva);
}

/** A call that fills the buffer at `index`; `expression` has BUFFER where it goes. */
function filling(context: Context, call: RecordedCall, index: number, expression: string, isSyscall = true): string[] {
  const size = bytesAt(call, index).length;
  const upTo = call.call === 'mincore' ? size : call.result;
  const want = (call.out.get(index) ?? new Uint8Array()).subarray(0, Math.max(0, upTo));
  const alias = aliasOf(context, call, index);
  const found = alias ?? 'found';
  const declared = alias === undefined ? [`static unsigned char found[${Math.max(size, 1)}];`] : [];
  const checks: string[] = [];
  if (want.length > 0 && call.result >= 0) {
    const { declare, fill } = context.buffer('want', want);
    declared.push(...declare);
    checks.push(...fill, `bytes("bytes", want, ${found}, ${want.length});`);
  }
  const made = expression.replace('BUFFER', found);
  const shown = expression.replace('BUFFER', alias ?? `<${size} bytes>`);
  return block(declared, checked(call, shown, isSyscall ? `sys(${made})` : made, checks));
}

/** A call that takes the buffer in its second argument. */
function taking(context: Context, call: RecordedCall, expression: string, isSyscall = true): string[] {
  const bytes = bytesAt(call, 1);
  const alias = aliasOf(context, call, 1);
  if (alias !== undefined) {
    const expressed = expression.replace('BUFFER', alias);
    return alsoChecked(checked(call, expressed, isSyscall ? `sys(${expressed})` : expressed), faulted(context, call));
  }
  const hint = context.code.get(call);
  const { declare, fill } = context.buffer('data', bytes, hint === undefined ? undefined : codeLines(bytes, hint));
  const made = expression.replace('BUFFER', 'data');
  const shown = expression.replace('BUFFER', `<${bytes.length} bytes>`);
  const lines = checked(call, shown, isSyscall ? `sys(${made})` : made);
  return block(declare, [...fill, ...lines.slice(0, -1), ...faulted(context, call), ...lines.slice(-1)]);
}

/** Where an access stopped, and why. */
function faulted(context: Context, call: RecordedCall): string[] {
  const index = TRACED[call.call]?.args.findIndex(({ role }) => role.kind === 'words' && role.isFault) ?? -1;
  const words = context.words(call, index);
  if (words.length === 0) return [];
  const [signal = 0n, code = 0n, address = 0n] = [words[FAULT.signal], words[FAULT.code], words[FAULT.address]];
  if (signal === 0n) return ['faulted(0, 0, NULL);'];
  const SIGBUS = 7n;
  const SIGSEGV = 11n;
  const name = signal === SIGBUS ? 'SIGBUS' : signal === SIGSEGV ? 'SIGSEGV' : literal(signal);
  return [`faulted(${name}, ${literal(code)}, ${context.names.hva(BigInt.asUintN(64, address))});`];
}

const sizeOf = (call: RecordedCall): number => bytesAt(call, 1).length;

const iovec = (address: string, length: number | string): string =>
  `&(struct iovec){ (void *)(${address}), ${length} }`;

/** Two descriptors at once, each into a variable of its own. */
const pipe: Emit = (context, call) => {
  const [made] = [...call.out.values()];
  const expression = `pipe2(ends, ${withFlag(context, 'O', call.args[0], O.value.O_CLOEXEC)})`;
  const lines = checked(call, expression, `sys(${expression})`);
  if (call.result < 0 || made === undefined) return block(['int ends[2];'], lines);
  const view = new DataView(made.buffer, made.byteOffset);
  const ends = [0, 1].map((i) => `${context.names.newFd(Number(view.getBigInt64(i * 8, true)), 'end')} = ends[${i}];`);
  return block(['int ends[2];'], [...lines, ...ends]);
};

const SPECIAL: Readonly<Record<string, Emit>> = {
  open,
  memfdCreate,
  memfdSecret,
  eventfd,
  mmap,
  fstat,
  lseek,
  cachestat,
  // What this process knows of its own: no system call, nothing to compare.
  adopt: () => [],
  view: () => [],
  pipe,
  vmsplice: (_, call, [fd = '', at = '', length = '', flags = '']) => {
    const expression = `vmsplice(${fd}, ${iovec(at, length)}, 1, ${flags})`;
    return checked(call, expression, `sys(${expression})`);
  },
  processVmReadv: (context, call, [at = '']) => {
    const length = sizeOf(call);
    const local = iovec('BUFFER', length);
    return filling(context, call, 1, `process_vm_readv(getpid(), ${local}, 1, ${iovec(at, length)}, 1, 0)`);
  },
  processVmWritev: (context, call, [at = '']) => {
    const length = sizeOf(call);
    const local = iovec('BUFFER', length);
    return taking(context, call, `process_vm_writev(getpid(), ${local}, 1, ${iovec(at, length)}, 1, 0)`);
  },
  mincore: (context, call, [at = '', length = '']) => filling(context, call, 2, `mincore(${at}, ${length}, BUFFER)`),
  read: (context, call, [fd = '']) => filling(context, call, 1, `read(${fd}, BUFFER, ${sizeOf(call)})`),
  pread: (context, call, [fd = '', , offset = '']) =>
    filling(context, call, 1, `pread(${fd}, BUFFER, ${sizeOf(call)}, ${offset})`),
  write: (context, call, [fd = '']) => taking(context, call, `write(${fd}, BUFFER, ${sizeOf(call)})`),
  pwrite: (context, call, [fd = '', , offset = '']) =>
    taking(context, call, `pwrite(${fd}, BUFFER, ${sizeOf(call)}, ${offset})`),
  copyOut: (context, call, [at = '']) => {
    context.helpers.add('copy');
    const lines = filling(context, call, 1, `copy_out(${at}, BUFFER, ${sizeOf(call)})`, false);
    const isBlock = lines.at(-1) === '}';
    const more = faulted(context, call).map((line) => (isBlock ? `\t${line}` : line));
    const end = isBlock ? -2 : -1;
    return [...lines.slice(0, end), ...more, ...lines.slice(end)];
  },
  copyIn: (context, call, [at = '']) => {
    context.helpers.add('copy');
    return taking(context, call, `copy_in(${at}, BUFFER, ${sizeOf(call)})`, false);
  },
  compare: (context, call, [at = '']) => {
    context.helpers.add('compare');
    return taking(context, call, `compare(${at}, BUFFER, ${sizeOf(call)})`, false);
  },
  fill: (context, call, [at = '', length = '', byte = '']) => {
    context.helpers.add('fill');
    const expression = `fill(${at}, ${length}, ${byte})`;
    return alsoChecked(checked(call, expression, expression), faulted(context, call));
  },
};

/** Any call but ioctl and those of vCPUs. Undefined when there is no way to write it. */
export function emitPlain(context: Context, call: RecordedCall): string[] | undefined {
  const row = TRACED[call.call];
  if (row === undefined) return undefined;
  const args = context.args(call);
  const special = SPECIAL[call.call];
  if (special !== undefined) return special(context, call, args);
  if (row.c === undefined) return undefined;
  const expression =
    typeof row.c === 'string'
      ? `${row.c}(${args.join(', ')})`
      : `syscall(${[context.syscall(row.c.name, row.c.x64, row.c.arm64), ...args].join(', ')})`;
  if (call.call === 'close') context.names.closeFd(Number(call.args[0]));
  if (madeBy(call.call, call.args, undefined) !== 'fd') return checked(call, expression, `sys(${expression})`);
  return making(context, call, context.kinds.of(Number(call.args[0])), expression);
}

/** What the host wrote through views before the call. */
export function emitWrites(context: Context, { n, writes }: RecordedCall): string[] {
  if (writes.length > 0) context.helpers.add('copy');
  return writes.flatMap(([hva, bytes], i) => {
    const name = `view_${n}_${i}`;
    const { declare, fill } = context.buffer(name, bytes);
    return block(declare, [...fill, `copy_in(${context.names.hva(hva)}, ${name}, ${bytes.length});`]);
  });
}
