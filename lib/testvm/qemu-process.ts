/** QEMU as a child that never outlives this process, however that ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { findProgram } from './qemu.ts';

/** The child's ends of the channels, as descriptors. 0-2 are its standard streams. */
export const FDS = { control: 3, stdout: 4, stderr: 5, stdin: 6, console: 7, initramfs: 8 } as const;
export type Channel = Exclude<keyof typeof FDS, 'initramfs' | 'console'>;

export interface QemuProcess {
  readonly child: ChildProcess;
  readonly channels: Readonly<Record<Channel, Socket>>;
  /** What QEMU itself had to say. */
  readonly complaints: () => string;
  kill(): void;
}

/**
 * Node cannot ask for a signal at its own death; setpriv (util-linux) can, for what it becomes. A session of its own keeps a terminal's
 * Ctrl-C from QEMU: this process decides.
 */
export function startQemu(
  program: string,
  args: readonly string[],
  files: { readonly initramfs: number; readonly console: number },
): QemuProcess {
  const setpriv = findProgram('setpriv');
  const [command = program, ...rest] =
    setpriv === undefined ? [program, ...args] : [setpriv, '--pdeathsig', 'KILL', '--', program, ...args];
  const child = spawn(command, rest, {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe', files.console, files.initramfs],
    detached: true,
  });
  let complaints = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-4096);
  });
  const kill = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', kill);
  child.once('close', () => process.removeListener('exit', kill));
  const socket = (name: Channel): Socket => {
    const channel = (child.stdio as readonly unknown[])[FDS[name]] as Socket;
    // A machine that is gone is seen by its exit, not by its sockets.
    channel.on('error', () => {});
    return channel;
  };
  return {
    child,
    channels: {
      control: socket('control'),
      stdout: socket('stdout'),
      stderr: socket('stderr'),
      stdin: socket('stdin'),
    },
    complaints: () => complaints.trim(),
    kill,
  };
}
