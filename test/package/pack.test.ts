/** The package as users get it: packed, installed without a compiler, and used in each way. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../support/child.ts';
import { type Installed, packAndInstall, ROOT, succeeded } from './packed.ts';

const PREPARE_MS = 300_000;

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'privmem-pack-'));
let installed: Installed;

beforeAll(async () => {
  installed = await packAndInstall(folder);
}, PREPARE_MS);

afterAll(() => {
  fs.rmSync(folder, { recursive: true, force: true });
});

function kvmOpens(): boolean {
  try {
    fs.closeSync(fs.openSync('/dev/kvm', 'r+'));
    return true;
  } catch {
    return false;
  }
}

describe('the tarball', () => {
  it('holds what is needed to run and to build', () => {
    for (const file of [
      'package.json',
      'README.md',
      'LICENSE',
      'CHANGELOG.md',
      'binding.gyp',
      'scripts/install.cjs',
      'native/load.cjs',
      'native/addon.cc',
      'native/napi_util.h',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/cli/main.js',
    ]) {
      expect(installed.files).toContain(file);
    }
    expect(installed.files.some((file) => file.startsWith(`prebuilds/linux-${process.arch}/`))).toBe(true);
  });

  it('holds every source that binding.gyp names', () => {
    const sources = fs.readFileSync(path.join(ROOT, 'binding.gyp'), 'utf8').match(/native\/\w+\.cc/g) ?? [];
    expect(sources.length).toBeGreaterThan(0);
    expect(installed.files).toEqual(expect.arrayContaining(sources));
  });

  it('holds neither tests nor sources nor tools', () => {
    const unwanted = installed.files.filter(
      (file) =>
        (/\.[cm]?ts$/.test(file) && !/\.d\.[cm]?ts$/.test(file)) ||
        /^(test|lib|build|build-asan|node_modules|\.)/.test(file) ||
        /^(tsconfig|biome|vitest)/.test(file) ||
        (file.startsWith('scripts/') && file !== 'scripts/install.cjs'),
    );
    expect(unwanted).toEqual([]);
  });
});

describe('installed without a compiler', () => {
  it('uses the prebuilt addon', () => {
    expect(fs.existsSync(path.join(installed.home, 'build'))).toBe(false);
    expect(fs.existsSync(path.join(installed.home, 'prebuilds'))).toBe(true);
  });

  it('npx privmem --version', async () => {
    const manifest: unknown = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
    const { stdout } = succeeded(await installed.run('npx', 'privmem', '--version'));
    expect(manifest).toMatchObject({ version: stdout.trim() });
  });

  it('npx privmem probe --json', async () => {
    const { stdout } = succeeded(await installed.run('npx', 'privmem', 'probe', '--json'));
    expect(JSON.parse(stdout)).toMatchObject({ arch: process.arch, kvm: { available: kvmOpens() } });
  });

  const uses = 'console.log(typeof Kvm.open, typeof openKernel, Object.keys(uapi).length > 10)';
  it('import', async () => {
    const script = `import { Kvm, openKernel } from 'privmem'; import * as uapi from 'privmem/uapi'; ${uses}`;
    const { stdout } = succeeded(await installed.run('node', '--input-type=module', '-e', script));
    expect(stdout).toBe('function function true\n');
  });

  it('require', async () => {
    const script = `const { Kvm, openKernel } = require('privmem'); const uapi = require('privmem/uapi'); ${uses}`;
    const { stdout } = succeeded(await installed.run('node', '-e', script));
    expect(stdout).toBe('function function true\n');
  });

  it('types', async () => {
    const file = path.join(installed.project, 'typed.mts');
    fs.writeFileSync(
      file,
      [
        "import { Kvm, type Kernel } from 'privmem';",
        "import * as guest from 'privmem/guest';",
        "import { Mrtd } from 'privmem/measure';",
        'export const open: (kernel: Kernel) => unknown = (kernel) => [Kvm, kernel.release, guest, new Mrtd()];',
        '// @ts-expect-error: not exported',
        "import { nothing } from 'privmem';",
        '',
      ].join('\n'),
    );
    const tsc = path.join(ROOT, 'node_modules', '.bin', 'tsc');
    const flags = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022'];
    const lib = ['--lib', 'es2023,esnext.disposable,dom', '--types', ''];
    succeeded(await runCommand(tsc, [...flags, ...lib, file], { cwd: installed.project, limitMs: 60_000 }));
  });
});
