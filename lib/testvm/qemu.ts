/** QEMU: where it is, what it runs with, and the machine it is asked for. */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { UnsupportedError } from '../kernel/errors.ts';
import type { Accelerator, TestArch } from './words.ts';

const PROGRAM: Readonly<Record<TestArch, { program: string; package: string }>> = {
  x64: { program: 'qemu-system-x86_64', package: 'qemu-system-x86' },
  arm64: { program: 'qemu-system-aarch64', package: 'qemu-system-arm' },
};

export function findProgram(name: string, path: string = process.env.PATH ?? ''): string | undefined {
  return path
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** The emulator's path. UnsupportedError where it is not installed. */
export function findQemu(arch: TestArch): string {
  const { program, package: name } = PROGRAM[arch];
  const found = findProgram(program);
  if (found !== undefined) return found;
  throw new UnsupportedError(program, 'not found in PATH', `install it: apt-get install ${name}`);
}

export interface AcceleratorChoice {
  readonly accelerator: Accelerator;
  readonly reason: string;
}

function nestedObstacle(): string | undefined {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch (error) {
    return `/dev/kvm: ${(error as NodeJS.ErrnoException).code}`;
  }
  for (const module of ['kvm_amd', 'kvm_intel']) {
    const file = `/sys/module/${module}/parameters/nested`;
    if (existsSync(file)) return /^[1Y]/.test(readFileSync(file, 'latin1')) ? undefined : `${module}.nested is off`;
  }
  return 'neither kvm_amd nor kvm_intel is at work here';
}

/** KVM where the guest gets a KVM of its own from it, else emulation. */
export function chooseAccelerator(arch: TestArch, wanted: Accelerator | 'auto'): AcceleratorChoice {
  if (wanted !== 'auto') return { accelerator: wanted, reason: 'as asked for' };
  if (arch === 'arm64') return { accelerator: 'tcg', reason: 'only emulation has EL2 for the guest' };
  if (process.arch !== arch) return { accelerator: 'tcg', reason: `this host is ${process.arch}` };
  const obstacle = nestedObstacle();
  if (obstacle === undefined) return { accelerator: 'kvm', reason: 'this KVM nests' };
  return { accelerator: 'tcg', reason: `no nested KVM (${obstacle})` };
}

export interface Machine {
  readonly arch: TestArch;
  readonly accelerator: Accelerator;
  readonly cpuModel: string | undefined;
  readonly image: string;
  readonly initramfs: string;
  readonly memory: number;
  readonly cpus: number;
  readonly append: string | undefined;
  readonly root: string;
  readonly layers: readonly { readonly tag: string; readonly path: string }[];
  readonly shares: readonly { readonly tag: string; readonly path: string }[];
  /** Descriptors as QEMU inherits them: connected sockets, and for the console a file. */
  readonly fds: Readonly<Record<'control' | 'stdout' | 'stderr' | 'stdin' | 'console', number>>;
  readonly extra: readonly string[];
}

/** Commas separate QEMU's options; one in a value is doubled. */
const value = (text: string): string => text.replaceAll(',', ',,');

const BOARD: Readonly<Record<TestArch, Readonly<Record<Accelerator, { machine: string; cpu: string }>>>> = {
  x64: {
    kvm: { machine: 'pc', cpu: 'host' },
    tcg: { machine: 'pc', cpu: 'max,+svm,+npt' },
  },
  arm64: {
    kvm: { machine: 'virt,gic-version=host', cpu: 'host' },
    // Pointers are signed with a cipher that is cheap to emulate: the architecture's own costs a multiple of everything else.
    tcg: { machine: 'virt,virtualization=on,gic-version=3', cpu: 'max,pauth-impdef=on' },
  },
};

/**
 * A panic ends the machine at once; warnings and worse are shown, and a little more, so that a dead boot can be told from a slow one.
 * On a loaded host an emulated processor misses ticks: without no_timer_check the kernel then takes its timer for broken and panics ("IO-APIC +
 * timer doesn't work!"), and the TSC, which is the host's clock, is not to be given up for being late. Two NUMA nodes (x86-64), so that it can be seen
 * whether memory comes from the one that was asked for.
 */
const KERNEL_ARGUMENTS: Readonly<Record<TestArch, string>> = {
  x64: 'console=ttyS0,115200 earlyprintk=ttyS0,115200 panic=-1 loglevel=6 no_timer_check tsc=reliable numa=fake=2',
  arm64: 'console=ttyAMA0 earlycon=pl011,0x9000000 panic=-1 loglevel=6 kvm-arm.mode=protected',
};

export function kernelCommandLine(arch: TestArch, append: string | undefined): string {
  return [KERNEL_ARGUMENTS[arch], append].filter(Boolean).join(' ');
}

export function qemuArguments(machine: Machine): string[] {
  const { arch, accelerator, fds } = machine;
  const board = BOARD[arch][accelerator];
  const args = [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-monitor', 'none', '-no-reboot'],
    ...['-machine', board.machine, '-cpu', machine.cpuModel ?? board.cpu],
    ...['-accel', accelerator === 'kvm' ? 'kvm' : 'tcg,thread=multi'],
    ...['-m', `${Math.ceil(machine.memory / 2 ** 20)}M`, '-smp', String(machine.cpus)],
    ...['-kernel', machine.image, '-initrd', machine.initramfs],
    ...['-append', kernelCommandLine(arch, machine.append)],
    // A file takes every byte. A socket is full after some hundred single ones, and the emulated UART drops what it cannot pass on.
    ...['-chardev', `file,id=console,path=/dev/fd/${fds.console}`, '-serial', 'chardev:console'],
    ...['-device', 'virtio-serial-pci,id=ports,max_ports=8'],
  ];
  const names = ['control', 'stdout', 'stderr', 'stdin'] as const;
  names.forEach((name, index) => {
    args.push('-chardev', `socket,id=${name},fd=${fds[name]}`);
    args.push('-device', `virtserialport,bus=ports.0,nr=${index + 1},chardev=${name},name=privmem.${name}`);
  });
  const share = (tag: string, path: string, readonly: boolean): void => {
    const access = readonly ? ',readonly=on' : '';
    args.push('-fsdev', `local,id=fs-${tag},path=${value(path)},security_model=none,multidevs=remap${access}`);
    args.push('-device', `virtio-9p-pci,fsdev=fs-${tag},mount_tag=${tag}`);
  };
  share('root', machine.root, true);
  for (const { tag, path } of machine.layers) share(tag, path, true);
  for (const { tag, path } of machine.shares) share(tag, path, false);
  return [...args, ...machine.extra];
}
