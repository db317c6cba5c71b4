import { GuestBuilder } from '../builder.ts';
import type { ProgramFrame } from '../frame.ts';
import type { Operand, Value } from '../value.ts';
import type { Assembler } from './assembler.ts';
import type { A64Generator } from './generator.ts';
import { SYSTEM_REGISTERS, type SystemRegister } from './system-registers.ts';

/** Functions of SMCCC calls that KVM or the hypervisor of pKVM answers. include/linux/arm-smccc.h, include/uapi/linux/psci.h */
const MEM_SHARE = 0xc600_0003n;
const MEM_UNSHARE = 0xc600_0004n;
const PSCI_SYSTEM_OFF = 0x8400_0008n;
const PSCI_SYSTEM_RESET = 0x8400_0009n;

/** The operations of arm64 guests: everything of {@link GuestBuilder}, pages for the host, firmware calls, plain instructions. */
export class A64Builder extends GuestBuilder {
  readonly #generator: A64Generator;

  constructor(frame: ProgramFrame, reportGpa: number, generator: A64Generator) {
    super(frame, reportGpa);
    this.#generator = generator;
  }

  /**
   * pKVM: lets the host at one page of a protected guest, contents kept (MEM_SHARE). 0 means done; -3 that the page is no page of the
   * guest's own; -1 that nobody knows the call: the guest is not protected.
   */
  share(gpa: Operand): Value {
    return this.hypercall(MEM_SHARE, gpa);
  }

  /** pKVM: takes a shared page back, contents kept (MEM_UNSHARE). Values as of `share`. */
  unshare(gpa: Operand): Value {
    return this.hypercall(MEM_UNSHARE, gpa);
  }

  /** PSCI SYSTEM_OFF: KVM_EXIT_SYSTEM_EVENT. The vCPU is stopped then, and runs again only after its state was set or it was initialised. */
  systemOff(): void {
    this.hypercall(PSCI_SYSTEM_OFF);
  }

  /** PSCI SYSTEM_RESET: as systemOff. */
  systemReset(): void {
    this.hypercall(PSCI_SYSTEM_RESET);
  }

  /** `register` by name, or op0, op1, CRn, CRm and op2 as one number. */
  readSystem(register: SystemRegister | number): Value {
    this.frame.note(`read ${nameOf(register)}`);
    this.#asm.mrs('x0', register);
    const value = this.frame.newValue();
    this.#generator.put(value.slot, 'x0');
    return value;
  }

  writeSystem(register: SystemRegister | number, value: Operand): void {
    const source = this.frame.source(value, 'writeSystem value');
    this.frame.note(`write ${nameOf(register)}`);
    this.#generator.get('x0', source).assembler.msr(register, 'x0').isb();
  }

  /** Instructions written by hand. x28 must keep its value; all other registers are free, and nothing is in them before. */
  asm(write: (assembler: Assembler) => void): void {
    this.frame.note('asm');
    write(this.#asm);
  }

  /** The assembler, as long as the program is being written. */
  get #asm(): Assembler {
    // Asking the frame first gives the same error as every other operation after the end.
    void this.frame.code;
    return this.#generator.assembler;
  }
}

function nameOf(register: SystemRegister | number): string {
  const known = Object.entries(SYSTEM_REGISTERS).find(([, id]) => id === register);
  return typeof register === 'string' ? register : (known?.[0] ?? `0x${register.toString(16)}`);
}
