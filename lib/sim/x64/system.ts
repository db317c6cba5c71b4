/** Instructions that talk to the outside or to the machine itself. */
import { compileAddress } from './address.ts';
import { readControl, writeControl } from './control.ts';
import type { Operation, Site } from './machine.ts';
import { compileRead, operandAt, readRegister, writeRegister } from './operands.ts';
import { at, EVENT, EVENT_STOP, FLAG, getPair, HIGH, OTHER_FLAGS, RAX, RBX, RCX, RDX, RSI } from './registers.ts';
import { loadSegment } from './segments.ts';
import type { State } from './state.ts';
import { VECTOR } from './stop.ts';

/** Throws #GP outside the most privileged level. */
function requirePrivilege(state: State): void {
  if (state.cpl !== 0) throw state.exception(VECTOR.protection, 0);
}

/** Ports are for code up to the I/O privilege level; permission bitmaps are not looked at. */
export function requirePorts(state: State): void {
  if (state.cpl > (at(state.r, OTHER_FLAGS) & FLAG.iopl) >> 12) throw state.exception(VECTOR.protection, 0);
}

export function compileIn(site: Site): Operation {
  const { machine } = site;
  const { state, memory } = machine;
  const to = operandAt(site, 0);
  if (to.kind !== 'register') throw new TypeError('in writes the accumulator');
  const write = writeRegister(machine, to);
  const port = compileRead(site, operandAt(site, 1));
  const size = to.bits === 8 ? 1 : to.bits === 16 ? 2 : 4;
  return () => {
    requirePorts(state);
    const answer = memory.takeAnswer();
    if (answer === undefined) {
      throw state.abandon({ kind: 'io', direction: 'in', size, port: port(), count: 1, waits: true });
    }
    let value = 0;
    for (let i = 0; i < size; i++) value |= (answer[i] ?? 0) << (8 * i);
    write(value, 0);
  };
}

/** KVM_X86_QUIRK_OUT_7E_INC_RIP: rip is behind an `out` to this port at once. */
const PORT_BEHIND = 0x7e;

export function compileOut(site: Site): Operation {
  const { machine, nextLow, nextHigh } = site;
  const { r, state, memory, emulated } = machine;
  const end = (BigInt(nextHigh >>> 0) << 32n) | BigInt(nextLow >>> 0);
  const from = operandAt(site, 1);
  if (from.kind !== 'register') throw new TypeError('out reads the accumulator');
  const port = compileRead(site, operandAt(site, 0));
  const read = readRegister(machine, from);
  const size = from.bits === 8 ? 1 : from.bits === 16 ? 2 : 4;
  return () => {
    requirePorts(state);
    // Told already: what is left is to go past it.
    if (memory.takeAnswer() !== undefined) return;
    const value = read();
    const data = Uint8Array.from({ length: size }, (_, i) => value >>> (8 * i));
    const waits = !emulated && port() !== PORT_BEHIND;
    const stop = { kind: 'io', direction: 'out', size, port: port(), count: 1, data, waits, end } as const;
    if (waits) throw state.abandon(stop);
    state.stop = stop;
    r[EVENT] = at(r, EVENT) | EVENT_STOP;
  };
}

export function compileHlt(site: Site): Operation {
  const { r, state } = site.machine;
  return () => {
    requirePrivilege(state);
    state.stop = { kind: 'hlt' };
    r[EVENT] = at(r, EVENT) | EVENT_STOP;
  };
}

export function compileHypercall(site: Site): Operation {
  const { r, state, memory } = site.machine;
  const longMode = state.codeBits === 64;
  const mask = longMode ? (1n << 64n) - 1n : 0xffff_ffffn;
  return () => {
    const answer = memory.takeAnswer();
    if (answer === undefined) {
      const rax = getPair(r, RAX);
      const nr = rax & mask;
      const args = [RBX, RCX, RDX, RSI].map((word) => getPair(r, word) & mask);
      const cut = nr === rax ? {} : { numberCut: true };
      throw state.abandon({ kind: 'hypercall', nr, args, longMode, cpl: state.cpl, ...cut });
    }
    const view = new DataView(answer.buffer, answer.byteOffset, answer.length);
    r[RAX] = view.getInt32(0, true);
    r[RAX + 1] = longMode ? view.getInt32(4, true) : 0;
  };
}

