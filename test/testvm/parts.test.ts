import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { parseDuration } from '../../lib/cli/units.ts';
import { cacheDirectory } from '../../lib/testvm/cache.ts';
import { cpio } from '../../lib/testvm/cpio.ts';
import { guestEnvironment } from '../../lib/testvm/environment.ts';
import { NotAKernelError, readImage } from '../../lib/testvm/image.ts';
import { initramfs } from '../../lib/testvm/initramfs.ts';
import { Keep } from '../../lib/testvm/keep.ts';
import { qemuArguments } from '../../lib/testvm/qemu.ts';
import { has } from '../support/cli.ts';
import { fakeImage, hang } from './fake-image.ts';

const work = mkdtempSync(join(tmpdir(), 'privmem-test-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('the archive that a kernel unpacks', () => {
  test.skipIf(!has('cpio'))(`cpio reads it as it was meant${has('cpio') ? '' : ' (skipped: no cpio)'}`, () => {
    const archive = cpio([
      { name: 'dev', mode: 0o040755 },
      { name: 'init', mode: 0o100755, content: Buffer.from('hello') },
      { name: 'odd', mode: 0o100600, content: Buffer.from('x') },
    ]);
    const options = { input: archive, cwd: work };
    expect(spawnSync('cpio', ['-t'], options).stdout.toString()).toBe('dev\ninit\nodd\n');
    expect(spawnSync('cpio', ['-id', '--quiet'], options).status).toBe(0);
    expect(readFileSync(join(work, 'init'), 'utf8')).toBe('hello');
    expect(statSync(join(work, 'init')).mode & 0o777).toBe(0o755);
    expect(readFileSync(join(work, 'odd'), 'utf8')).toBe('x');
    expect(statSync(join(work, 'dev')).isDirectory()).toBe(true);
  });

  test('a NUL in an argument is refused', () => {
    const config = {
      nonce: 'n',
      cwd: '/',
      command: ['a\0b'],
      env: {},
      shares: [],
      layers: [],
      input: false,
      hostname: 'h',
    };
    expect(() => initramfs(Buffer.alloc(0), config)).toThrow(/NUL/);
  });
});

describe('kernel images', () => {
  const file = join(work, 'image');
  const read = (bytes: Buffer) => {
    writeFileSync(file, bytes);
    return readImage(file);
  };

  test('are known by their headers', () => {
    expect(read(fakeImage(hang))).toMatchObject({ arch: 'x64', format: 'bzImage' });
    const arm = Buffer.alloc(128);
    arm.write('ARM\x64', 0x38, 'latin1');
    expect(read(arm)).toEqual({ arch: 'arm64', format: 'Image' });
  });

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('not a kernel\n'.repeat(1000))],
    ['zeros', Buffer.alloc(0x10000)],
  ])('%s is not one', (_, bytes) => {
    expect(() => read(bytes)).toThrow(NotAKernelError);
  });

  test('a program for another machine is named as such', () => {
    const elf = Buffer.alloc(64);
    elf.write('\x7fELF', 0, 'latin1');
    elf.writeUInt16LE(243, 18);
    expect(() => read(elf)).toThrow(/machine 243/);
  });
});

describe('small parts', () => {
  test('outputs are kept up to a limit, at either end', () => {
    const ends = (['beginning', 'end'] as const).map((which) => {
      const keep = new Keep(4, which);
      for (const part of ['ab', 'cde', 'f']) keep.push(Buffer.from(part));
      return [keep.text(), keep.total, keep.truncated];
    });
    expect(ends).toEqual([
      ['abcd', 6, true],
      ['cdef', 6, true],
    ]);
  });

  test('the environment of a command: what programs need, no secrets', () => {
    const env = guestEnvironment(
      { SET: '1', TAKEN: undefined, ABSENT: undefined },
      {
        PATH: '/bin',
        LC_ALL: 'C',
        NODE_OPTIONS: 'x',
        NODE_AUTH_TOKEN: 's',
        API_KEY: 's',
        SSH_AUTH_SOCK: 's',
        TAKEN: 't',
      },
    );
    expect(env).toEqual({
      PATH: '/bin',
      HOME: '/root',
      LC_ALL: 'C',
      NODE_OPTIONS: 'x',
      SET: '1',
      TAKEN: 't',
      PRIVMEM_VM: '1',
    });
  });

  test('the cache follows XDG_CACHE_HOME when it is absolute', () => {
    expect(cacheDirectory({ XDG_CACHE_HOME: '/x' })).toBe('/x/privmem');
    expect(cacheDirectory({ XDG_CACHE_HOME: 'x' })).toMatch(/^\/.*\.cache\/privmem$/);
  });

  test('durations', () => {
    expect(['90', '90s', '1.5s', '5m', '10ms', '1h'].map(parseDuration)).toEqual([
      90_000, 90_000, 1500, 300_000, 10, 3_600_000,
    ]);
    for (const text of ['', '0', '-1', '5x', 'm', '1e3']) expect(() => parseDuration(text)).toThrow(/seconds/);
  });

  test('the machine: root read-only, shares writable, commas in paths survive', () => {
    const args = qemuArguments({
      ...{
        arch: 'x64',
        accelerator: 'tcg',
        cpuModel: undefined,
        image: '/i',
        initramfs: '/r',
        memory: 2 ** 30,
        cpus: 3,
      },
      ...{
        append: 'extra=1',
        root: '/',
        layers: [{ tag: 'layer0', path: '/l' }],
        shares: [{ tag: 'share0', path: '/a,b' }],
        extra: ['-S'],
      },
      fds: { control: 3, stdout: 4, stderr: 5, stdin: 6, console: 7 },
    });
    const fsdevs = args.filter((_, i) => args[i - 1] === '-fsdev');
    expect(fsdevs).toEqual([
      'local,id=fs-root,path=/,security_model=none,multidevs=remap,readonly=on',
      'local,id=fs-layer0,path=/l,security_model=none,multidevs=remap,readonly=on',
      'local,id=fs-share0,path=/a,,b,security_model=none,multidevs=remap',
    ]);
    expect(args.join(' ')).toContain('-cpu max,+svm,+npt ');
    expect(args.join(' ')).toMatch(/panic=-1 .*extra=1 /);
    expect(args.at(-1)).toBe('-S');
  });
});
