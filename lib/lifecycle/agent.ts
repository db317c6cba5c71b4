/** The host's side of the guest: starts it, gives it orders, serves what it asks for, and tells how it ended. */
import { type GuestProgram, ReportCollector } from '../guest/index.ts';
import { KernelError, UnsupportedError } from '../kernel/errors.ts';
import type { Exit, HypercallExit } from '../kvm/exits.ts';
import type { Vcpu } from '../kvm/vcpu.ts';
import type { Mapping } from '../memory/mapping.ts';
import { KVM_EXIT_MEMORY_ERROR, KVM_RUN_EXIT_OFFSET, kvm_run, kvm_run_memory_error } from '../uapi/index.ts';
import { MAIL, MAIL_SIZE, MAILBOX, ORDER, type Order, TAG } from './agent-program.ts';
import { GuestFault, Unexpected } from './words.ts';

/** What the guest asks for by KVM_HC_MAP_GPA_RANGE. */
export interface ConversionRequest {
  readonly gpa: number;
  /** Bytes. */
  readonly size: number;
  readonly to: 'private' | 'shared';
}

export interface Orders {
  readonly address: number;
  /** Bytes. */
  readonly length?: number;
  readonly value?: bigint;
  readonly source?: number;
}

export interface Answer {
  readonly value: bigint;
  /** Times that the guest left KVM_RUN. */
  readonly exits: number;
  /** Conversions that it asked the host for. */
  readonly conversions: number;
}

const MAP_GPA_RANGE = 12;
const PAGE = 4096n;
const ENCRYPTED = 0x10n;
/** What the guest is told of a request that could not be carried out: the only errno that every technology passes on. */
const EINVAL = 22;

function describe(exit: Exit): string {
  switch (exit.name) {
    case 'KVM_EXIT_MMIO':
      return `MMIO ${exit.isWrite ? 'write' : 'read'} of ${exit.length} bytes at gpa 0x${exit.gpa.toString(16)}, which no memslot backs`;
    case 'KVM_EXIT_INTERNAL_ERROR':
      return `KVM internal error ${exit.suberrorName ?? exit.suberror}`;
    case 'KVM_EXIT_FAIL_ENTRY':
      return `the processor does not enter the guest (reason 0x${exit.hardwareReason.toString(16)})`;
    default:
      return exit.name ?? `exit reason ${exit.reason}`;
  }
}

function requestOf({ nr, args }: HypercallExit): ConversionRequest {
  const [gpa = 0n, pages = 0n, attributes = 0n] = args;
  if (nr !== MAP_GPA_RANGE) throw new Unexpected(`the guest made hypercall ${nr}, which nobody serves`);
  return { gpa: Number(gpa), size: Number(pages * PAGE), to: (attributes & ENCRYPTED) === 0n ? 'shared' : 'private' };
}

/** The memory error of the 2022 series, by which KVM_RUN fails with EPERM; undefined when that is no such failure. */
function memoryError(vcpu: Vcpu, { code }: KernelError): GuestFault | undefined {
  const page = vcpu.runPage;
  if (code !== 'EPERM' || page.getUint32(kvm_run.offsets.exit_reason, true) !== KVM_EXIT_MEMORY_ERROR) return undefined;
  const bytes = new Uint8Array(page.buffer, page.byteOffset + KVM_RUN_EXIT_OFFSET, kvm_run_memory_error.size);
  const { flags, gpa, size } = kvm_run_memory_error.decode(bytes);
  return new GuestFault({ name: 'KVM_EXIT_MEMORY_ERROR', code, gpa, size, private: (flags & 1) !== 0 });
}

export interface AgentHost {
  readonly vcpu: Vcpu;
  readonly program: GuestProgram;
  /** Backs the guest's memory from gpa 0 on, as the host reaches it. */
  readonly memory: Mapping;
  readonly signal: AbortSignal;
  /** Carries out what the guest asks for; what it throws ends the order. */
  readonly convert: (request: ConversionRequest) => void;
  /** Puts the vCPU at the program's beginning once more. Absent where registers are nobody's to set. */
  readonly restart?: () => void;
}