export function compileCpuid(site: Site): Operation {
  const { r, state, cpuid } = site.machine;
  return () => {
    const found = cpuid.query(at(r, RAX) >>> 0, at(r, RCX) >>> 0, state.cr4, state.apicBase);
    for (const [word, value] of [
      [RAX, found.eax],
      [RBX, found.ebx],
      [RCX, found.ecx],
      [RDX, found.edx],
    ] as const) {
      r[word] = value;
      r[word + 1] = 0;
    }
  };
}

function setEdxEax(r: Int32Array, value: bigint): void {
  r[RAX] = Number(value & 0xffff_ffffn);
  r[RDX] = Number(value >> 32n);
  r[RAX + 1] = r[RDX + 1] = 0;
}

const CR4_TSD = 4n;

export function compileRdtsc(site: Site): Operation {
  const { r, state, msrs } = site.machine;
  return () => {
    if (state.cpl !== 0 && (state.cr4 & CR4_TSD) !== 0n) throw state.exception(VECTOR.protection, 0);
    setEdxEax(r, msrs.tsc());
  };
}

export function compileRdmsr(site: Site): Operation {
  const { r, state, msrs } = site.machine;
  return () => {
    requirePrivilege(state);
    const value = msrs.get(at(r, RCX) >>> 0);
    if (value === undefined) throw state.exception(VECTOR.protection, 0);
    setEdxEax(r, value);
  };
}

export function compileWrmsr(site: Site): Operation {
  const { r, state, msrs, mmu } = site.machine;
  return () => {
    requirePrivilege(state);
    const value = (BigInt(at(r, RDX) >>> 0) << 32n) | BigInt(at(r, RAX) >>> 0);
    if (!msrs.set(at(r, RCX) >>> 0, value)) throw state.exception(VECTOR.protection, 0);
    mmu.flush();
  };
}

export function compileInvlpg(site: Site): Operation {
  const { machine } = site;
  const { state, mmu, emulated } = machine;
  const operand = operandAt(site, 0);
  if (operand.kind !== 'memory') throw new TypeError('invlpg takes an address');
  // The address is computed only for its own faults: forgetting one translation or all cannot be told apart.
  const address = compileAddress(site, operand, 1, false);
  return () => {
    requirePrivilege(state);
    // KVM's emulator leaves it at that.
    if (state.codeBits !== 64 && !emulated) address();
    mmu.flush();
  };
}

export function compileMoveSegment(site: Site): Operation {
  const { machine } = site;
  const { r, state } = machine;
  const to = operandAt(site, 0);
  const from = operandAt(site, 1);
  if (to.kind === 'register' && to.file === 'segment') {
    const read = compileRead(site, from);
    return () => loadSegment(machine, to.index, read());
  }
  if (to.kind !== 'register' || from.kind !== 'register') throw new TypeError('not a segment move');
  const write = writeRegister(machine, to);
  return () => {
    write(state.segment(from.index).selector, 0);
    r[HIGH] = 0;
  };
}

export function compileMoveControl(site: Site): Operation {
  const { machine, instruction } = site;
  const { r, state } = machine;
  const to = operandAt(site, 0);
  const from = operandAt(site, 1);
  if (to.kind !== 'register' || from.kind !== 'register') throw new TypeError('not a control move');
  if (to.file === 'control') {
    const read = readRegister(machine, from);
    return () => {
      requirePrivilege(state);
      const low = BigInt(read() >>> 0);
      writeControl(machine, to.index, (BigInt(at(r, HIGH) >>> 0) << 32n) | low);
    };
  }
  const write = writeRegister(machine, to);
  const wide = instruction.bits === 64;
  return () => {
    requirePrivilege(state);
    const value = readControl(state, from.index);
    write(Number(value & 0xffff_ffffn) | 0, wide ? Number(value >> 32n) | 0 : 0);
  };
}
