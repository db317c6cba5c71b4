/** `privmem vm`: boots a test kernel and runs a command in it. */
import { type Command, Option } from 'commander';
import { guestEnvironment } from '../../testvm/environment.ts';
import { NotAKernelError } from '../../testvm/image.ts';
import { findPrograms } from '../../testvm/programs.ts';
import { runInKernel } from '../../testvm/run.ts';
import { kernelsDirectory, listKernels } from '../../testvm/store.ts';
import type { Accelerator, Outcome, TestArch, VmResult } from '../../testvm/words.ts';
import { EXIT } from '../exit-status.ts';
import { type CommonOptions, Interrupted, runInSession, type Session } from '../session.ts';
import { formatTable } from '../table.ts';
import { parseCount, parseDuration, parseSize } from '../units.ts';
import { addBuildOptions, build, releases, type VmBuildOptions } from './vm-build.ts';
import { programs, type VmProgramsOptions } from './vm-programs.ts';

interface VmCommandOptions extends CommonOptions, VmBuildOptions, VmProgramsOptions {
  readonly kernel?: string;
  readonly list?: boolean;
  readonly arch?: TestArch;
  readonly memory?: number;
  readonly cpus?: number;
  readonly timeout?: number;
  readonly bootTimeout?: number;
  readonly accel: Accelerator | 'auto';
  readonly cpu?: string;
  readonly append?: string;
  readonly qemuArg: readonly string[];
  readonly root?: string;
  readonly layer: readonly string[];
  readonly share: readonly string[];
  readonly env: readonly string[];
  readonly stdin?: boolean;
  readonly console?: boolean;
  readonly quiet?: boolean;
  readonly allowSplats?: boolean;
}

/** What `privmem vm` ends with when the command's own status cannot be the answer. */
const STATUS: Readonly<Partial<Record<Outcome, number>>> = {
  warned: 121,
  oopsed: 122,
  panicked: 123,
  died: 123,
  'timed-out': 124,
  'failed-to-boot': 125,
};

const HELP = `
Exit status: that of COMMAND (128 + n for signal n; 126 and 127 when it cannot be executed or found), but
  121  COMMAND ended with 0, and the kernel warned (WARN, lockdep, RCU, …)      --allow-splats: 0
  122  the kernel oopsed (BUG, Oops, KASAN, …) and COMMAND ended with 0 or not at all; --allow-splats: 0 if it ended
  123  the kernel panicked, or the machine was reset or switched off
  124  COMMAND ran longer than --timeout
  125  the kernel did not boot
  2    wrong usage;  4  QEMU, the kernel image or a compiler is missing;  130  interrupted
--json says the outcome in a word, whatever the status.

Examples:
  privmem vm --kernel 7.3 -- npx privmem probe
  privmem vm --kernel arch/x86/boot/bzImage --timeout 60 -- npx vitest run test/kvm
  privmem vm --list
  privmem vm --build 7.3 --patch fix.patch --debug lockdep,kasan
  privmem vm --programs --arch arm64; privmem vm --kernel 7.3 --arch arm64 -- npx privmem probe`;

const collect = (value: string, all: readonly string[]): readonly string[] => [...all, value];

function list(session: Session): number {
  const kernels = listKernels();
  if (session.json) {
    session.document({ kernels });
    return EXIT.done;
  }
  if (kernels.length === 0) {
    session.say(`no kernels in ${kernelsDirectory()}; build one: privmem vm --build 7.3`);
    return EXIT.done;
  }
  const rows = kernels.map(({ name, arch, release, source, patches, built }) => [
    name,
    arch,
    release,
    built.slice(0, 16).replace('T', ' '),
    [source, ...patches].join(' + '),
  ]);
  const columns = ['name', 'arch', 'release', 'built (UTC)', 'from'].map((title) => ({ title }));
  for (const line of formatTable(columns, rows)) session.say(line);
  return EXIT.done;
}

function environment(given: readonly string[]): Record<string, string> {
  return guestEnvironment(
    Object.fromEntries(
      given.map((text) => {
        const at = text.indexOf('=');
        return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
      }),
    ),
  );
}

/** The exit status of a run. */
export function statusOf(result: VmResult, allowSplats: boolean): number {
  const { outcome, status } = result;
  if (outcome === 'passed' || outcome === 'failed') return status ?? EXIT.failed;
  if (status !== null && (status !== 0 || allowSplats)) return status;
  return STATUS[outcome] ?? EXIT.failed;
}

function tell(session: Session, result: VmResult): void {
  const { paint } = session.style;
  const { outcome, reason, splats, panic } = result;
  if (outcome === 'passed' || (outcome === 'failed' && splats.length === 0)) return;
  const say = (line: string): boolean => process.stderr.write(`${line}\n`);
  const texts = [...splats.map(({ text }) => text), ...(panic === undefined ? [] : [panic.text])];
  for (const text of texts) for (const line of text.split('\n')) say(`${paint('dim', '|')} ${line}`);
  say(`privmem vm: ${paint('red', outcome)}: ${reason}`);
  // 126: found, but not for this architecture, as the command itself has said.
  const { arch } = result.kernel;
  if (result.status === 126 && arch !== process.arch && findPrograms(arch) === undefined) {
    say(
      `privmem vm: this host's programs are for ${process.arch}; Node and a shell for ${arch}: privmem vm --programs --arch ${arch}`,
    );
  }
}

