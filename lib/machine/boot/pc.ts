/** A machine that Linux boots on: memory, vCPUs, interrupt controllers, and the devices of a small PC. */
import type { Sys } from '../../kernel/sys.ts';
import { Kvm } from '../../kvm/kvm.ts';
import type { Vcpu } from '../../kvm/vcpu.ts';
import type { Vm } from '../../kvm/vm.ts';
import { KVM_CAP, KVM_VM_TYPE } from '../../uapi/index.ts';
import {
  acpiPm,
  DEBUG_EXIT,
  debugExit,
  I8042_COMMAND,
  I8042_DATA,
  i8042,
  PM_TIMER,
  PM1A_CONTROL,
  PM1A_EVENT,
  RESET_CONTROL,
  resetControl,
} from '../devices/power.ts';
import { RTC, rtc } from '../devices/rtc.ts';
import { COM1, Serial } from '../devices/serial.ts';
import { type VirtioBlockOptions, virtioBlock } from '../devices/virtio-block.ts';
import { type VirtioConsole, virtioConsole } from '../devices/virtio-console.ts';
import { type VirtioDevice, VirtioMmio } from '../devices/virtio-mmio.ts';
import { Machine } from '../machine.ts';
import { GuestMemory } from '../memory/index.ts';
import type { Device } from '../words.ts';
import type { VirtioPlace } from './acpi.ts';
import { type CpuidPolicy, cpuidFor } from './cpuid.ts';
import { setEntry, setFirmwareState } from './entry.ts';
import { createInterrupts, type Interrupts, type IrqchipMode } from './interrupts.ts';
import { IDENTITY_MAP, ramRanges, TSS, VIRTIO_MMIO } from './layout.ts';
import { type KernelImage, type Loaded, loadLinux } from './linux.ts';
import { privateRest } from './private.ts';

export interface PcOptions {
  readonly kernel: KernelImage;
  readonly initrd?: Uint8Array | undefined;
  readonly commandLine: string;
  /** Bytes; a multiple of the page size. */
  readonly memory: number;
  readonly cpus: number;
  /** Gets what the guest writes to its serial console. */
  readonly output: (bytes: Uint8Array) => void;
  /** Raw files as disks, in order: /dev/vda, /dev/vdb, … */
  readonly disks?: readonly VirtioBlockOptions[];
  /** A second console, hvc0, by virtio: gets what the guest writes there. */
  readonly virtioOutput?: (bytes: Uint8Array) => void;
  /** Default `kernel`. */
  readonly irqchip?: IrqchipMode;
  /** Default `modest`. */
  readonly cpuid?: CpuidPolicy;
  readonly protocol?: 'auto' | '64-bit' | 'PVH';
  /** An SW-protected VM: everything but what the loader wrote starts private. */
  readonly private?: boolean;
}

export interface Pc {
  readonly machine: Machine;
  readonly memory: GuestMemory;
  readonly serial: Serial;
  /** Where `virtioOutput` was given. */
  readonly console: VirtioConsole | undefined;
  readonly loaded: Loaded;
  /** Bytes that start private. */
  readonly privateBytes: number;
  /** Closes all that was opened for it. */
  close(): void;
}

const MOST_CPUS = 254;
const FIRST_VIRTIO_GSI = 16;
const MOST_VIRTIO = 8;

