/**
 * What a processor does differently for guests whose state the hypervisor must not see: instructions that would need it raise an exception
 * in the guest (#VC on AMD, #VE on Intel), and some exist only there. AMD64 manual volume 2, 15.35.5; Intel TDX module specification, #VE.
 */
import type { Semantics } from '../../guest/x64/form.ts';
import type { Operation, Site } from './machine.ts';
import { at, CF, RAX, RCX } from './registers.ts';
import type { SecureInstruction } from './stop.ts';
import { VECTOR } from './stop.ts';

export interface Secure {
  /** The instructions that exist here besides the usual ones. */
  readonly instructions: ReadonlySet<SecureInstruction>;
  /** Of the exception that stands for what the hypervisor cannot do. */
  readonly vector: number;
  /** Instructions that raise it, with the error code; -1 for none. */
  readonly reflects: ReadonlyMap<Semantics, number>;
  /** Instructions that are undefined here. */
  readonly refuses?: ReadonlySet<Semantics>;
  /** MSRs that the guest reads and writes by itself. */
  readonly msrs: ReadonlySet<number>;
}

/** The answer to a secure instruction: it is done, or it raises an exception. Flags and registers are set before. */
export type SecureAnswer =
  | { readonly done: true; readonly carry?: boolean }
  | { readonly done: false; readonly vector: number; readonly errorCode: number };

const LENGTH = 16;

/** As bytes, which is how answers reach an instruction that waits. */
export function encodeAnswer(answer: SecureAnswer): Uint8Array {
  const bytes = new Uint8Array(LENGTH);
  const view = new DataView(bytes.buffer);
  if (answer.done) {
    if (answer.carry !== undefined) view.setUint8(1, answer.carry ? 3 : 2);
    return bytes;
  }
  view.setUint8(0, 1);
  view.setUint32(4, answer.vector, true);
  view.setInt32(8, answer.errorCode, true);
  return bytes;
}

/** The instruction as its technology has it; #UD where it does not exist. */
export function compileSecure(site: Site, instruction: SecureInstruction): Operation {
  const { machine } = site;
  const { r, state, memory, mmu } = machine;
  return () => {
    if (machine.secure?.instructions.has(instruction) !== true) throw state.exception(VECTOR.undefined);
    if (state.cpl !== 0 && instruction !== 'vmgexit') throw state.exception(VECTOR.protection, 0);
    const answer = memory.takeAnswer();
    if (answer === undefined) {
      const gfn = instruction === 'pvalidate' ? mmu.translate(at(r, RAX), at(r, RAX + 1), 'read') : 0;
      throw state.abandon({ kind: 'secure', instruction, gfn });
    }
    const view = new DataView(answer.buffer, answer.byteOffset, answer.length);
    if (view.getUint8(0) !== 0) throw state.exception(view.getUint32(4, true), view.getInt32(8, true));
    const carry = view.getUint8(1);
    if (carry !== 0) r[CF] = carry & 1;
  };
}

/** The exception in place of an instruction that this guest must not execute itself; the instruction where it may. */
export function compileReflected({ machine, instruction }: Site, plain: Operation): Operation {
  const { r, state, secure } = machine;
  const { semantics } = instruction.form;
  if (secure?.refuses?.has(semantics) === true) {
    return () => {
      throw state.exception(VECTOR.undefined);
    };
  }
  const code = secure?.reflects.get(semantics);
  if (secure === undefined || code === undefined) return plain;
  const { vector, msrs } = secure;
  const isMsr = semantics === 'rdmsr' || semantics === 'wrmsr';
  return () => {
    if (!isMsr || !msrs.has(at(r, RCX) >>> 0)) throw state.exception(vector, code);
    plain();
  };
}
