/** The two kernels of a differential run: the real one of this host, and a simulation with its profile. */
import os from 'node:os';
import type { Kernel } from '../../lib/kernel/kernel.ts';
import { loadNative } from '../../lib/kernel/native.ts';
import { nearestRelease, profileOf } from '../../lib/sim/profile.ts';
import { simKernel } from '../../lib/sim/sim-kernel.ts';
import { fakeKvm } from './fake-kvm.ts';
import type { MakePair } from './run.ts';
import { World } from './world.ts';

const O_RDWR = 2;
const KVM_CREATE_VM = 0xae01;

interface Vm {
  readonly kvm: number;
  readonly vm: number;
}

/** A VM, or why there is none. */
function vmOf(kernel: Kernel): Vm | string {
  const kvm = kernel.open('/dev/kvm', O_RDWR, 0);
  if (kvm < 0) return `/dev/kvm cannot be opened: errno ${-kvm}`;
  const vm = kernel.ioctl(kvm, KVM_CREATE_VM, 0, 1);
  if (vm >= 0) return { kvm, vm };
  kernel.close(kvm);
  return `KVM makes no VM: errno ${-vm}`;
}

export interface Host {
  readonly real: Kernel;
  /** Why guest_memfd is left out; undefined when it is compared too. */
  readonly noVm: string | undefined;
  readonly vm: Vm | undefined;
}

/** The real kernel, or why it cannot be had here. */
export function openHost(): Host | string {
  let real: Kernel;
  try {
    real = loadNative();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const vm = vmOf(real);
  return typeof vm === 'string' ? { real, noVm: vm, vm: undefined } : { real, noVm: undefined, vm };
}

/** Fresh worlds each time; the real one keeps its VM, since making VMs is slow. */
export function pairOn({ real, vm }: Host): MakePair {
  const profile = profileOf(nearestRelease(os.release()), real.arch);
  const secretmem = hasSecretmem(real);
  return () => {
    const kernel = simKernel({ profile, ram: os.totalmem(), fdLimit: 20_000, secretmem, kvm: fakeKvm });
    const simulatedVm = vm === undefined ? undefined : vmOf(kernel);
    if (typeof simulatedVm === 'string') throw new Error(simulatedVm);
    return { simulated: new World({ kernel, vm: simulatedVm }), real: new World({ kernel: real, vm }) };
  };
}

function hasSecretmem(kernel: Kernel): boolean {
  const fd = kernel.memfdSecret(0);
  if (fd >= 0) kernel.close(fd);
  return fd >= 0;
}
