/** One exit: to the device, to the conversions, or the end. What the vCPU gets as an answer is in its page afterwards. */
import type { Exit, IoExit, MmioExit } from '../kvm/exits.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import { KVM_RUN_EXIT_OFFSET, KVM_SYSTEM_EVENT } from '../uapi/index.ts';
import { kvm_run_emulation_failure } from '../uapi/kvm-run.ts';
import { type Bus, DeviceError } from './bus.ts';
import type { Converter } from './conversions.ts';
import type { Statistics } from './statistics.ts';
import type { MachineEnd } from './words.ts';

export interface DispatchOptions {
  /** Ports without a device: `ignore` reads ones and drops writes, as PCs do. Default `ignore`. */
  readonly unclaimedPorts?: 'ignore' | 'end';
  /** Memory without a slot or a device. Default `end`. */
  readonly holes?: 'ignore' | 'end';
}

/** Where the end of an interrupt goes: a split machine's IOAPIC. */
export type EndOfInterrupt = (vector: number) => void;

const { KVM_SYSTEM_EVENT_SHUTDOWN, KVM_SYSTEM_EVENT_RESET } = KVM_SYSTEM_EVENT.value;
const EMULATION = 1;
const INSTRUCTION_BYTES = 1n;

export class Dispatcher {
  readonly #ports: Bus;
  readonly #memory: Bus;
  readonly #converter: Converter;
  readonly #statistics: Statistics;
  readonly #endAtPorts: boolean;
  readonly #endAtHoles: boolean;
  endOfInterrupt: EndOfInterrupt | undefined;

  constructor(
    ports: Bus,
    memory: Bus,
    converter: Converter,
    statistics: Statistics,
    { unclaimedPorts = 'ignore', holes = 'end' }: DispatchOptions,
  ) {
    this.#ports = ports;
    this.#memory = memory;
    this.#converter = converter;
    this.#statistics = statistics;
    this.#endAtPorts = unclaimedPorts === 'end';
    this.#endAtHoles = holes === 'end';
  }

  /** `halt` when the vCPU executed HLT with nobody in the kernel to wake it; undefined when it may run again. */
  handle(vcpu: Vcpu, exit: Exit): MachineEnd | 'halt' | undefined {
    this.#statistics.count(exit);
    const { id } = vcpu;
    if (exit.name === 'KVM_EXIT_MEMORY_FAULT') return this.#converter.fault(id, exit);
    if (exit.name === 'KVM_EXIT_INTR') return undefined;
    this.#converter.progress(id);
    try {
      return this.#other(vcpu, exit);
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      return { kind: 'device-error', vcpu: id, device: error.device, error: error.cause };
    }
  }

  #other(vcpu: Vcpu, exit: Exit): MachineEnd | 'halt' | undefined {
    const { id } = vcpu;
    switch (exit.name) {
      case 'KVM_EXIT_IO':
        return this.#io(vcpu, exit);
      case 'KVM_EXIT_MMIO':
        return this.#mmio(vcpu, exit);
      case 'KVM_EXIT_HYPERCALL':
        vcpu.answer(this.#converter.hypercall(id, exit));
        return undefined;
      case 'KVM_EXIT_IOAPIC_EOI':
        this.endOfInterrupt?.(exit.vector);
        return undefined;
      case 'KVM_EXIT_HLT':
        return 'halt';
      case 'KVM_EXIT_SHUTDOWN':
        return { kind: 'triple-fault', vcpu: id };
      case 'KVM_EXIT_SYSTEM_EVENT': {
        if (exit.type === KVM_SYSTEM_EVENT_SHUTDOWN) return { kind: 'powered-off', by: 'KVM_SYSTEM_EVENT_SHUTDOWN' };
        if (exit.type === KVM_SYSTEM_EVENT_RESET) return { kind: 'reset', by: 'KVM_SYSTEM_EVENT_RESET' };
        return { kind: 'system-event', vcpu: id, event: exit };
      }
      case 'KVM_EXIT_INTERNAL_ERROR': {
        const instruction = exit.suberror === EMULATION ? instructionOf(vcpu, exit.data.length) : undefined;
        return { kind: 'internal-error', vcpu: id, exit, instruction };
      }
      case 'KVM_EXIT_FAIL_ENTRY': {
        const detail = `hardware says 0x${exit.hardwareReason.toString(16)}`;
        return { kind: 'unhandled-exit', vcpu: id, reason: exit.reason, name: exit.name, detail };
      }
      default:
        return { kind: 'unhandled-exit', vcpu: id, reason: exit.reason, name: exit.name, detail: 'nobody handles it' };
    }
  }

  #io(vcpu: Vcpu, exit: IoExit): MachineEnd | undefined {
    const { port, size, count, data, direction } = exit;
    const isWrite = direction === 'out';
    this.#statistics.port(port);
    let claimed = true;
    // String I/O: the same port again and again.
    for (let i = 0; i < count; i++) {
      claimed =
        (isWrite ? this.#ports.write(port, data, i * size, size) : this.#ports.read(port, data, i * size, size)) &&
        claimed;
    }
    if (!claimed) {
      this.#statistics.unclaimed++;
      if (this.#endAtPorts) return { kind: 'hole', vcpu: vcpu.id, bus: 'port', address: port, size, isWrite };
    }
    if (!isWrite) vcpu.answer(data);
    return undefined;
  }

  #mmio(vcpu: Vcpu, exit: MmioExit): MachineEnd | undefined {
    const { gpa, length, isWrite, data } = exit;
    this.#statistics.page(gpa);
    const claimed = isWrite ? this.#memory.write(gpa, data) : this.#memory.read(gpa, data);
    if (!claimed) {
      this.#statistics.unclaimed++;
      if (this.#endAtHoles) {
        return { kind: 'hole', vcpu: vcpu.id, bus: 'memory', address: gpa, size: length, isWrite };
      }
    }
    if (!isWrite) vcpu.answer(data);
    return undefined;
  }
}

/** The bytes that KVM could not emulate. Include/uapi/linux/kvm.h, emulation_failure. */
function instructionOf(vcpu: Vcpu, words: number): Uint8Array | undefined {
  if (words < 3) return undefined;
  const { offsets } = kvm_run_emulation_failure;
  const page = vcpu.runPage;
  const flags = page.getBigUint64(KVM_RUN_EXIT_OFFSET + offsets.flags, true);
  if ((flags & INSTRUCTION_BYTES) === 0n) return undefined;
  const size = Math.min(15, page.getUint8(KVM_RUN_EXIT_OFFSET + offsets.insn_size));
  const start = page.byteOffset + KVM_RUN_EXIT_OFFSET + offsets.insn_bytes;
  return new Uint8Array(page.buffer, start, size).slice();
}
