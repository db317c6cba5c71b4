// `npm run bench:boot`: how long Linux takes to its shell prompt on our machine layer and on QEMU's microvm, both with KVM, taking turns: the same
// kernel, the same initramfs, the same host, which is the 7.3 test kernel. Needs QEMU and a static busybox.
// usage: node test/bench/boot-time.mjs [rounds]
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';

const ROOT = resolve(import.meta.dirname, '../..');
const MAIN = join(ROOT, 'dist/cli/main.js');
const KERNEL = process.env.PRIVMEM_TEST_KERNEL ?? '7.3';
const PROMPT = '/ # ';
const LIMIT_MS = 120_000;
const MEMORY = 256;
const CPUS = 2;
const APPEND = 'console=ttyS0 panic=-1 quiet';

/** Milliseconds from the start of the process to the prompt. */
function toPrompt([command, ...args]) {
  return new Promise((done, fail) => {
    const start = performance.now();
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    let text = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
    child.on('error', fail);
    child.on('close', () => {
      clearTimeout(timer);
      fail(new Error(`${command} ended without a prompt; its last words:\n${text.slice(-500)}`));
    });
    child.stdout.on('data', (bytes) => {
      text += bytes;
      if (!text.includes(PROMPT)) return;
      const ms = performance.now() - start;
      clearTimeout(timer);
      child.stdout.removeAllListeners('data').resume();
      child.removeAllListeners('close').on('close', () => done(ms));
      child.kill('SIGKILL');
    });
  });
}

const contestants = (image, initrd) => ({
  'privmem boot': [
    ...[process.execPath, MAIN, 'boot', '--kernel', image, '--initrd', initrd, '--append', 'quiet'],
    ...['--memory', `${MEMORY}M`, '--cpus', String(CPUS)],
  ],
  'QEMU microvm': [
    ...['qemu-system-x86_64', '-accel', 'kvm', '-cpu', 'qemu64', '-M', 'microvm,pic=on,pit=on,rtc=on', '-nodefaults'],
    ...[
      '-no-user-config',
      '-display',
      'none',
      '-serial',
      'stdio',
      '-no-reboot',
      '-m',
      String(MEMORY),
      '-smp',
      String(CPUS),
    ],
    ...['-kernel', image, '-initrd', initrd, '-append', APPEND],
  ],
});

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

async function inside(image, initrd, rounds) {
  const times = {};
  for (let round = 0; round < rounds; round++) {
    for (const [name, command] of Object.entries(contestants(image, initrd))) {
      const ms = await toPrompt(command);
      times[name] = [...(times[name] ?? []), ms];
      console.log(`${name.padEnd(14)} ${(ms / 1000).toFixed(2)} s`);
    }
  }
  for (const [name, all] of Object.entries(times)) {
    console.log(
      `${name.padEnd(14)} median ${(median(all) / 1000).toFixed(2)} s, min ${(Math.min(...all) / 1000).toFixed(2)} s`,
    );
  }
}

async function writeInitramfs(path) {
  const { cpio } = await import(join(ROOT, 'dist/testvm/cpio.js'));
  const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((file) => existsSync(file));
  if (busybox === undefined) throw new Error('no busybox: apt-get install busybox-static');
  const link = (name) => ({ name: `bin/${name}`, mode: 0o120777, content: Buffer.from('busybox') });
  const init = '#!/bin/sh\nmount -t devtmpfs none /dev 2>/dev/null\nexec setsid cttyhack sh\n';
  const archive = cpio([
    ...['bin', 'dev'].map((name) => ({ name, mode: 0o040755 })),
    { name: 'bin/busybox', mode: 0o100755, content: readFileSync(busybox) },
    ...['sh', 'mount', 'setsid', 'cttyhack'].map(link),
    { name: 'init', mode: 0o100755, content: Buffer.from(init) },
  ]);
  writeFileSync(path, gzipSync(archive));
}

async function outside(rounds) {
  const { findKernel } = await import(join(ROOT, 'dist/testvm/index.js'));
  const { image } = findKernel(KERNEL, 'x64');
  const work = mkdtempSync(join(tmpdir(), 'privmem-boot-time-'));
  try {
    const initrd = join(work, 'initrd.gz');
    await writeInitramfs(initrd);
    const command = [process.execPath, import.meta.filename, '--inside', image, initrd, String(rounds)];
    const ended = spawnSync(process.execPath, [MAIN, 'vm', '--kernel', KERNEL, '--allow-splats', '--', ...command], {
      stdio: 'inherit',
    });
    process.exitCode = ended.status ?? 1;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const [first, ...rest] = process.argv.slice(2);
if (first === '--inside') await inside(rest[0], rest[1], Number(rest[2]));
else await outside(Number(first ?? 5));
