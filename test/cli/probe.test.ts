/** `privmem probe` against a C program that asks the same kernel. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { ProbeReport } from '../../lib/cli/probe-report.ts';
import { KVM_CAP } from '../../lib/uapi/index.ts';
import { has, noKvm, privmem, run } from '../support/cli.ts';

const reason = noKvm() ?? (has('cc') ? undefined : 'no C compiler');

/** Prints `number value` for every capability number, at system scope and for a default VM. No kernel headers needed. */
const PROBE = `
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
int main(void) {
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) return 1;
  int vm = ioctl(kvm, 0xAE01, 0L);
  if (vm < 0) return 2;
  for (long cap = 0; cap < 512; cap++)
    printf("%ld %d %d\\n", cap, ioctl(kvm, 0xAE03, cap), ioctl(vm, 0xAE03, cap));
  return 0;
}
`;

describe.skipIf(reason !== undefined)(
  `probe and a C program${reason === undefined ? '' : ` (skipped: ${reason})`}`,
  () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'privmem-probe-'));
    afterAll(() => rmSync(directory, { recursive: true }));
    writeFileSync(path.join(directory, 'probe.c'), PROBE);
    const compiled = run('cc', ['-o', path.join(directory, 'probe'), path.join(directory, 'probe.c')]);
    const answers = new Map(
      run(path.join(directory, 'probe'), [])
        .stdout.trim()
        .split('\n')
        .map((line) => line.split(' ').map(Number))
        .map(([cap, system, vm]) => [cap, { system, vm }]),
    );
    const { status, stdout, stderr } = privmem('probe', '--json');
    const report = JSON.parse(stdout) as ProbeReport;

    test('both ran', () => {
      expect(compiled.status).toBe(0);
      expect(answers.size).toBe(512);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(report.kvm.available).toBe(true);
    });

    test('every capability has the value that the C program saw', () => {
      const expected = Object.entries(KVM_CAP.value).map(([name, cap]) => [name, answers.get(Number(cap))?.system]);
      expect(report.kvm.capabilities).toEqual(Object.fromEntries(expected));
      expect(Object.keys(report.kvm.capabilities).length).toBeGreaterThan(200);
    });

    test('and so have those that a default VM answers for itself', () => {
      for (const [name, value] of Object.entries(report.kvm.perVmType.KVM_X86_DEFAULT_VM ?? {})) {
        expect([name, value]).toEqual([
          name,
          answers.get(Number(KVM_CAP.value[name as keyof typeof KVM_CAP.value]))?.vm,
        ]);
      }
    });

    test('VM types are the bits of KVM_CAP_VM_TYPES', () => {
      const mask = report.kvm.capabilities.KVM_CAP_VM_TYPES ?? 0;
      const bits = mask.toString(2).replaceAll('0', '').length;
      expect(report.kvm.vmTypes.length).toBe(Math.max(bits, 1));
    });
  },
);

test('the text names the kernel and gives every unsupported thing a reason', () => {
  const { status, stdout } = privmem('probe');
  expect(status).toBe(0);
  expect(stdout).toMatch(/^kernel /);
  for (const line of stdout.split('\n')) if (/^ {2}[a-z-]+ +no\b/.test(line)) expect(line).toMatch(/ no +\S+/);
});
