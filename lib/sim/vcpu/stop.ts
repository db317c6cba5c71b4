/** Why a vCPU of any architecture stopped, and how code deep inside an instruction says so. */

/** An access without memory behind it. A write has been executed; a read waits for its answer. */
export interface MmioStop {
  readonly kind: 'mmio';
  readonly gpa: number;
  /** 1 to 8 bytes. */
  readonly length: number;
  readonly isWrite: boolean;
  /** What was written; absent for a read. */
  readonly data?: Uint8Array;
}

/** The instruction was not executed; running again repeats it. */
export interface MemoryFaultStop {
  readonly kind: 'memory-fault';
  /** Of the page. */
  readonly gpa: number;
  readonly private: boolean;
  readonly errno: number;
}

/** As memory-fault, but KVM_RUN has no exit to report. */
export interface UnreachableStop {
  readonly kind: 'unreachable';
  readonly gpa: number;
  readonly errno: number;
}

/** As many instructions as allowed were executed. */
export interface BudgetStop {
  readonly kind: 'budget';
}

/**
 * Thrown to abandon an instruction before it changed anything: it stops the vCPU, or the guest gets an exception. One object each, because
 * errors with stack traces would cost more than everything else in an exit.
 */
export class Abandoned {
  readonly why: 'stop' | 'exception';

  constructor(why: 'stop' | 'exception') {
    this.why = why;
  }
}
export const STOPPED: Abandoned = new Abandoned('stop');
export const EXCEPTION: Abandoned = new Abandoned('exception');
