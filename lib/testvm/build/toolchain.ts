/** What a build needs on this machine, and how to get what is missing. */
import { spawnSync } from 'node:child_process';
import { UnsupportedError } from '../../kernel/errors.ts';
import { findProgram } from '../qemu.ts';
import type { TestArch } from '../words.ts';

export interface Toolchain {
  /** Arguments for make: ARCH, CROSS_COMPILE. */
  readonly make: readonly string[];
  /** First line of `gcc --version`: another compiler makes another kernel. */
  readonly compiler: string;
}

const TOOLS: readonly (readonly [program: string, debianPackage: string])[] = [
  ['make', 'make'],
  ['gcc', 'gcc'],
  ['ld', 'binutils'],
  ['flex', 'flex'],
  ['bison', 'bison'],
  ['bc', 'bc'],
  ['perl', 'perl'],
  ['tar', 'tar'],
  ['xz', 'xz-utils'],
  ['gzip', 'gzip'],
  ['patch', 'patch'],
  ['flock', 'util-linux'],
];
const CROSS: Readonly<Record<TestArch, { arch: string; prefix: string; package: string }>> = {
  x64: { arch: 'x86_64', prefix: 'x86_64-linux-gnu-', package: 'gcc-x86-64-linux-gnu' },
  arm64: { arch: 'arm64', prefix: 'aarch64-linux-gnu-', package: 'gcc-aarch64-linux-gnu' },
};

const hasHeader = (name: string): boolean =>
  spawnSync('gcc', ['-E', '-x', 'c', '-'], { input: `#include <${name}>\n`, stdio: ['pipe', 'ignore', 'ignore'] })
    .status === 0;

export function findToolchain(arch: TestArch): Toolchain {
  const { arch: name, prefix, package: crossPackage } = CROSS[arch];
  const cross = process.arch !== arch;
  const missing = TOOLS.filter(([program]) => findProgram(program) === undefined).map(([, debian]) => debian);
  if (cross && findProgram(`${prefix}gcc`) === undefined) missing.push(crossPackage);
  if (findProgram('gcc') !== undefined) {
    if (!hasHeader('stdio.h')) missing.push('libc6-dev');
    if (!hasHeader('gelf.h')) missing.push('libelf-dev');
  }
  if (missing.length > 0) {
    throw new UnsupportedError(
      'tools to build a kernel',
      `missing here: ${missing.join(', ')} (names of Debian's packages)`,
      `apt-get install ${missing.join(' ')}`,
    );
  }
  const version = spawnSync(cross ? `${prefix}gcc` : 'gcc', ['--version'], { encoding: 'utf8' }).stdout;
  return {
    make: [`ARCH=${name}`, ...(cross ? [`CROSS_COMPILE=${prefix}`] : [])],
    compiler: version.split('\n')[0] ?? '',
  };
}
