import { ControlFlow } from './control-flow.ts';
import type { ProgramFrame } from './frame.ts';
import type { AccessSize } from './generator.ts';
import type { Integer } from './numbers.ts';
import { formatHex, toRange, toUnsigned } from './numbers.ts';
import type { Pattern } from './pattern.ts';
import { patternUnits } from './pattern.ts';
import { CHECK_TAGS, FIRST_RESERVED_TAG, reportAddress } from './report.ts';
import type { Operand } from './value.ts';
import { Value } from './value.ts';

/** A check of a program, for whoever reads its outcome. `gpa` and `length` are undefined when the guest computes them. */
export interface ProgramCheck {
  readonly id: number;
  readonly gpa: number | undefined;
  readonly length: number | undefined;
  readonly pattern: Pattern;
  /** Bytes compared at a time: how wide `expected` and `actual` are. */
  readonly unit: 1 | 8;
}

export interface AccessOptions {
  /** Bytes: 1, 2, 4 or 8 (default 8). Loads of fewer than 8 are zero-extended. */
  readonly size?: AccessSize;
}

/** What a guest program can do on any architecture. Addresses are guest physical; numbers are 64 bits, unsigned. */
export class GuestBuilder extends ControlFlow {
  readonly checks: ProgramCheck[] = [];
  protected readonly reportGpa: number;

  constructor(frame: ProgramFrame, reportGpa: number) {
    super(frame);
    this.reportGpa = reportGpa;
  }

  load(gpa: Operand, options: AccessOptions = {}): Value {
    const { size = 8 } = options;
    const address = this.frame.address(gpa, size, 'load');
    this.frame.note(`load ${text(gpa)}`);
    const result = this.frame.newValue();
    this.frame.code.load(result.slot, address, size);
    return result;
  }

  /** Stores the low `size` bytes. */
  store(gpa: Operand, value: Operand, options: AccessOptions = {}): void {
    const { size = 8 } = options;
    const address = this.frame.address(gpa, size, 'store');
    const source = this.frame.source(value, 'store value');
    this.frame.note(`store ${text(gpa)}`);
    this.frame.code.store(address, source, size);
  }

  /** Fills `length` bytes. A length computed by the guest is rounded down to what the pattern consists of. */
  fill(gpa: Operand, length: Operand, pattern: Pattern): void {
    const units = patternUnits(pattern, known(length), 'fill');
    const address = this.frame.address(gpa, length, 'fill');
    const count = this.frame.source(length, 'fill length');
    this.frame.note(`fill ${text(gpa)}`);
    this.frame.code.fill(address, count, units);
  }

  /**
   * Compares memory with a pattern and reports the outcome: passed, or the first mismatch (see CHECK_TAGS). The program
   * goes on either way. The result is 1 when everything matched, else 0.
   */
  check(gpa: Operand, length: Operand, pattern: Pattern): Value {
    const { frame } = this;
    const units = patternUnits(pattern, known(length), 'check');
    const address = frame.address(gpa, length, 'check');
    const count = frame.source(length, 'check length');
    frame.note(`check ${text(gpa)}`);
    const id = this.checks.length;
    this.checks.push({ id, gpa: known(gpa), length: known(length), pattern, unit: units.unit });
    const { code } = frame;
    const [passed, end] = [code.label('passed'), code.label('end')];
    const [result, at, expected, actual] = [frame.newValue(), frame.newValue(), frame.newValue(), frame.newValue()];
    const slots = { gpa: at.slot, expected: expected.slot, actual: actual.slot };
    code.check(address, count, units, passed, slots);
    this.send(CHECK_TAGS.FAILED, id);
    this.send(CHECK_TAGS.GPA, at);
    this.send(CHECK_TAGS.EXPECTED, expected);
    this.send(CHECK_TAGS.ACTUAL, actual);
    code.move(result.slot, { constant: 0n });
    code.jump(end);
    code.bind(passed);
    this.send(CHECK_TAGS.PASSED, id);
    code.move(result.slot, { constant: 1n });
    code.bind(end);
    return result;
  }

