/** The errors of the package. Each carries a brand, so that checks work across copies of the package and across realms. */
import { errnoName, errnoText } from './errno.ts';

const brand = (name: string): symbol => Symbol.for(`privmem.${name}`);

/** What `instanceof` asks a branded class: the brand. Classes that extend one inherit this and must not: they have no brand of their own. */
function byBrand(symbol: symbol): (this: unknown, value: unknown) => boolean {
  return function (value) {
    const branded = typeof this === 'function' && Object.hasOwn(this, Symbol.hasInstance);
    if (!branded) return Function.prototype[Symbol.hasInstance].call(this, value);
    return typeof value === 'object' && value !== null && symbol in value;
  };
}

export interface KernelErrorInit {
  /** Positive, as in errno.h. */
  errno: number;
  /** The system call, as in the manual pages: `ioctl`, `fallocate`. */
  syscall: string;
  /** The request of an ioctl, by name: `KVM_CREATE_GUEST_MEMFD`. */
  request?: string | undefined;
  /** The arguments as a trace shows them, structs decoded. */
  args: readonly string[];
  hint?: string | undefined;
}

/** A kernel refused a system call. */
export class KernelError extends Error {
  static readonly #brand = brand('KernelError');
  static override readonly [Symbol.hasInstance] = byBrand(KernelError.#brand);
  /** `EINVAL` */
  readonly code: string;
  /** Positive, as in errno.h (Node's own system errors carry it negated). */
  readonly errno: number;
  readonly syscall: string;
  readonly request: string | undefined;
  readonly args: readonly string[];
  /** What usually causes this errno of this request, and the next step. */
  readonly hint: string | undefined;

  constructor(init: KernelErrorInit) {
    const call = `${init.syscall}(${init.args.join(', ')})`;
    const hint = init.hint === undefined ? '' : `\nhint: ${init.hint}`;
    super(`${call}: ${errnoName(init.errno)}, ${errnoText(init.errno)}${hint}`);
    this.name = 'KernelError';
    this.code = errnoName(init.errno);
    this.errno = init.errno;
    this.syscall = init.syscall;
    this.request = init.request;
    this.args = init.args;
    this.hint = init.hint;
    Object.defineProperty(this, KernelError.#brand, { value: true });
  }
}

export type FaultKind = 'SIGBUS' | 'SIGSEGV';

/** Why a copy stopped before its end. */
export interface MemoryFault {
  readonly kind: FaultKind;
  /** si_code by name: BUS_ADRERR, BUS_MCEERR_AR, SEGV_MAPERR, SEGV_ACCERR, or a number. */
  readonly code: string;
  /** The byte that could not be reached. */
  readonly hva: number;
  /** The same, in bytes from the start of the mapping. */
  readonly offset: number;
  /** Bytes done before it. */
  readonly bytesDone: number;
}

/** A fault-safe access met memory that the host cannot reach: a private page, a hole, memory beyond the end of the file. */
export class MemoryFaultError extends Error {
  static readonly #brand = brand('MemoryFaultError');
  static override readonly [Symbol.hasInstance] = byBrand(MemoryFaultError.#brand);
  readonly fault: MemoryFault;

  constructor(action: string, fault: MemoryFault) {
    const reason =
      fault.kind === 'SIGBUS'
        ? 'no page can be had there: private, or beyond the end of the file'
        : 'not mapped, or no right to it';
    super(
      `${action}: ${fault.kind} (${fault.code}) at offset 0x${fault.offset.toString(16)} (hva 0x${fault.hva.toString(16)}) ` +
        `after ${fault.bytesDone} bytes; ${reason}`,
    );
    this.name = 'MemoryFaultError';
    this.fault = fault;
    Object.defineProperty(this, MemoryFaultError.#brand, { value: true });
  }
}

/** The platform, the kernel or the rights at hand cannot do what was asked for. */
export class UnsupportedError extends Error {
  static readonly #brand = brand('UnsupportedError');
  static override readonly [Symbol.hasInstance] = byBrand(UnsupportedError.#brand);
  /** What is missing, in a few words: `/dev/kvm`, `KVM_CAP_GUEST_MEMFD`. */
  readonly missing: string;
  readonly reason: string;
  /** What the user can do about it. */
  readonly nextStep: string;

  constructor(missing: string, reason: string, nextStep: string, options?: ErrorOptions) {
    super(`${missing}: ${reason}\nnext step: ${nextStep}`, options);
    this.name = 'UnsupportedError';
    this.missing = missing;
    this.reason = reason;
    this.nextStep = nextStep;
    Object.defineProperty(this, UnsupportedError.#brand, { value: true });
  }
}

/** Something was used after `close()`, or after its parent was closed. */
export class DisposedError extends Error {
  static readonly #brand = brand('DisposedError');
  static override readonly [Symbol.hasInstance] = byBrand(DisposedError.#brand);

  constructor(what: string) {
    super(`${what} is closed`);
    this.name = 'DisposedError';
    Object.defineProperty(this, DisposedError.#brand, { value: true });
  }
}

/** The object is in a state in which this cannot be done: a vCPU that runs, a mapping that a slot still uses. */
export class StateError extends Error {
  static readonly #brand = brand('StateError');
  static override readonly [Symbol.hasInstance] = byBrand(StateError.#brand);

  constructor(message: string) {
    super(message);
    this.name = 'StateError';
    Object.defineProperty(this, StateError.#brand, { value: true });
  }
}
