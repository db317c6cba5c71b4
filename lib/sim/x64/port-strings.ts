/** ins and outs, alone and repeated. arch/x86/kvm/emulate.c, pio_in_emulated and em_out: KVM executes them by its emulator on any processor. */
import { countDown, isZero } from './branches.ts';
import type { Operation, Site } from './machine.ts';
import * as registers from './registers.ts';
import type { IoStop } from './stop.ts';
import { compileAdvance, compilePointer } from './strings.ts';
import { requirePorts } from './system.ts';

const { at, EVENT, EVENT_REPEAT, EVENT_STOP, FLAG, HIGH, OTHER_FLAGS, RCX, RDI, RDX, RSI } = registers;

/** Bytes that are read ahead of a repeated input. */
const AHEAD = 1024;
const PAGE = 4096;

type Size = IoStop['size'];

/** Each element is an exit of its own; rip stays on the instruction until the last one. */
export function compileOuts(site: Site): Operation {
  const { machine, instruction } = site;
  const { r, state, memory } = machine;
  const { addressBits, repeat } = instruction;
  const size = (instruction.bits / 8) as Size;
  const source = compilePointer(site, RSI, false);
  const advance = compileAdvance(site, RSI);
  return () => {
    requirePorts(state);
    if (repeat !== undefined && isZero(r, addressBits)) {
      r[OTHER_FLAGS] = at(r, OTHER_FLAGS) & ~FLAG.resume;
      return;
    }
    const low = source();
    const value = memory.load(low, at(r, HIGH), size);
    const data = Uint8Array.from({ length: size }, (_, i) => value >>> (8 * i));
    state.stop = { kind: 'io', direction: 'out', size, port: at(r, RDX) & 0xffff, count: 1, data, waits: false };
    advance();
    r[EVENT] = at(r, EVENT) | EVENT_STOP;
    if (repeat === undefined) return;
    countDown(r, addressBits);
    r[OTHER_FLAGS] = at(r, OTHER_FLAGS) | FLAG.resume;
    r[EVENT] = at(r, EVENT) | EVENT_REPEAT;
  };
}

/** As much at once as is left of the count, of the page and of what is read ahead. */
export function compileIns(site: Site): Operation {
  const { machine, instruction } = site;
  const { r, state, memory } = machine;
  const { addressBits, repeat } = instruction;
  const size = (instruction.bits / 8) as Size;
  const destination = compilePointer(site, RDI, true);
  const advance = compileAdvance(site, RDI);
  const count = (): number => {
    if (repeat === undefined) return 1;
    const low = addressBits === 16 ? at(r, RCX) & 0xffff : at(r, RCX) >>> 0;
    const left = addressBits === 64 && at(r, RCX + 1) !== 0 ? AHEAD : low;
    const offset = at(r, RDI) & (PAGE - 1);
    const inPage = (at(r, OTHER_FLAGS) & FLAG.direction) === 0 ? PAGE - offset : offset;
    return Math.max(1, Math.min(inPage, AHEAD / size, left));
  };
  return () => {
    requirePorts(state);
    if (repeat !== undefined && isZero(r, addressBits)) {
      r[OTHER_FLAGS] = at(r, OTHER_FLAGS) & ~FLAG.resume;
      return;
    }
    const answer = memory.takeAnswer();
    if (answer === undefined) {
      throw state.abandon({
        kind: 'io',
        direction: 'in',
        size,
        port: at(r, RDX) & 0xffff,
        count: count(),
        waits: true,
      });
    }
    const view = new DataView(answer.buffer, answer.byteOffset, answer.length);
    for (let i = 0; i < answer.length; i += size) {
      const value = size === 4 ? view.getInt32(i, true) : size === 2 ? view.getUint16(i, true) : view.getUint8(i);
      const low = destination();
      memory.store(low, at(r, HIGH), size, value, 0);
      advance();
      if (repeat !== undefined) countDown(r, addressBits);
    }
    if (repeat === undefined || isZero(r, addressBits)) return;
    r[EVENT] = at(r, EVENT) | EVENT_REPEAT;
  };
}
