/** The simulated vCPU against this host's: the same code, the same start, everything that can be seen afterwards. */
import fc from 'fast-check';
import { afterAll, expect, it } from 'vitest';
import { disassemble, identityPageTables, longMode } from '../../lib/guest/x64/index.ts';
import type { X64RegsInput } from '../../lib/kvm/x64-state.ts';
import { Memfd } from '../../lib/memory/memfd.ts';
import { type Regs, X64Cpu } from '../../lib/sim/x64/index.ts';
import { openHost } from '../differential/pair.ts';
import { describeKvm } from '../support/kvm.ts';
import {
  answerLength,
  exitText,
  hex,
  memoryTexts,
  registerTexts,
  stopText,
  systemTexts,
} from '../unit/sim/x64/observed.ts';
import { answer, CODE, guest, Ram, TABLES } from '../unit/sim/x64/ram.ts';
import { bytesCase, type RandomCase, randomCase, SCRATCH, SCRATCH_SIZE } from '../unit/sim/x64/random-code.ts';
import { EXITS_PER_STEP, guestCode, guestSteps } from '../unit/sim/x64/random-program.ts';
import { SCENARIOS, type Scenario } from '../unit/sim/x64/scenarios.ts';

const RUNS = Number(process.env.PRIVMEM_DIFFERENTIAL_RUNS ?? 1500);
const SIZE = 0x40_0000;
/** Around the stack pointer. */
const WINDOW = 0x2_7000;
const WINDOW_SIZE = 0x2000;
/** Stacks, tables and data of the scenarios. */
const LOW_MEMORY = 0x2_0000;
const TIMEOUT = { timeoutMs: 2000 };

const tables = identityPageTables({ at: TABLES, ranges: [{ gpa: 0, size: SIZE }] });
const mode = longMode(TABLES);
// No exception can be delivered: each one is a shutdown at its instruction.
const START = { ...mode, fs: { ...mode.fs, base: 0x40n }, idt: { base: 0n, limit: 0, padding: [0, 0, 0] } };

/** Random code may hang an emulated processor with a guest under SVM, and what is compared is the emulator of KVM. */
function onlyEmulated(): string | undefined {
  const host = openHost();
  const hardware = typeof host !== 'string' && host.kvm?.hardware === true;
  return hardware ? 'needs a KVM that emulates every guest instruction, here a processor executes them' : undefined;
}

/** What one exit shows, by name; after the last one, memory by row. */
type Seen = Record<string, string>;

interface Outcome {
  readonly stop: string;
  readonly regs: Readonly<Record<string, string>>;
  readonly scratch: Uint8Array;
  readonly stack: Uint8Array;
}

/** Where two outcomes differ; empty when they do not. */
function differences(real: Outcome, simulated: Outcome): string[] {
  const found: string[] = [];
  if (real.stop !== simulated.stop) found.push(`stop: real ${real.stop}, simulated ${simulated.stop}`);
  for (const [name, value] of Object.entries(real.regs)) {
    if (simulated.regs[name] !== value) found.push(`${name}: real ${value}, simulated ${simulated.regs[name]}`);
  }
  for (const part of ['scratch', 'stack'] as const) {
    const at = real[part].findIndex((byte, i) => simulated[part][i] !== byte);
    const bytes = (from: Outcome): string => hex(from[part].subarray(at, at + 16));
    if (at >= 0) found.push(`${part}+0x${at.toString(16)}: real ${bytes(real)}, simulated ${bytes(simulated)}`);
  }
  return found;
}

function describeCase({ code, regs }: RandomCase): string[] {
  const listing = disassemble(code, 64, CODE).map(({ address, text }) => `${address.toString(16)} ${text}`);
  return [...listing, ...Object.entries(registerTexts(regs)).map(([name, value]) => `${name}=${value}`)];
}

const numbers = (length: number) => fc.array(fc.nat(2 ** 31 - 1), { minLength: length, maxLength: length });
const bytes = fc.tuple(
  fc.constantFrom([], [0x0f], [0x66], [0x67], [0xf0], [0xf2], [0xf3], [0x48], [0x41], [0x80], [0xff], [0xf7], [0xc0]),
  fc.array(fc.nat(255), { minLength: 1, maxLength: 7 }),
);
/** Exits after which nothing of the instruction is left to do. */
const SETTLED = new Set(['hlt', 'shutdown', 'emulation']);
const program = fc.tuple(fc.array(numbers(24), { minLength: 1, maxLength: 10 }), numbers(64));

