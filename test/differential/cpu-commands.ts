/** The commands of a differential run of a vCPU: plain data, so that a sequence can be cut down and printed. */
import type { Mode } from '../../lib/guest/x64/operands.ts';

/** Of struct kvm_cpuid_entry2. */
export interface Leaf {
  readonly function: number;
  readonly index: number;
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

export type CpuCommand =
  /** KVM_SET_CPUID2, then KVM_GET_CPUID2 with room for so many more or fewer. */
  | { readonly do: 'cpuid'; readonly leaves: readonly Leaf[]; readonly room: number }
  /** All state anew, in a mode; with tables for exceptions or without, when each is a shutdown. */
  | { readonly do: 'start'; readonly mode: Mode; readonly tables: boolean }
  /** General registers by name; rflags are the status flags only. */
  | { readonly do: 'registers'; readonly values: Readonly<Record<string, bigint>> }
  /** Runs the bytes and a halt in a mode, which is entered if it is not the present one; what is asked for on the way is answered. `hides` are flags that nobody promises. */
  | {
      readonly do: 'code';
      readonly mode: Mode;
      readonly bytes: string;
      readonly text: string;
      readonly hides: number;
      readonly answer: bigint;
    }
  /** KVM_SET_SREGS with one field changed: a control register, or a field of a segment as `cs.limit`. */
  | { readonly do: 'sregs'; readonly field: string; readonly value: bigint }
  /** KVM_SET_MSRS and KVM_GET_MSRS of one. */
  | { readonly do: 'msr'; readonly index: number; readonly value?: bigint };