export class Agent {
  readonly #host: AgentHost;
  readonly #collector: ReportCollector;
  #ready = false;
  /** The guest stands before an access that faulted, and tries it again when it runs. */
  #hangs = false;
  /** In words, how the guest ended. */
  #dead: string | undefined;

  constructor(host: AgentHost) {
    this.#host = host;
    this.#collector = new ReportCollector(host.program.reportGpa);
  }

  get vcpu(): Vcpu {
    return this.#host.vcpu;
  }

  /**
   * One order, to its end. GuestFault when the guest touches memory that it cannot have: where registers can be set it begins anew with the next
   * order, else it tries that access again first. Unexpected for an exit that nobody expects; UnsupportedError once that has ended it for good.
   */
  async order(order: Order, { address, length = 0, value = 0n, source = 0 }: Orders): Promise<Answer> {
    let exits = 0;
    if (!this.#ready) exits += (await this.#run()).exits;
    const mail = new DataView(new ArrayBuffer(MAIL_SIZE));
    mail.setBigUint64(MAIL.order, BigInt(ORDER[order]), true);
    mail.setBigUint64(MAIL.address, BigInt(address), true);
    mail.setBigUint64(MAIL.length, BigInt(length), true);
    mail.setBigUint64(MAIL.value, value, true);
    mail.setBigUint64(MAIL.source, BigInt(source), true);
    this.#host.memory.write(MAILBOX, new Uint8Array(mail.buffer));
    const answer = await this.#run();
    return { ...answer, exits: exits + answer.exits };
  }

  /** Runs until the guest waits for an order. */
  async #run(): Promise<Answer> {
    const { vcpu, signal, restart, convert } = this.#host;
    if (this.#dead !== undefined && restart === undefined)
      throw new UnsupportedError('the guest', `it ended: ${this.#dead}`, 'its registers are nobody’s to set');
    if (this.#dead !== undefined || this.#hangs) {
      restart?.();
      this.#dead = undefined;
      this.#hangs = false;
      const first = await this.#run();
      const then = await this.#run();
      return { ...then, exits: first.exits + then.exits };
    }
    let refusal: unknown;
    let value = 0n;
    for (let exits = 1, conversions = 0; ; exits++) {
      const exit = await this.#next(vcpu, signal);
      if (exit.name === 'KVM_EXIT_INTR') continue;
      if (exit.name === 'KVM_EXIT_MEMORY_FAULT') {
        this.#hangs = true;
        throw new GuestFault(exit);
      }
      if (exit.name === 'KVM_EXIT_HYPERCALL') {
        try {
          convert(requestOf(exit));
          vcpu.answer(0);
        } catch (error) {
          refusal ??= error;
          vcpu.answer(EINVAL);
        }
        conversions++;
        continue;
      }
      const event = exit.name === 'KVM_EXIT_MMIO' ? this.#collector.accept(exit) : undefined;
      if (event === undefined) throw this.#ended(`the guest stopped: ${describe(exit)}`);
      if (event === 'pending') continue;
      if (event.kind !== 'report') {
        throw this.#ended(
          event.kind === 'exception'
            ? `the guest took an exception at 0x${event.pc.toString(16)} (syndrome 0x${event.syndrome.toString(16)}, address 0x${event.address.toString(16)})`
            : `the guest stopped by itself (${event.kind})`,
        );
      }
      if (event.tag === TAG.result) value = event.value;
      else {
        this.#ready = true;
        if (refusal !== undefined) throw refusal;
        return { value, exits, conversions };
      }
    }
  }

  async #next(vcpu: Vcpu, signal: AbortSignal): Promise<Exit> {
    try {
      return await vcpu.run({ signal });
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      const fault = memoryError(vcpu, error);
      // Where KVM_RUN does not even begin, the guest is where it was.
      if (fault !== undefined || error.code === 'EFAULT') this.#hangs = true;
      else if (error.code === 'EIO') this.#dead = `KVM_RUN: ${error.code}`;
      throw fault ?? error;
    }
  }

  #ended(message: string): Unexpected {
    this.#dead = message;
    return new Unexpected(message);
  }

  close(): void {
    this.#host.vcpu.close();
  }
}
