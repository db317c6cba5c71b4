/**
 * A machine: vCPUs that run, each on a thread of its own, and what answers their exits. It owns none of VM, memory and devices' files: who made
 * them closes them.
 */
import { EventEmitter } from 'node:events';
import { StateError } from '../kernel/errors.ts';
import type { Exit } from '../kvm/exits.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { IoeventfdPlace, Vm } from '../kvm/vm.ts';
import { Bus, DeviceError } from './bus.ts';
import { CoalescedRing } from './coalesced.ts';
import { type Conversion, Converter } from './conversions.ts';
import { Dispatcher, type EndOfInterrupt } from './dispatch.ts';
import { Doorbells } from './doorbell.ts';
import { Gate } from './gate.ts';
import { channels, type MachineEvents, type MachineOptions, type MachineRunOptions } from './machine-words.ts';
import { VcpuRunner } from './run-vcpu.ts';
import { takeSnapshot, type VcpuSnapshot } from './snapshot.ts';
import { withState } from './states.ts';
import { type ExitStatistics, Statistics } from './statistics.ts';
import type { Device, DeviceEnd, MachineEnd, MachineMemory, Power } from './words.ts';

export type { MachineEvents, MachineOptions, MachineRunOptions } from './machine-words.ts';

/** How long a vCPU on the caller's thread keeps the event loop waiting. */
const SLICE_MS = 8;
/** Exits between two looks at the clock: reading it costs as much as decoding an exit. */
const EXITS_PER_LOOK = 64;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class Machine extends EventEmitter<MachineEvents> implements Power {
  readonly vm: Vm;
  readonly vcpus: readonly Vcpu[];
  readonly memory: MachineMemory | undefined;
  readonly ports = new Bus('port');
  readonly mmio = new Bus('memory');
  readonly #statistics = new Statistics();
  readonly #dispatcher: Dispatcher;
  readonly #doorbells: Doorbells;
  readonly #gate = new Gate();
  #ring: CoalescedRing | undefined;
  #end: MachineEnd | undefined;
  #ended: ((end: MachineEnd) => void) | undefined;
  #running = false;
  /** Whether somebody listens to exits: asked for each of them. */
  #watched = false;
  /** vCPUs that are in KVM_RUN or on their way there. */
  readonly #busy = new Set<Vcpu>();
  readonly #halted = new Set<Vcpu>();
  #parked: (() => void)[] = [];

  constructor(options: MachineOptions) {
    super();
    const { vm, vcpus, memory, policy } = options;
    if (vcpus.length === 0) throw new RangeError('a machine needs a vCPU');
    this.vm = vm;
    this.vcpus = vcpus;
    this.memory = memory;
    const converter = new Converter(memory, policy, (conversion) => this.#converted(conversion));
    this.#dispatcher = new Dispatcher(this.ports, this.mmio, converter, this.#statistics, options);
    const watch = (event: string | symbol): void => {
      if (event === 'exit') queueMicrotask(() => this.#watch());
    };
    for (const event of ['newListener', 'removeListener']) EventEmitter.prototype.on.call(this, event, watch);
    this.#doorbells = new Doorbells(vm, (error) =>
      this.#stop({ kind: 'device-error', vcpu: undefined, device: 'doorbell', error }),
    );
  }

  #watch(): void {
    this.#watched = this.listenerCount('exit') > 0;
  }

  /** A device's registers on a bus; sizes and addresses in bytes. RangeError where another device is. */
  attach(
    bus: 'port' | 'memory',
    device: Device,
    place: { readonly address: number; readonly size: number },
  ): () => void {
    return (bus === 'port' ? this.ports : this.mmio).attach(device, place.address, place.size);
  }

  /**
   * KVM_IOEVENTFD: writes there call `ring` with how many there were, within a millisecond, and do not end KVM_RUN. For devices that only need to
   * know that they were asked.
   */
  doorbell(place: IoeventfdPlace, ring: (times: number) => void): () => void {
    const remove = this.#doorbells.add(place, ring);
    if (this.#running) this.#doorbells.start();
    return remove;
  }

  /** KVM_EXIT_IOAPIC_EOI: `end` is called with the vector whenever the guest ends an interrupt that was routed as a level (KVM_CAP_SPLIT_IRQCHIP). */
  onEndOfInterrupt(end: EndOfInterrupt): void {
    this.#dispatcher.endOfInterrupt = end;
  }

  /** KVM_REGISTER_COALESCED_MMIO: writes there reach their device before the next exit does, in order, and end KVM_RUN only when 169 are kept. */
  coalesce(bus: 'port' | 'memory', address: number, size: number): void {
    const [first] = this.vcpus;
    this.vm.coalesce(bus, address, size);
    if (first !== undefined) this.#ring ??= new CoalescedRing(first);
  }

  get statistics(): ExitStatistics {
    return this.#statistics.snapshot();
  }

  get running(): boolean {
    return this.#running;
  }

  get paused(): boolean {
    return this.#gate.closed;
  }

  /**
   * Runs every vCPU until one of them, a device, the signal or `stop` ends the machine, and all have stopped. Never rejects for what the guest
   * does: that is the end's `kind`. Running again goes on where the vCPUs are. StateError while it runs.
   */
  async run({ signal, thread = 'own' }: MachineRunOptions = {}): Promise<MachineEnd> {
    if (this.#running) throw new StateError('the machine runs already');
    if (thread === 'caller' && this.vcpus.length > 1)
      throw new RangeError(`one thread runs one vCPU, the machine has ${this.vcpus.length}`);
    if (signal?.aborted) return { kind: 'aborted', reason: signal.reason };
    this.#running = true;
    this.#end = undefined;
    this.#halted.clear();
    const stopped = new Promise<MachineEnd>((resolve) => {
      this.#ended = resolve;
    });
    const abort = (): void => this.stop(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    this.#doorbells.start();
    try {
      const loops = this.vcpus.map((vcpu) => (thread === 'own' ? this.#loop(vcpu) : this.#loopHere(vcpu)));
      const end = await stopped;
      await Promise.all(loops);
      const complete = withState(end, this.vcpus);
      this.emit('end', complete);
      if (channels.end.hasSubscribers) channels.end.publish({ machine: this, end: complete });
      return complete;
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#doorbells.stop();
      this.#running = false;
    }
  }

  /** Power: a device ends the machine. */
  end(end: DeviceEnd): void {
    this.#stop(end);
  }

  /** Ends `run` with `aborted`. Does nothing when the machine does not run. */
  stop(reason: unknown = new Error('stopped')): void {
    this.#stop({ kind: 'aborted', reason });
  }

  /** Lets vCPU `id` come back from KVM_RUN once; it goes on at once. */
  kick(id: number): void {
    this.#vcpu(id).kick();
  }

  /** Resolves once no vCPU is in KVM_RUN: then snapshots can be taken. */
  async pause(): Promise<void> {
    if (!this.#gate.closed) {
      this.#gate.close();
      this.emit('pause');
    }
    for (const vcpu of this.#busy) vcpu.kick();
    if (this.#busy.size > 0) await new Promise<void>((resolve) => this.#parked.push(resolve));
  }

  resume(): void {
    if (!this.#gate.closed) return;
    this.#gate.open();
    this.emit('resume');
  }

  /** The state of vCPU `id`; the machine must be paused or at its end. */
  snapshot(id: number): VcpuSnapshot {
    const vcpu = this.#vcpu(id);
    if (this.#busy.has(vcpu)) throw new StateError(`vCPU ${id} runs: pause the machine first`);
    this.#settle(vcpu);
    return takeSnapshot(vcpu);
  }

  /** The registers are only right once the last exit's answer has reached them. */
  #settle(vcpu: Vcpu): void {
    for (let exit = vcpu.lastExit; exit?.name === 'KVM_EXIT_IO' || exit?.name === 'KVM_EXIT_MMIO'; ) {
      exit = vcpu.completeIo();
      const end = this.#dispatcher.handle(vcpu, exit);
      if (end !== undefined && end !== 'halt') this.#stop(end);
    }
  }

  #vcpu(id: number): Vcpu {
    const found = this.vcpus.find((vcpu) => vcpu.id === id);
    if (found === undefined) throw new RangeError(`the machine has no vCPU ${id}`);
    return found;
  }

  #converted(conversion: Conversion): void {
    this.#statistics.conversions++;
    this.#statistics.convertedBytes += conversion.size;
    this.emit('conversion', conversion);
    if (channels.conversion.hasSubscribers) channels.conversion.publish({ machine: this, conversion });
  }

  #stop(end: MachineEnd): void {
    if (!this.#running || this.#end !== undefined) return;
    this.#end = end;
    this.#ended?.(end);
    // Who waits at the gate must leave as well.
    this.#gate.open();
    for (const vcpu of this.#busy) vcpu.kick();
  }

  /** One exit; false when the vCPU must not run again. */
  #answer(vcpu: Vcpu, exit: Exit): boolean {
    if (this.#ring !== undefined) this.#ring.drain(this.ports, this.mmio);
    if (this.#doorbells.any) this.#doorbells.look();
    const end = this.#dispatcher.handle(vcpu, exit);
    if (channels.exit.hasSubscribers) channels.exit.publish({ machine: this, vcpu: vcpu.id, exit });
    if (this.#watched) this.emit('exit', vcpu.id, exit);
    if (end === 'halt') {
      this.#halted.add(vcpu);
      if (this.#halted.size === this.vcpus.length) this.#stop({ kind: 'halted', vcpu: vcpu.id });
      return false;
    }
    if (end !== undefined) this.#stop(end);
    return this.#end === undefined;
  }

  /** Nothing may escape: a loop that throws would leave the others running. */
  #failed(vcpu: Vcpu, error: unknown): void {
    if (error instanceof DeviceError) {
      this.#stop({ kind: 'device-error', vcpu: vcpu.id, device: error.device, error: error.cause });
    } else this.#stop({ kind: 'kernel-error', vcpu: vcpu.id, error });
  }

  #park(vcpu: Vcpu): void {
    this.#busy.delete(vcpu);
    if (this.#busy.size > 0) return;
    for (const resolve of this.#parked.splice(0)) resolve();
  }

  async #loop(vcpu: Vcpu): Promise<void> {
    const runner = new VcpuRunner(vcpu);
    const answer = (exit: Exit): boolean => this.#answer(vcpu, exit) && !this.#gate.closed;
    this.#busy.add(vcpu);
    try {
      while (this.#end === undefined) {
        if (this.#gate.closed) {
          this.#park(vcpu);
          await this.#gate.passed();
          this.#busy.add(vcpu);
          continue;
        }
        const exit = await runner.next();
        if (!this.#answer(vcpu, exit)) return;
        if (!this.#gate.closed) runner.burst(exit, answer);
        if (this.#halted.has(vcpu)) return;
      }
    } catch (error) {
      this.#failed(vcpu, error);
    } finally {
      this.#park(vcpu);
    }
  }

  async #loopHere(vcpu: Vcpu): Promise<void> {
    // So that the caller has the promise before the first exit.
    await turn();
    this.#busy.add(vcpu);
    try {
      for (let goOn = this.#end === undefined; goOn; ) {
        const until = performance.now() + SLICE_MS;
        do {
          for (let i = 0; i < EXITS_PER_LOOK && goOn; i++) goOn = this.#answer(vcpu, vcpu.runSync());
        } while (goOn && performance.now() < until);
        if (!goOn) return;
        if (this.#gate.closed) {
          this.#park(vcpu);
          await this.#gate.passed();
          this.#busy.add(vcpu);
        } else await turn();
        goOn = this.#end === undefined;
      }
    } catch (error) {
      this.#failed(vcpu, error);
    } finally {
      this.#park(vcpu);
    }
  }
}