  /** Sum of the 64-bit words of a range, modulo 2^64: a number that only somebody who read all of it can know. */
  checksum(gpa: Operand, length: Operand): Value {
    // A bigint pattern has the same rule: whole words.
    patternUnits(0n, known(length), 'checksum');
    const address = this.frame.address(gpa, length, 'checksum');
    const count = this.frame.source(length, 'checksum length');
    this.frame.note(`checksum ${text(gpa)}`);
    const result = this.frame.newValue();
    this.frame.code.checksum(result.slot, address, count);
    return result;
  }

  /** Copies upwards: with overlapping ranges `to` must lie below `from`. */
  copy(to: Operand, from: Operand, length: Operand): void {
    const target = this.frame.address(to, length, 'copy target');
    const origin = this.frame.address(from, length, 'copy source');
    const count = this.frame.source(length, 'copy length');
    this.frame.note(`copy ${text(from)} to ${text(to)}`);
    this.frame.code.copy(target, origin, count);
  }

  /** Adds to memory atomically (8 bytes, aligned) and gives the old value. */
  fetchAdd(gpa: Operand, value: Operand): Value {
    const address = this.frame.address(gpa, 8, 'fetchAdd');
    const source = this.frame.source(value, 'fetchAdd value');
    this.frame.note(`fetchAdd ${text(gpa)}`);
    const old = this.frame.newValue();
    this.frame.code.fetchAdd(old.slot, address, source);
    return old;
  }

  /** Replaces `expected` by `desired` in memory atomically (8 bytes, aligned) and gives what memory held. */
  compareExchange(gpa: Operand, expected: Operand, desired: Operand): Value {
    const address = this.frame.address(gpa, 8, 'compareExchange');
    const from = this.frame.source(expected, 'compareExchange expected');
    const to = this.frame.source(desired, 'compareExchange desired');
    this.frame.note(`compareExchange ${text(gpa)}`);
    const old = this.frame.newValue();
    this.frame.code.compareExchange(old.slot, address, from, to);
    return old;
  }

  /** Gives a value to the host under a tag (0 ... FIRST_RESERVED_TAG - 1). RangeError for other tags. */
  report(tag: number, value: Operand): void {
    if (tag >= FIRST_RESERVED_TAG) throw new RangeError(`report tag ${tag}: ${FIRST_RESERVED_TAG} and up are reserved`);
    reportAddress(tag, this.reportGpa);
    this.frame.source(value, 'report value');
    this.frame.note(`report ${tag}`);
    this.send(tag, value);
  }

  /** Spins as long as memory holds the value: until another vCPU or the host changes it. */
  whileEqual(gpa: Operand, value: Operand, options: AccessOptions = {}): void {
    this.loopWhile(
      () => this.load(gpa, options).eq(value),
      () => this.frame.code.pause(),
    );
  }

  /** Hypercall with up to four parameters (arm64: six, by SMCCC); the value is what the hypervisor answers. */
  hypercall(number: Integer, ...parameters: readonly Operand[]): Value {
    const constant = toUnsigned(number, 64, 'hypercall number');
    const sources = parameters.map((parameter, i) => this.frame.source(parameter, `hypercall parameter ${i + 1}`));
    this.frame.note(`hypercall ${number}`);
    const result = this.frame.newValue();
    this.frame.code.hypercall(result.slot, constant, sources);
    return result;
  }

  /** All memory accesses before it happen before all behind it. */
  fence(): void {
    this.frame.note('fence');
    this.frame.code.fence();
  }

  /** Ends the program: a KVM_EXIT_HLT, on arm64 a store with HALT_TAG; again whenever the vCPU is run again. */
  halt(): void {
    this.frame.note('halt');
    this.frame.code.halt();
  }

  /** Says that the program touches this range, for addresses that the guest computes: page tables must cover it. */
  touch(gpa: Integer, size: Integer): void {
    this.frame.touched.push(toRange(gpa, size, 'touch'));
  }

  /** Gives a value to the host, in whatever way this guest can. */
  protected send(tag: number, value: Operand): void {
    const address = BigInt(reportAddress(tag, this.reportGpa));
    this.frame.code.store({ constant: address }, this.frame.source(value, 'report'), 8);
  }
}

function known(operand: Operand): number | undefined {
  return operand instanceof Value ? undefined : Number(operand);
}

function text(operand: Operand): string {
  return operand instanceof Value ? `[value ${operand.slot}]` : formatHex(operand);
}