describeKvm(
  'the simulated vCPU and the real one',
  ({ sys, kvm }) => {
    const vm = kvm.createVm();
    const map = Memfd.create(sys, { size: SIZE }).map();
    vm.addMemslot({ slot: 0, gpa: 0, size: SIZE, backing: map });
    const vcpu = vm.createVcpu();
    const ram = new Ram(SIZE);
    const cpu = new X64Cpu();
    afterAll(() => vm.close());

    it('start alike', () => {
      using fresh = kvm.createVm();
      const { x64 } = fresh.createVcpu();
      expect(systemTexts(new X64Cpu().getSregs())).toEqual(systemTexts(x64.getSregs()));
      // rdx holds the processor's signature, which KVM takes from the host.
      expect({ ...new X64Cpu().getRegs(), rdx: 0n }).toEqual({ ...x64.getRegs(), rdx: 0n });
    });

    function runReal({ code, regs, scratch }: RandomCase): Outcome {
      map.write(TABLES, tables.bytes);
      map.fill(0, { offset: WINDOW, length: WINDOW_SIZE });
      map.write(SCRATCH, scratch);
      map.write(CODE, code);
      vcpu.x64.updateSregs(START);
      vcpu.x64.setRegs(regs as X64RegsInput);
      const stop = exitText(vcpu.runSync(TIMEOUT));
      const [after, stack] = [map.read(SCRATCH, SCRATCH_SIZE), map.read(WINDOW, WINDOW_SIZE)];
      return { stop, regs: registerTexts(vcpu.x64.getRegs()), scratch: after, stack };
    }

    function runSimulated({ code, regs, scratch }: RandomCase): Outcome {
      ram.write(TABLES, tables.bytes);
      ram.bytes.fill(0, WINDOW, WINDOW + WINDOW_SIZE);
      ram.write(SCRATCH, scratch);
      ram.write(CODE, code);
      cpu.setSregs(vcpu.x64.getSregs());
      cpu.setRegs(regs as unknown as Regs);
      const stop = stopText(cpu.run(ram, 100_000));
      const after = ram.bytes.slice(SCRATCH, SCRATCH + SCRATCH_SIZE);
      const stack = ram.bytes.slice(WINDOW, WINDOW + WINDOW_SIZE);
      return { stop, regs: registerTexts(cpu.getRegs()), scratch: after, stack };
    }

    it('agree on random straight-line code', () => {
      const seed = Number(process.env.PRIVMEM_SEED ?? Math.floor(Math.random() * 2 ** 31));
      console.log(`seed ${seed}, ${RUNS} programs`);
      const property = fc.property(program, ([instructions, seeds]) => {
        const given = randomCase(instructions, seeds, CODE);
        const found = differences(runReal(given), runSimulated(given));
        if (found.length > 0) throw new Error([...found, ...describeCase(given)].join('\n'));
      });
      fc.assert(property, { numRuns: RUNS, seed });
    }, 3_600_000);

    it('agree on single instructions from random bytes', () => {
      const property = fc.property(bytes, numbers(64), ([prefix, rest], seeds) => {
        const given = bytesCase([...prefix, ...rest], seeds, CODE);
        if (given === undefined) return;
        const real = runReal(given);
        // What the exit left open would become part of the next case.
        while (!SETTLED.has(real.stop) && vcpu.completeIo().name !== 'KVM_EXIT_INTR');
        const simulated = runSimulated(given);
        cpu.complete(new Uint8Array(8));
        cpu.setRegs({ ...cpu.getRegs(), rip: 0n });
        const found = differences(real, simulated).filter((text) => !text.startsWith('rflags'));
        if (found.length > 0) throw new Error([...found, ...describeCase(given)].join('\n'));
      });
      const seed = Number(process.env.PRIVMEM_SEED ?? Math.floor(Math.random() * 2 ** 31));
      fc.assert(property, { numRuns: RUNS, seed });
    }, 3_600_000);

    /** What userspace sees exit by exit, and what is in memory then. */
    function simulatedExits(scenario: Scenario): Seen[] {
      const simulated = guest(scenario.code, scenario);
      const exits = Array.from({ length: scenario.runs ?? 1 }, (_, i) => {
        const stop = stopText(simulated.run());
        const seen: Seen = {
          stop,
          ...registerTexts(simulated.cpu.getRegs()),
          ...systemTexts(simulated.cpu.getSregs()),
        };
        const value = scenario.answers?.[i];
        if (value !== undefined) simulated.cpu.complete(answer(value));
        return seen;
      });
      return [...exits, memoryTexts(simulated.ram.bytes.subarray(0, LOW_MEMORY))];
    }

    function realExits(scenario: Scenario): Seen[] {
      const start = guest(scenario.code, scenario);
      map.write(0, start.ram.bytes);
      vcpu.x64.setSregs(start.cpu.getSregs());
      vcpu.x64.setRegs(start.cpu.getRegs());
      const exits = Array.from({ length: scenario.runs ?? 1 }, (_, i) => {
        const exit = vcpu.runSync(TIMEOUT);
        const texts = { ...registerTexts(vcpu.x64.getRegs()), ...systemTexts(vcpu.x64.getSregs()) };
        const value = scenario.answers?.[i];
        if (value !== undefined) vcpu.answer(answer(value, answerLength(exit)));
        return { stop: exitText(exit), ...texts };
      });
      return [...exits, memoryTexts(map.read(0, LOW_MEMORY))];
    }

    // Beyond its end a program halts again and again.
    it('agree on random guest programs', () => {
      const seed = Number(process.env.PRIVMEM_SEED ?? Math.floor(Math.random() * 2 ** 31));
      const property = fc.property(guestSteps, (steps) => {
        const code = guestCode(steps);
        const scenario: Scenario = { code: (a) => a.data(code), runs: 1 + EXITS_PER_STEP * steps.length };
        const [simulated, real] = [simulatedExits(scenario), realExits(scenario)];
        // Shifts and multiplications of programs leave flags that no processor promises.
        for (const exit of [...simulated, ...real]) delete exit.rflags;
        expect(simulated).toEqual(real);
      });
      fc.assert(property, { numRuns: Math.ceil(RUNS / 25), seed });
    }, 3_600_000);

    it.each(Object.entries(SCENARIOS))('agree on %s', (_, scenario) => {
      const [simulated, real] = [simulatedExits(scenario), realExits(scenario)];
      if (scenario.hidesFlags) for (const exit of [...simulated.slice(0, -2), ...real.slice(0, -2)]) delete exit.rflags;
      expect(simulated).toEqual(real);
    });
  },
  { arch: 'x64', real: 'it compares it with the simulated one', also: onlyEmulated },
);
