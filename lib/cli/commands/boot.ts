/** `privmem boot`: boots Linux on the project's own machine layer. */
import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import type { CpuidPolicy } from '../../machine/boot/cpuid.ts';
import type { IrqchipMode } from '../../machine/boot/interrupts.ts';
import { parseKernel } from '../../machine/boot/linux.ts';
import { NotBootableError } from '../../machine/boot/not-a-kernel.ts';
import { openPc, type Pc } from '../../machine/boot/pc.ts';
import { describeEnd } from '../../machine/describe.ts';
import { DiskError } from '../../machine/devices/virtio-block.ts';
import type { ExitStatistics } from '../../machine/statistics.ts';
import type { MachineEnd } from '../../machine/words.ts';
import { EXIT } from '../exit-status.ts';
import { type CommonOptions, Interrupted, runInSession, type Session } from '../session.ts';
import { openConsole } from '../terminal.ts';
import { parseCount, parseDuration, parseSize } from '../units.ts';

interface BootOptions extends CommonOptions {
  readonly kernel: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly disk: readonly string[];
  readonly memory: number;
  readonly cpus: number;
  readonly private?: boolean;
  readonly cpuid: CpuidPolicy;
  readonly irqchip: IrqchipMode;
  readonly console: keyof typeof CONSOLE_NAMES;
  readonly protocol: 'auto' | '64-bit' | 'PVH';
  readonly timeout?: number;
  readonly stats?: boolean;
}

const HELP = `
The console is stdout and stdin of this process. On a terminal every key goes to the guest; Ctrl-A x leaves. With --console virtio it is hvc0, and
what the guest writes to its first serial port goes to stderr.
The kernel is a bzImage or a vmlinux for x86-64. Its command line begins with "console=ttyS0 panic=-1" (hvc0); --append adds to it.

Exit status: 0 the guest switched itself off, or wrote 0 to the debug exit port (0xf4); 1 it ended otherwise (reset, panic, triple fault, …: said on
stderr), or --timeout; 2 wrong usage, or FILE is no kernel; 4 no KVM here; 130 interrupted or left by Ctrl-A x.

Examples:
  privmem boot --kernel bzImage --initrd initramfs.cpio.gz
  privmem boot --kernel vmlinux --initrd initramfs.cpio.gz --append quiet --memory 512M --cpus 4
  privmem vm --kernel 7.3 -- npx privmem boot --kernel bzImage --private`;

const CONSOLE_NAMES = { serial: 'ttyS0', virtio: 'hvc0' } as const;

