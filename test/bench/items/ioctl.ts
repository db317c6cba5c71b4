/** The cheapest request there is, KVM_GET_API_VERSION: the price of the boundary itself, here and in other foreign function interfaces. */
import { Kvm, openKernel } from 'privmem';
import { KVM_GET_API_VERSION } from 'privmem/uapi';
import { Child } from '../child.ts';
import { inPackage } from '../host.ts';
import { type Contestant, type Item, inC, mustBe, type Ready, timed } from '../item.ts';

const AIM = 1.4;
const API_VERSION = 12;
const REQUEST = KVM_GET_API_VERSION.request;

/** A contestant that gets an open /dev/kvm. */
const onKvm = (name: string, loop: (kvm: Kvm) => (ops: number) => void, aim?: number): Contestant => ({
  name,
  ...(aim === undefined ? {} : { aim }),
  open: () => {
    const kvm = Kvm.open(openKernel());
    return { batch: timed(loop(kvm)), close: () => kvm.close() };
  },
});

function addonLoop({ sys: { kernel }, fd }: Kvm): (ops: number) => void {
  return (ops) => {
    let sum = 0;
    for (let i = 0; i < ops; i++) sum += kernel.ioctl(fd, REQUEST, 0);
    mustBe(sum, ops * API_VERSION, 'KVM_GET_API_VERSION');
  };
}

function strictLoop({ sys, fd }: Kvm): (ops: number) => void {
  return (ops) => {
    let sum = 0;
    for (let i = 0; i < ops; i++) sum += sys.ioctl(fd, KVM_GET_API_VERSION);
    mustBe(sum, ops * API_VERSION, 'KVM_GET_API_VERSION');
  };
}

function objectLoop(kvm: Kvm): (ops: number) => void {
  return (ops) => {
    let sum = 0;
    for (let i = 0; i < ops; i++) sum += kvm.apiVersion();
    mustBe(sum, ops * API_VERSION, 'KVM_GET_API_VERSION');
  };
}

async function openKoffi(): Promise<Ready> {
  const { default: koffi } = await import('koffi').catch(() => {
    throw new Error('koffi is not installed');
  });
  const kvm = Kvm.open(openKernel());
  const { fd } = kvm;
  // The process's own C library. Not declared as variadic, which would cost koffi a check for each call.
  const ioctl = koffi.load(null).func('int ioctl(int fd, unsigned long request, unsigned long argument)');
  const loop = (ops: number): void => {
    let sum = 0;
    for (let i = 0; i < ops; i++) sum += ioctl(fd, REQUEST, 0) as number;
    mustBe(sum, ops * API_VERSION, 'KVM_GET_API_VERSION');
  };
  return { batch: timed(loop), close: () => kvm.close() };
}

async function openPython(): Promise<Ready> {
  const child = await Child.start('python3', 'python3', [inPackage('test/bench/reference/ioctl.py')]);
  return {
    batch: (ops) => child.batch('ioctl', ops, 0),
    close: () => {
      void child.close();
    },
  };
}

export const ioctlItems = (): Item[] => [
  {
    id: 'ioctl',
    title: 'cheapest ioctl',
    reference: ['ioctl', 0],
    contestants: [
      // What any program with more than one thread pays: the kernel counts its use of the descriptor.
      { name: 'C with a second thread', open: (c) => inC(c, 'ioctl-threaded', 0) },
      onKvm('addon', addonLoop, AIM),
      onKvm('Sys.ioctl', strictLoop),
      onKvm('Kvm.apiVersion', objectLoop),
      { name: 'koffi', open: openKoffi },
      { name: 'Python fcntl.ioctl', open: openPython },
    ],
  },
];
