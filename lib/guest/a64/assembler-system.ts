import { ComputingAssembler } from './assembler-computing.ts';
import type { Label, Memory } from './assembler-core.ts';
import type { Register } from './operands.ts';
import type { SystemRegister } from './system-registers.ts';

/** Loads, stores and what controls the processor: one method per mnemonic. Stores have the destination last. */
export class SystemAssembler extends ComputingAssembler {
  /** From a label: a literal, at most 1 MiB away. */
  ldr(t: Register, from: Memory | Label): this {
    return this.emit('ldr', [t, from]);
  }
  ldrsw(t: Register, from: Memory | Label): this {
    return this.emit('ldrsw', [t, from]);
  }
  ldrb(t: Register, from: Memory): this {
    return this.emit('ldrb', [t, from]);
  }
  ldrh(t: Register, from: Memory): this {
    return this.emit('ldrh', [t, from]);
  }
  ldrsb(t: Register, from: Memory): this {
    return this.emit('ldrsb', [t, from]);
  }
  ldrsh(t: Register, from: Memory): this {
    return this.emit('ldrsh', [t, from]);
  }
  ldur(t: Register, from: Memory): this {
    return this.emit('ldur', [t, from]);
  }
  ldurb(t: Register, from: Memory): this {
    return this.emit('ldurb', [t, from]);
  }
  ldurh(t: Register, from: Memory): this {
    return this.emit('ldurh', [t, from]);
  }
  ldursb(t: Register, from: Memory): this {
    return this.emit('ldursb', [t, from]);
  }
  ldursh(t: Register, from: Memory): this {
    return this.emit('ldursh', [t, from]);
  }
  ldursw(t: Register, from: Memory): this {
    return this.emit('ldursw', [t, from]);
  }
  ldxr(t: Register, from: Memory): this {
    return this.emit('ldxr', [t, from]);
  }
  ldxrb(t: Register, from: Memory): this {
    return this.emit('ldxrb', [t, from]);
  }
  ldxrh(t: Register, from: Memory): this {
    return this.emit('ldxrh', [t, from]);
  }
  ldaxr(t: Register, from: Memory): this {
    return this.emit('ldaxr', [t, from]);
  }
  ldaxrb(t: Register, from: Memory): this {
    return this.emit('ldaxrb', [t, from]);
  }
  ldaxrh(t: Register, from: Memory): this {
    return this.emit('ldaxrh', [t, from]);
  }
  ldar(t: Register, from: Memory): this {
    return this.emit('ldar', [t, from]);
  }
  ldarb(t: Register, from: Memory): this {
    return this.emit('ldarb', [t, from]);
  }
  ldarh(t: Register, from: Memory): this {
    return this.emit('ldarh', [t, from]);
  }
  str(t: Register, to: Memory): this {
    return this.emit('str', [t, to]);
  }
  strb(t: Register, to: Memory): this {
    return this.emit('strb', [t, to]);
  }
  strh(t: Register, to: Memory): this {
    return this.emit('strh', [t, to]);
  }
  stur(t: Register, to: Memory): this {
    return this.emit('stur', [t, to]);
  }
  sturb(t: Register, to: Memory): this {
    return this.emit('sturb', [t, to]);
  }
  sturh(t: Register, to: Memory): this {
    return this.emit('sturh', [t, to]);
  }
  stlr(t: Register, to: Memory): this {
    return this.emit('stlr', [t, to]);
  }
  stlrb(t: Register, to: Memory): this {
    return this.emit('stlrb', [t, to]);
  }
  stlrh(t: Register, to: Memory): this {
    return this.emit('stlrh', [t, to]);
  }
  stxr(status: Register, t: Register, to: Memory): this {
    return this.emit('stxr', [status, t, to]);
  }
  stxrb(status: Register, t: Register, to: Memory): this {
    return this.emit('stxrb', [status, t, to]);
  }
  stxrh(status: Register, t: Register, to: Memory): this {
    return this.emit('stxrh', [status, t, to]);
  }
  stlxr(status: Register, t: Register, to: Memory): this {
    return this.emit('stlxr', [status, t, to]);
  }
  stlxrb(status: Register, t: Register, to: Memory): this {
    return this.emit('stlxrb', [status, t, to]);
  }
  stlxrh(status: Register, t: Register, to: Memory): this {
    return this.emit('stlxrh', [status, t, to]);
  }
  ldp(t: Register, t2: Register, from: Memory): this {
    return this.emit('ldp', [t, t2, from]);
  }
  ldpsw(t: Register, t2: Register, from: Memory): this {
    return this.emit('ldpsw', [t, t2, from]);
  }
  stp(t: Register, t2: Register, to: Memory): this {
    return this.emit('stp', [t, t2, to]);
  }
  mrs(t: Register, system: SystemRegister | number): this {
    return this.emit('mrs', [t, { system }]);
  }
  msr(system: SystemRegister | number, t: Register): this {
    return this.emit('msr', [{ system }, t]);
  }
  /** Masks D, A, I and F by the bits 8, 4, 2 and 1. */
  daifset(mask: number): this {
    return this.emit('msr', [0x1e, mask]);
  }
  daifclr(mask: number): this {
    return this.emit('msr', [0x1f, mask]);
  }
  dsb(option = 15): this {
    return this.emit('dsb', [option]);
  }
  dmb(option = 15): this {
    return this.emit('dmb', [option]);
  }
  isb(option = 15): this {
    return this.emit('isb', [option]);
  }
  clrex(): this {
    return this.emit('clrex', [15]);
  }
  nop(): this {
    return this.emit('nop', []);
  }
  yield(): this {
    return this.emit('yield', []);
  }
  wfe(): this {
    return this.emit('wfe', []);
  }
  wfi(): this {
    return this.emit('wfi', []);
  }
  sev(): this {
    return this.emit('sev', []);
  }
  sevl(): this {
    return this.emit('sevl', []);
  }
  svc(value: number): this {
    return this.emit('svc', [value]);
  }
  hvc(value: number): this {
    return this.emit('hvc', [value]);
  }
  smc(value: number): this {
    return this.emit('smc', [value]);
  }
  brk(value: number): this {
    return this.emit('brk', [value]);
  }
}
