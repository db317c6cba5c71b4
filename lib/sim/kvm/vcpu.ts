/** A vCPU as the rest of KVM sees it. A run is under way from `enter` until a slice, an interruption or `enter` itself has given its result. */
import type { RunPage } from './run-page.ts';
import type { Vm } from './vm.ts';

export interface Vcpu {
  readonly vm: Vm;
  readonly id: number;
  readonly page: RunPage;
  readonly running: boolean;
  /** Begins a run. A result when it ended at once. */
  enter(): number | undefined;
  /** Runs some instructions: the result of KVM_RUN, or undefined when the guest would go on. */
  slice(instructions: number): number | undefined;
  /** A signal ends the run. */
  interrupt(): number;
  /** Any request but KVM_RUN: its result, or undefined when it is not known. */
  request(request: number, arg: bigint): number | undefined;
}
