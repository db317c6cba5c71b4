/** Linux on our own machine layer, inside the test kernel: real KVM, real guests. One boot of the test kernel serves all. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, constants as zlib } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findKernel } from '../../../lib/testvm/index.ts';
import { has, MAIN } from '../../support/cli.ts';
import { boot, KERNEL, noTestKernel, titleOf } from '../../support/testvm.ts';
import { noBusybox, SHELL, writeInitramfs } from './initramfs.ts';

/** Seconds where nobody else needs the processors; hosts that run other tests as well take twenty times as long. */
const LIMIT = 1_200_000;
const PROMPT = '/ # ';

const reason = noTestKernel() ?? noBusybox();
const noDisk = reason ?? (has('mke2fs') && has('debugfs') ? undefined : 'no mke2fs (apt-get install e2fsprogs)');
for (const skipped of new Set([reason, noDisk]))
  if (skipped !== undefined) console.warn(`SKIPPED booting Linux: ${skipped}`);

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly prompt: number | null;
  readonly ms: number;
}

const work = mkdtempSync(join(tmpdir(), 'privmem-boot-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** The ELF kernel inside a bzImage that was packed by gzip. Documentation/arch/x86/boot.rst, payload_offset */
function unpack(image: string): string {
  const file = readFileSync(image);
  const start = ((file[0x1f1] ?? 0) + 1) * 512 + file.readUInt32LE(0x248);
  const payload = file.subarray(start, start + file.readUInt32LE(0x24c));
  const path = join(work, 'vmlinux');
  writeFileSync(path, gunzipSync(payload, { finishFlush: zlib.Z_SYNC_FLUSH }));
  return path;
}

function makeDisk(): string {
  const disk = join(work, 'disk');
  writeFileSync(disk, Buffer.alloc(4 * 2 ** 20));
  writeFileSync(join(work, 'hello'), 'hello from the disk\n');
  const made = spawnSync('mke2fs', ['-q', '-F', '-t', 'ext2', disk]);
  const copied = spawnSync('debugfs', ['-w', '-R', `write ${join(work, 'hello')} hello`, disk]);
  if (made.status !== 0 || copied.status !== 0) throw new Error(`no disk: ${made.stderr}${copied.stderr}`);
  return disk;
}

const DISK_SCRIPT = `mount -t ext2 /dev/vda /mnt && cat /mnt/hello && echo "$(uname -r)" > /mnt/new && cat /mnt/new && umount /mnt
case "$(cat /proc/cmdline)" in *hvc0*) cat /proc/interrupts; echo -n 'your name? '; read name; echo "it is $name";; esac
poweroff -f`;

function makePlan(): Record<string, { args: string[]; dialogue: [string, string][] }> {
  const shell = join(work, 'shell.gz');
  const disked = join(work, 'disk.gz');
  writeInitramfs(shell, `echo "up with $(nproc) processors"\n${SHELL}`);
  writeInitramfs(disked, DISK_SCRIPT);
  const { image } = findKernel(KERNEL, 'x64');
  const common = ['--append', 'quiet', '--timeout', '300'];
  const dialogue: [string, string][] = [
    [PROMPT, 'echo it is $((6 * 7))'],
    [PROMPT, 'poweroff -f'],
  ];
  const plan: ReturnType<typeof makePlan> = {
    shell: {
      args: ['--kernel', image, '--initrd', shell, '--memory', '256M', '--cpus', '2', ...common, '--stats'],
      dialogue,
    },
    private: {
      args: [
        '--kernel',
        image,
        '--initrd',
        shell,
        '--private',
        '--cpus',
        '2',
        '--append',
        'quiet noapic',
        '--timeout',
        '300',
      ],
      dialogue,
    },
    panic: { args: ['--kernel', image, ...common, '--json'], dialogue: [] },
  };
  if (noDisk === undefined) {
    const args = ['--kernel', unpack(image), '--initrd', disked, '--disk', makeDisk(), '--cpus', '2', '--stats'];
    plan.disk = { args: [...args, ...common], dialogue: [] };
    const split = ['--irqchip', 'split', '--console', 'virtio', ...common];
    plan.split = { args: [...args, ...split], dialogue: [['your name? ', 'hvc0']] };
  }
  return plan;
}

describe.skipIf(reason !== undefined)(titleOf('Linux boots inside the test kernel', reason), { timeout: LIMIT }, () => {
  const ended = new Map<string, Ended>();
  beforeAll(async () => {
    writeFileSync(join(work, 'plan.json'), JSON.stringify(makePlan()));
    const inside = join(import.meta.dirname, 'inside.mjs');
    const result = await boot([process.execPath, inside, MAIN, join(work, 'plan.json')], { timeout: LIMIT - 130_000 });
    for (const line of result.stdout.split('\n').filter(Boolean)) {
      const one = JSON.parse(line) as Ended & { readonly name: string };
      ended.set(one.name, one);
    }
    if (ended.size === 0) throw new Error(`${result.outcome}: ${result.reason}\n${result.stderr}\n${result.console}`);
  }, LIMIT);
  const of = (name: string): Ended => {
    const one = ended.get(name);
    if (one === undefined) throw new Error(`nothing was heard of ${name}`);
    return one;
  };

  test('a bzImage on two processors, to a shell that answers, until its power-off', () => {
    const { stdout, stderr, status, prompt } = of('shell');
    expect(stdout, stderr).toContain('up with 2 processors');
    expect(stdout).toMatch(/it is 42\r?\n/);
    expect(stdout).toContain('reboot: Power down');
    expect(status).toBe(0);
    expect(prompt).toBeGreaterThan(0);
    console.log(`to the prompt: ${prompt} ms`);
  });

  test('--private: most of its memory is the guest alone, and it comes to the shell as well', () => {
    const { stdout, stderr, status } = of('private');
    expect(stdout, stderr).toContain('up with 2 processors');
    expect(stdout).toMatch(/it is 42\r?\n/);
    expect(stdout).toContain('reboot: Power down');
    expect(status).toBe(0);
    expect(stderr).toMatch(/private: 2\d\d MiB of 256 MiB/);
  });

  test('a kernel that finds no root panics: a reset, status 1', () => {
    const { stdout, stderr, status } = of('panic');
    expect(JSON.parse(stdout)).toMatchObject({ end: { kind: 'reset', by: 'reset-control' } });
    expect(stderr).toContain('Kernel panic - not syncing');
    expect(status).toBe(1);
  });

  test.skipIf(noDisk !== undefined)(titleOf('a vmlinux by PVH reads and writes its disk', noDisk), () => {
    const { stdout, stderr, status } = of('disk');
    expect(stdout, stderr).toContain('hello from the disk');
    const written = spawnSync('debugfs', ['-R', 'cat new', join(work, 'disk')], { encoding: 'utf8' });
    // The test kernel's writes are in a layer over this root: here the disk is as it was. What the guest read back is in its output.
    expect(written.stdout).toBe('');
    expect(stdout).toMatch(/\n7\.3\.\d+\r?\n/);
    expect(stderr).toMatch(/KVM_EXIT_MMIO \d+/);
    expect(status).toBe(0);
  });

  test.skipIf(noDisk !== undefined)(
    titleOf('split interrupt controllers: the disk, and hvc0 as console, by levels of an IOAPIC of our own', noDisk),
    () => {
      const { stdout, stderr, status } = of('split');
      expect(stdout, stderr).toContain('hello from the disk');
      expect(stdout).toMatch(/it is hvc0\r?\n/);
      expect(stdout).toMatch(/IO-APIC +\d+-fasteoi +virtio0/);
      expect(stdout).not.toContain('XT-PIC');
      expect(stderr).toMatch(/KVM_EXIT_IOAPIC_EOI [1-9]/);
      expect(status).toBe(0);
    },
  );
});
