/**
 * The simulated arm64 kernel beside a real one. The real one is wherever PRIVMEM_ARM64_VM says: a command that runs its arguments there,
 * with this directory as the working directory (privmem vm … --); PRIVMEM_PKVM_VM the same for a kernel with kvm-arm.mode=protected. QEMU
 * before 9 forgets translations of an hVHE hypervisor wrongly, and pages that it reclaims are not wiped: arm64_sw.hvhe=0
 * id_aa64mmfr1.vh=0 on the kernel's command line.
 */
import { spawnSync } from 'node:child_process';
import { Sys, simulate } from 'privmem';
import { describe, expect, it } from 'vitest';
import { type Recording, record } from '../arm64/recording.ts';
import { scenarios } from '../arm64/scenarios.ts';

const SEED = Number(process.env.PRIVMEM_SEED ?? Date.now() % 100_000);
const MINUTES = 60_000;

const KERNELS = [
  { variable: 'PRIVMEM_ARM64_VM', mode: 'nvhe', pkvm: false },
  { variable: 'PRIVMEM_PKVM_VM', mode: 'protected', pkvm: true },
] as const;

/** What the machine of the test kernel is like: QEMU's `max` with two processors. */
const sim = (pkvm: boolean): Sys =>
  new Sys(simulate({ arch: 'arm64', physicalBits: 52, cpus: 2, technologies: pkvm ? ['pkvm'] : [] }));

function recordThere(command: string, mode: string): Recording {
  const compiled = spawnSync('node_modules/.bin/tsc', ['-p', 'test/arm64/tsconfig.json'], { encoding: 'utf8' });
  if (compiled.status !== 0) throw new Error(compiled.stdout);
  const line = `${command} node build/arm64/record.js ${mode} ${SEED}`;
  const { status, stdout, stderr } = spawnSync('sh', ['-c', line], { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`${line}: status ${status}\n${stderr}`);
  const json = stdout.split('\n').find((text) => text.startsWith('{'));
  if (json === undefined) throw new Error(`${line}: no recording\n${stdout}\n${stderr}`);
  return JSON.parse(json) as Recording;
}

for (const { variable, mode, pkvm } of KERNELS) {
  const command = process.env[variable];
  const reason = command === undefined ? ` (${variable} names no kernel to run on)` : '';
  describe.skipIf(command === undefined)(`a real arm64 kernel, ${mode}${reason}`, () => {
    it(`answers as the simulated one does, seed ${SEED}`, { timeout: 20 * MINUTES }, () => {
      const real = recordThere(command ?? '', mode);
      // Through JSON, as the other one came.
      const simulated = JSON.parse(JSON.stringify(record(sim(pkvm), scenarios({ pkvm, seed: SEED })))) as Recording;
      expect(Object.keys(real)).toEqual(Object.keys(simulated));
      for (const [name, facts] of Object.entries(simulated)) expect(real[name], name).toEqual(facts);
    });
  });
  if (reason !== '') process.stderr.write(`skipped: a real arm64 kernel, ${mode}${reason}\n`);
}

describe('the scenarios on the simulated kernel alone', () => {
  // An error inside a scenario would be a fact like any other: two kernels might agree on it.
  it.each(KERNELS)('end without an error that nobody expected: $mode', { timeout: 5 * MINUTES }, ({ pkvm }) => {
    const recording = record(sim(pkvm), scenarios({ pkvm, seed: SEED }));
    const thrown = Object.entries(recording).filter(([, facts]) => 'thrown' in facts);
    expect(thrown).toEqual([]);
  });
});
