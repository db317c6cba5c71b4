/** Asks a C compiler for the values of expressions against given headers. Nothing is run: the values are read from its assembly. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const HEADERS = [
  'linux/types.h',
  'linux/ioctl.h',
  'linux/kvm.h',
  'linux/kvm_para.h',
  'linux/psci.h',
  'linux/psp-sev.h',
  'linux/memfd.h',
  'linux/falloc.h',
  'linux/fcntl.h',
  'linux/fs.h',
  'linux/mman.h',
  'linux/magic.h',
  'linux/eventfd.h',
  'linux/fadvise.h',
  'linux/mempolicy.h',
  'linux/poll.h',
  'asm/stat.h',
  'asm/statfs.h',
  'asm/unistd.h',
  'asm/ptrace.h',
];

/** Constants of errno.h, which the hypercall results are defined with. */
const ERRNO = 'asm-generic/errno.h';

const CROSS = { x86: 'x86_64-linux-gnu-gcc', arm64: 'aarch64-linux-gnu-gcc' };
const MACHINE = { x86: /^(x86_64|amd64)/, arm64: /^(aarch64|arm64)/ };

/** Errors that mean: these headers do not have it. Any other error means that the probe is wrong. */
const ABSENT =
  /undeclared|has no member named|incomplete type|undefined type|no member named|unknown type name|implicit declaration|call to undeclared/;

const errorsOf = (text) =>
  text
    .split('\n')
    .filter((line) => /error:/.test(line))
    .slice(0, 5)
    .join('\n') || text.slice(0, 500);

function works(command) {
  const result = spawnSync(command, ['-dumpmachine'], { encoding: 'utf8' });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

/**
 * The compiler for an architecture: the cross compiler if there is one, else the system's. The structs of both architectures have
 * the same rules of alignment, so any compiler for 64-bit little-endian machines will do.
 */
export function findCompiler(arch) {
  for (const command of [process.env.CC, 'cc', 'gcc', 'clang'].filter(Boolean)) {
    const machine = works(command);
    if (machine !== undefined && MACHINE[arch].test(machine)) return { command, machine };
  }
  const cross = works(CROSS[arch]);
  if (cross !== undefined) return { command: CROSS[arch], machine: cross };
  for (const command of [process.env.CC, 'cc', 'gcc', 'clang'].filter(Boolean)) {
    const machine = works(command);
    if (machine !== undefined && /64/.test(machine)) return { command, machine };
  }
  return undefined;
}

function prelude(options) {
  const lines = options.defines.map((define) => `#define ${define}`);
  lines.push('#define offsetof(type, member) __builtin_offsetof(type, member)');
  for (const header of [...HEADERS, ERRNO])
    lines.push(`#if __has_include(<${header}>)`, `#include <${header}>`, '#endif');
  return lines;
}

function compile(compiler, options, file, extra) {
  const clang = spawnSync(compiler.command, ['--version'], { encoding: 'utf8' }).stdout.includes('clang');
  const args = ['-nostdinc', ...options.include.flatMap((dir) => ['-I', dir])];
  // Errors inside a macro of a header must be reported at the line of the probe that uses it.
  if (clang) args.push('-fno-integrated-as', '-ferror-limit=0');
  else args.push('-ftrack-macro-expansion=0');
  args.push('-std=gnu11', '-Werror=implicit-function-declaration', ...extra, '-o', '-', file);
  const result = spawnSync(compiler.command, args, {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (result.error) throw result.error;
  return result;
}

/**
 * @param facts objects with an expression `c`
 * @param options `include`: directories; `defines`: macros to define first; `work`: a directory for the probe
 * @returns for each fact its value as a bigint, or undefined when the headers lack it
 */
export function evaluate(compiler, facts, options) {
  const head = prelude(options);
  const file = join(options.work, 'probe.c');
  const left = new Set(facts.keys());
  const values = new Array(facts.length).fill(undefined);
  for (let round = 0; round < 10; round++) {
    const order = [...left];
    const body = order.map(
      (i) => `void f${i}(void){__asm__ volatile("\\n@FACT ${i} %0" :: "i"((long long)(${facts[i].c})));}`,
    );
    writeFileSync(file, `${[...head, ...body].join('\n')}\n`);
    const result = compile(compiler, options, file, ['-O1', '-S']);
    if (result.status === 0) {
      for (const [, index, value] of result.stdout.matchAll(/^@FACT (\d+) [$#]?(-?\d+)/gm)) {
        values[Number(index)] = BigInt.asUintN(64, BigInt(value));
      }
      const unread = order.find((i) => values[i] === undefined);
      if (unread !== undefined) throw new Error(`the compiler gave no value for ${facts[unread].c}`);
      return values;
    }
    let dropped = 0;
    for (const [text, line, message] of result.stderr.matchAll(/probe\.c:(\d+):.*?error: (.*)$/gm)) {
      const index = order[Number(line) - head.length - 1];
      if (index === undefined || !ABSENT.test(message)) {
        throw new Error(`the probe does not compile with ${compiler.command}: ${text}\n  ${facts[index]?.c ?? ''}`);
      }
      if (left.delete(index)) dropped++;
    }
    if (dropped === 0)
      throw new Error(`these headers do not compile with ${compiler.command}:\n${errorsOf(result.stderr)}`);
  }
  throw new Error('the probe did not settle');
}

/** All macros that the headers define, with their bodies. */
export function macrosOf(compiler, options) {
  const file = join(options.work, 'macros.c');
  writeFileSync(file, `${prelude(options).join('\n')}\n`);
  const result = compile(compiler, options, file, ['-E', '-dM']);
  if (result.status !== 0)
    throw new Error(`these headers do not compile with ${compiler.command}:\n${errorsOf(result.stderr)}`);
  return new Map([...result.stdout.matchAll(/^#define (\w+) (.*)$/gm)].map(([, name, body]) => [name, body]));
}
