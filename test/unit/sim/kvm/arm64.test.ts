/** The simulated arm64 kernel, fact by fact beside what Linux 7.3.4 answered on QEMU's processor (test/arm64). */
import { readFileSync } from 'node:fs';
import { Sys as DistSys, simulate as distSimulate } from 'privmem';
import { describe, expect, it } from 'vitest';
import { Sys } from '../../../../lib/kernel/sys.ts';
import { Kvm } from '../../../../lib/kvm/kvm.ts';
import { Mapping } from '../../../../lib/memory/mapping.ts';
import { simulate } from '../../../../lib/sim/simulate.ts';
import { type Recording, record } from '../../../arm64/recording.ts';
import { scenarios } from '../../../arm64/scenarios.ts';

const MINUTE = 60_000;

const recorded = (mode: string): Recording =>
  JSON.parse(
    readFileSync(new URL(`../../../arm64/recordings/7.3.4-${mode}.json`, import.meta.url), 'utf8'),
  ) as Recording;

describe.each([
  ['nvhe', false],
  ['protected', true],
] as const)('what Linux 7.3.4 answered, kvm-arm.mode=%s', (mode, pkvm) => {
  const real = recorded(mode);
  const technologies = pkvm ? (['pkvm'] as const) : [];
  const all = scenarios({ pkvm, seed: 1 });

  it('is about all scenarios but the random ones', () => {
    expect(Object.keys(real)).toEqual(Object.keys(all).filter((name) => name !== 'random code'));
  });

  it.each(Object.keys(real))('%s', { timeout: MINUTE }, (name) => {
    const sys = new DistSys(distSimulate({ arch: 'arm64', physicalBits: 52, cpus: 2, technologies }));
    const scenario = all[name];
    if (scenario === undefined) throw new Error(`there is no scenario ${name}`);
    // Through JSON, as the recording came.
    expect(JSON.parse(JSON.stringify(record(sys, { [name]: scenario })))).toEqual({ [name]: real[name] });
  });
});

describe('options', () => {
  it('refuses what contradicts itself', () => {
    expect(() => simulate({ arch: 'arm64', technologies: ['sw-protected'] })).toThrow(
      /^sw-protected: on arm64 there is pkvm/,
    );
    expect(() => simulate({ arch: 'arm64', technologies: ['pkvm', 'sev'] })).toThrow(/^sev: on arm64 there is pkvm/);
    expect(() => simulate({ technologies: ['pkvm'] })).toThrow(/pKVM is a technology of arm64/);
    expect(() => simulate({ arch: 'arm64', physicalBits: 30 })).toThrow(RangeError);
    expect(() => simulate({ arch: 'arm64', emulatesGuests: true })).toThrow(RangeError);
  });
});

describe('locked memory', () => {
  it('a guest that is given more pages than may be locked gets ENOMEM, and its end gives them back', () => {
    const sys = new Sys(simulate({ arch: 'arm64', technologies: ['pkvm'], memlockLimit: 4 * 4096 }));
    using kvm = Kvm.open(sys);
    for (let round = 0; round < 2; round++) {
      using memory = Mapping.anonymous(sys, 0x1_0000);
      using vm = kvm.createVm(2 ** 31);
      vm.addMemslot({ slot: 0, gpa: 0, size: 0x1_0000, backing: memory });
      const vcpu = vm.createVcpu();
      vcpu.arm64.init();
      // add x0, x0, #0x1000; ldr x1, [x0]; b back
      for (const [i, word] of [0x9140_0400, 0xf940_0001, 0x17ff_fffe].entries()) {
        memory.write(4 * i, new Uint8Array(Uint32Array.of(word).buffer));
      }
      const end = vcpu.raw.runSync({ timeoutMs: 10_000 });
      expect(end).toMatchObject({ ok: false, code: 'ENOMEM' });
      expect(vcpu.arm64.getCore().x[0]).toBe(0x4000n);
    }
  });
});
