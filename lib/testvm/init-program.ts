/**
 * The first process of a test kernel, compiled where it is needed and kept in the cache. A program of our own, because its protocol
 * (outputs apart, counted; the end marked by a nonce) is more than a shell can do reliably, and because it needs a compiler and nothing else: no C
 * library, no busybox, no kernel headers. Who tests kernels has a compiler.
 */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UnsupportedError } from '../kernel/errors.ts';
import { cacheDirectory } from './cache.ts';
import type { TestArch } from './words.ts';

const SOURCES = fileURLToPath(new URL('../../native/testvm/', import.meta.url));
const FLAGS =
  '-static -nostdlib -ffreestanding -fno-stack-protector -fno-pie -no-pie -fno-asynchronous-unwind-tables -Os -Wl,--build-id=none -s'.split(
    ' ',
  );
const CROSS: Readonly<Record<TestArch, readonly string[]>> = {
  x64: ['x86_64-linux-gnu-gcc'],
  arm64: ['aarch64-linux-gnu-gcc'],
};
const PACKAGE: Readonly<Record<TestArch, string>> = {
  x64: 'gcc-x86-64-linux-gnu',
  arm64: 'gcc-aarch64-linux-gnu',
};

function compilers(arch: TestArch): readonly string[] {
  const own = process.arch === arch ? ['cc', 'gcc', 'clang'] : [];
  const given = process.env.CC !== undefined && process.arch === arch ? [process.env.CC] : [];
  return [...given, ...own, ...CROSS[arch]];
}

function compile(arch: TestArch, output: string): void {
  for (const compiler of compilers(arch)) {
    const extra = arch === 'arm64' && !compiler.includes('clang') ? ['-mno-outline-atomics'] : [];
    const { error, status, stderr } = spawnSync(compiler, [...FLAGS, ...extra, '-o', output, join(SOURCES, 'init.c')], {
      encoding: 'utf8',
    });
    if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') continue;
    if (error !== undefined) throw error;
    if (status === 0) return;
    throw new Error(`${compiler} cannot compile the init of test kernels: ${stderr.trim()}`);
  }
  throw new UnsupportedError(
    'a C compiler',
    `the init of test kernels for ${arch} is compiled on the spot; tried ${compilers(arch).join(', ')}`,
    process.arch === arch ? 'install one: apt-get install gcc' : `install one: apt-get install ${PACKAGE[arch]}`,
  );
}

/** The program's bytes, from the cache or freshly compiled. UnsupportedError without a compiler. */
export function initProgram(arch: TestArch, cache: string = cacheDirectory()): Buffer {
  const hash = createHash('sha256').update(JSON.stringify([arch, FLAGS]));
  for (const name of readdirSync(SOURCES).sort()) hash.update(readFileSync(join(SOURCES, name)));
  const directory = join(cache, 'init');
  const file = join(directory, `${arch}-${hash.digest('hex').slice(0, 16)}`);
  if (!existsSync(file)) {
    mkdirSync(directory, { recursive: true });
    const fresh = `${file}.${randomBytes(4).toString('hex')}`;
    try {
      compile(arch, fresh);
      renameSync(fresh, file);
    } finally {
      rmSync(fresh, { force: true });
    }
  }
  return readFileSync(file);
}
