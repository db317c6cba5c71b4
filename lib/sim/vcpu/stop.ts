/** Why a vCPU of any architecture stopped. */

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