/** UnsupportedError without KVM; RangeError when the kernel does not fit; KernelError when the host refuses a step. */
export function openPc(sys: Sys, options: PcOptions): Pc {
  const { cpus } = options;
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > MOST_CPUS)
    throw new RangeError(`cpus must be 1 to ${MOST_CPUS}, got ${cpus}`);
  const kvm = Kvm.open(sys);
  const closers: (() => void)[] = [() => kvm.close()];
  const close = (): void => {
    for (const one of closers.splice(0).reverse()) one();
  };
  try {
    const { KVM_X86_DEFAULT_VM, KVM_X86_SW_PROTECTED_VM } = KVM_VM_TYPE.value;
    const vm = kvm.createVm(options.private ? KVM_X86_SW_PROTECTED_VM : KVM_X86_DEFAULT_VM);
    vm.setTssAddr(TSS);
    vm.setIdentityMapAddr(IDENTITY_MAP);
    const interrupts = createInterrupts(vm, options.irqchip ?? 'kernel');
    const memory = openMemory(vm, options);
    closers.push(() => memory.close());
    const vcpus = openVcpus(kvm, vm, options);
    const machine = new Machine({ vm, vcpus, memory, holes: 'ignore' });
    interrupts.attach(machine);
    const serial = new Serial({ output: options.output, irq: interrupts.isa(COM1.irq) });
    attachPc(machine, serial);
    closers.push(() => serial.close());
    const console = options.virtioOutput === undefined ? undefined : virtioConsole(options.virtioOutput);
    const virtio: VirtioDevice[] = console === undefined ? [] : [console];
    closers.push(() => {
      for (const device of virtio) device.close?.();
    });
    for (const disk of options.disks ?? []) virtio.push(virtioBlock(disk));
    const places = attachVirtio(machine, memory, interrupts, virtio);
    const loaded = loadLinux(memory, { ...options, virtio: places, pic: interrupts.pic });
    const privateBytes = options.private ? privateRest(memory, loaded) : 0;
    const [boot] = vcpus;
    if (boot !== undefined) setEntry(boot, loaded.entry);
    return { machine, memory, serial, console, loaded, privateBytes, close };
  } catch (error) {
    close();
    throw error;
  }
}

function openMemory(vm: Vm, options: PcOptions): GuestMemory {
  const memory = new GuestMemory(vm);
  try {
    ramRanges(options.memory).forEach(({ gpa, size }, i) => {
      const place = { name: i === 0 ? 'ram' : 'ram above 4 GiB', gpa, size, shared: 'memfd' } as const;
      memory.addRam(options.private ? { ...place, private: true, initial: 'shared' } : place);
    });
    return memory;
  } catch (error) {
    memory.close();
    throw error;
  }
}

function openVcpus(kvm: Kvm, vm: Vm, options: PcOptions): Vcpu[] {
  const supported = kvm.supportedCpuid();
  const { KVM_CAP_TSC_DEADLINE_TIMER, KVM_CAP_TSC_CONTROL } = KVM_CAP.value;
  // A KVM that cannot scale the counter, on a host that measured its rate wrongly, has the deadlines of guests minutes late.
  const tscDeadline = kvm.checkExtension(KVM_CAP_TSC_DEADLINE_TIMER) > 0 && kvm.checkExtension(KVM_CAP_TSC_CONTROL) > 0;
  return Array.from({ length: options.cpus }, (_, id) => {
    const vcpu = vm.createVcpu(id);
    const { cpuid: policy = 'modest', cpus } = options;
    const paravirtual = options.private !== true;
    vcpu.x64.setCpuid(cpuidFor({ supported, policy, vcpu: id, cpus, apic: true, tscDeadline, paravirtual }));
    setFirmwareState(vcpu);
    return vcpu;
  });
}

/** Each on an input of its own above those of ISA. */
function attachVirtio(
  machine: Machine,
  memory: GuestMemory,
  interrupts: Interrupts,
  devices: readonly VirtioDevice[],
): VirtioPlace[] {
  if (devices.length > MOST_VIRTIO)
    throw new RangeError(`${MOST_VIRTIO} virtio devices at most, got ${devices.length}`);
  return devices.map((device, i) => {
    const gpa = VIRTIO_MMIO.base + i * VIRTIO_MMIO.step;
    const place = { gpa, size: VIRTIO_MMIO.size, gsi: FIRST_VIRTIO_GSI + i, trigger: interrupts.virtioTrigger };
    const transport = new VirtioMmio(device, memory, interrupts.virtio(place.gsi));
    machine.attach('memory', transport, { address: place.gpa, size: place.size });
    return place;
  });
}

function attachPc(machine: Machine, serial: Serial): void {
  const port = (device: Device, { port: address, size }: { readonly port: number; readonly size: number }): void => {
    machine.attach('port', device, { address, size });
  };
  const keyboard = i8042(machine);
  const pm = acpiPm(machine);
  port(serial, COM1);
  port(rtc(), RTC);
  port(keyboard.data, I8042_DATA);
  port(keyboard.command, I8042_COMMAND);
  port(debugExit(machine), DEBUG_EXIT);
  port(resetControl(machine), RESET_CONTROL);
  port(pm.event, PM1A_EVENT);
  port(pm.control, PM1A_CONTROL);
  port(pm.timer, PM_TIMER);
}