function document(session: Session, result: VmResult, exitStatus: number): void {
  const { stdout, stderr, console, ...rest } = result;
  session.document({ ...rest, exitStatus, stdout, stderr, console });
}

async function run(session: Session, options: VmCommandOptions, command: readonly string[]): Promise<number> {
  if (options.kernel === undefined) throw new RangeError('--kernel IMAGE|NAME is missing (--list shows the names)');
  if (command.length === 0) throw new RangeError('no command: privmem vm --kernel NAME -- COMMAND…');
  const notes = options.quiet !== true && (process.stderr.isTTY === true || options.console === true);
  const { paint } = session.style;
  let result: VmResult;
  try {
    result = await runInKernel(
      {
        ...{ kernel: options.kernel, arch: options.arch, memory: options.memory, cpus: options.cpus },
        ...{ timeout: options.timeout, bootTimeout: options.bootTimeout, accelerator: options.accel },
        ...{ cpuModel: options.cpu, append: options.append, qemuArgs: options.qemuArg },
        ...{ root: options.root, layers: options.layer, shares: options.share, env: environment(options.env) },
        stdin: options.stdin === true ? process.stdin : undefined,
        onStdout: (bytes) => (session.json ? undefined : process.stdout.write(bytes)),
        onStderr: (bytes) => process.stderr.write(bytes),
        onConsole: options.console === true ? (bytes) => process.stderr.write(bytes) : undefined,
        onNote: (text) => (notes ? process.stderr.write(`${paint('dim', `privmem vm: ${text}`)}\n`) : undefined),
        signal: session.interrupt,
        keep: session.json ? undefined : 0,
      },
      command,
    );
  } catch (error) {
    if (!(error instanceof NotAKernelError)) throw error;
    process.stderr.write(`privmem vm: failed-to-boot: ${error.message}\n`);
    if (session.json)
      session.document({ outcome: 'failed-to-boot', status: null, reason: error.message, exitStatus: 125 });
    return STATUS['failed-to-boot'] ?? EXIT.failed;
  } finally {
    if (options.stdin === true) process.stdin.destroy();
  }
  if (session.interrupt.aborted) throw new Interrupted();
  const status = statusOf(result, options.allowSplats ?? false);
  tell(session, result);
  if (session.json) document(session, result, status);
  return status;
}

export function addVm(program: Command): void {
  const vm = program
    .command('vm')
    .description(
      'boot a test kernel under QEMU and run a command of this directory in it, on this root with a writable layer over it',
    )
    .argument('[command...]', 'the command, after --; with --build the source')
    .option('--kernel <image|name>', 'a kernel image, or the name of one that was built')
    .option('--list', 'the kernels that were built')
    .option('--programs', 'fetch Node and a shell for kernels of another architecture (--arch) from npm and Debian')
    .addOption(new Option('--arch <arch>', "default: the image's own").choices(['x64', 'arm64']))
    .option('--memory <bytes>', 'guest memory; K, M and G are understood (default 2G)', parseSize)
    .option('--cpus <n>', 'virtual processors (default 2)', parseCount)
    .option('--timeout <time>', 'for the command: seconds, or with ms, s, m, h (default: none)', parseDuration)
    .option('--boot-timeout <time>', 'from the start of QEMU until the command runs (default 60s)', parseDuration)
    .addOption(
      new Option('--accel <kind>', 'auto: KVM where it gives nested SVM or VMX, else emulation')
        .choices(['auto', 'kvm', 'tcg'])
        .default('auto'),
    )
    .option('--cpu <model>', "QEMU's -cpu")
    .option('--append <text>', "added to the kernel's command line")
    .option('--qemu-arg <arg>', 'one more argument for QEMU; may be repeated', collect, [])
    .option('--root <dir>', 'what the guest sees as / (default: /)')
    .option('--layer <dir>', 'a directory whose files lie over those of the root; may be repeated', collect, [])
    .option('--share <dir>', 'a directory that the guest may write to; may be repeated', collect, [])
    .option('--env <name[=value]>', 'set or pass an environment variable; may be repeated', collect, [])
    .option('-i, --stdin', "the command reads this process's stdin (default: nothing to read)")
    .option('--console', "the guest's console on stderr")
    .option('-q, --quiet', 'no words about the boot on a terminal')
    .option('--allow-splats', 'warnings and oopses of the kernel do not change the exit status')
    .option('--json', 'one JSON document on stdout, with the outputs in it');
  addBuildOptions(vm)
    .addHelpText('after', HELP)
    .action((command: string[], options: VmCommandOptions) =>
      runInSession(options, async (session) => {
        if (options.list === true) return list(session);
        if (options.releases === true) return releases(session, options);
        if (options.programs === true) return programs(session, options);
        if (options.build === true) return build(session, options, command);
        return run(session, options, command);
      }),
    );
}