function readFile(option: string, path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new RangeError(`--${option}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

const collect = (value: string, all: readonly string[]): readonly string[] => [...all, value];

const diskOf = (text: string): { path: string; readonly: boolean } =>
  text.endsWith(':ro') ? { path: text.slice(0, -3), readonly: true } : { path: text, readonly: false };

class TimedOut extends Error {
  constructor(ms: number) {
    super(`the guest still runs after ${ms / 1000} s (--timeout)`);
    this.name = 'TimedOut';
  }
}

/** A wait that does not keep the process alive and can be taken back. */
function limit(ms: number | undefined, stop: (reason: unknown) => void): () => void {
  if (ms === undefined) return () => {};
  const timer = setTimeout(() => stop(new TimedOut(ms)), ms);
  return () => clearTimeout(timer);
}

async function drive(session: Session, pc: Pc, timeout: number | undefined): Promise<MachineEnd> {
  const { machine, serial } = pc;
  const guest = pc.console ?? serial;
  const console = openConsole({
    input: (bytes) => guest.input(bytes),
    leave: () => machine.stop(new Interrupted()),
  });
  const done = limit(timeout, (reason) => machine.stop(reason));
  try {
    return await machine.run({ signal: session.interrupt });
  } finally {
    done();
    console.close();
    serial.flush();
  }
}

const statusOf = (end: MachineEnd): number =>
  end.kind === 'powered-off' || (end.kind === 'debug-exit' && end.value === 0) ? EXIT.done : EXIT.failed;

function sayStatistics({ total, byReason, byPort, byPage, unclaimed, conversions }: ExitStatistics, ms: number): void {
  const say = (text: string): boolean => process.stderr.write(`privmem boot: ${text}\n`);
  const most = (counts: ReadonlyMap<number, number>): string =>
    [...counts]
      .sort((a, b) => b[1] - a[1])
      .slice(0, 5)
      .map(([place, count]) => `0x${place.toString(16)} ${count}`)
      .join(', ');
  say(`${total} exits in ${(ms / 1000).toFixed(2)} s, ${unclaimed} for nobody, ${conversions} conversions`);
  for (const [name, count] of Object.entries(byReason)) say(`  ${name} ${count}`);
  if (byPort.size > 0) say(`  ports: ${most(byPort)}`);
  if (byPage.size > 0) say(`  pages: ${most(byPage)}`);
}

/** Bigints and bytes have no form in JSON. */
const plain = (_key: string, value: unknown): unknown => {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (value instanceof Map) return Object.fromEntries(value);
  return value instanceof Error ? value.message : value;
};

async function boot(session: Session, options: BootOptions): Promise<number> {
  const kernel = parseKernel(readFile('kernel', options.kernel));
  const initrd = options.initrd === undefined ? undefined : readFile('initrd', options.initrd);
  const commandLine = [`console=${CONSOLE_NAMES[options.console]} panic=-1`, options.append].filter(Boolean).join(' ');
  const sys = session.realKernel('x64');
  const { memory, cpus, cpuid, irqchip, protocol } = options;
  const aside = (bytes: Uint8Array): unknown => process.stderr.write(bytes);
  const output = session.json ? aside : (bytes: Uint8Array): unknown => process.stdout.write(bytes);
  const pc = openPc(sys, {
    disks: options.disk.map(diskOf),
    ...{ kernel, initrd, commandLine, memory, cpus, cpuid, irqchip, protocol, private: options.private === true },
    ...(options.console === 'virtio' ? { output: aside, virtioOutput: output } : { output }),
  });
  if (options.private) {
    const mib = (bytes: number): string => `${Math.floor(bytes / 2 ** 20)} MiB`;
    process.stderr.write(
      `privmem boot: private: ${mib(pc.privateBytes)} of ${mib(memory)}; shared: what the loader wrote and the kernel's own room\n`,
    );
  }
  const started = performance.now();
  let end: MachineEnd;
  let statistics: ExitStatistics;
  try {
    end = await drive(session, pc, options.timeout);
    statistics = pc.machine.statistics;
  } finally {
    pc.close();
  }
  const ms = performance.now() - started;
  if (options.stats) sayStatistics(statistics, ms);
  if (session.json) {
    session.document(JSON.parse(JSON.stringify({ end, lines: describeEnd(end), ms, statistics }, plain)));
  }
  if (end.kind === 'aborted' && !(end.reason instanceof TimedOut)) throw new Interrupted();
  const status = statusOf(end);
  if (status !== EXIT.done) for (const line of describeEnd(end)) process.stderr.write(`privmem boot: ${line}\n`);
  return status;
}

async function bootOrSay(session: Session, options: BootOptions): Promise<number> {
  try {
    return await boot(session, options);
  } catch (error) {
    if (error instanceof DiskError) throw new RangeError(`--disk: ${error.message}`, { cause: error });
    if (!(error instanceof NotBootableError)) throw error;
    throw new RangeError(`--kernel ${options.kernel}: ${error.message}`, { cause: error });
  }
}

export function addBoot(program: Command): void {
  program
    .command('boot')
    .description('boot Linux on a machine of this package, with its serial console on this terminal')
    .requiredOption('--kernel <file>', 'a bzImage, or a vmlinux (by PVH where it has it)')
    .option('--initrd <file>', 'an initramfs')
    .option('--append <text>', "added to the kernel's command line")
    .addOption(
      new Option('--memory <bytes>', 'K, M and G are understood').argParser(parseSize).default(256 * 2 ** 20, '256M'),
    )
    .option('--cpus <n>', 'virtual processors', parseCount, 1)
    .option('--disk <file[:ro]>', 'a raw file as /dev/vda, the next as /dev/vdb; may be repeated', collect, [])
    .addOption(
      new Option('--console <device>', 'serial: ttyS0; virtio: hvc0').choices(['serial', 'virtio']).default('serial'),
    )
    .option('--private', 'an SW-protected VM: what the loader did not write is private')
    .addOption(
      new Option(
        '--cpuid <policy>',
        'minimal: x86-64 of 2003; modest: what every kernel handles; host: all that KVM supports',
      )
        .choices(['minimal', 'modest', 'host'])
        .default('modest'),
    )
    .addOption(
      new Option(
        '--irqchip <where>',
        'kernel: all in KVM; split: local APICs in KVM, IOAPIC here, no PIC, no interval timer',
      )
        .choices(['kernel', 'split'])
        .default('kernel'),
    )
    .addOption(
      new Option('--protocol <entry>', 'how a vmlinux is entered').choices(['auto', '64-bit', 'PVH']).default('auto'),
    )
    .option('--timeout <time>', 'stop after so many seconds, or with ms, s, m, h', parseDuration)
    .option('--stats', 'at the end, how often the vCPUs came back and why, on stderr')
    .option('--json', 'one JSON document on stdout, the console on stderr')
    .option('--trace [file]', 'each system call as a line on stderr, or as JSON lines in FILE')
    .addHelpText('after', HELP)
    .action((options: BootOptions) => runInSession(options, (session) => bootOrSay(session, options)));
}
