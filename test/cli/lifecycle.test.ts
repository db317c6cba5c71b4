import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { LifecycleReport } from '../../lib/lifecycle/words.ts';
import { nearestRelease } from '../../lib/sim/profile.ts';
import { noKvm, privmem } from '../support/cli.ts';

const reason = noKvm();

/** Design, and the kernel must offer what it needs: an older one answers `unsupported`, which is checked here too. */
function supported(): boolean {
  const probe = JSON.parse(privmem('probe', '--json').stdout) as { designs: Record<string, { supported: boolean }> };
  return probe.designs['unbound-first']?.supported === true;
}

const missing = reason ?? (supported() ? undefined : 'KVM_CAP_GUEST_MEMFD_FLAGS lacks MMAP|INIT_SHARED (Linux 6.18)');

describe.skipIf(missing !== undefined)(
  `lifecycle on the real kernel${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  () => {
    const parsed = (...args: string[]): LifecycleReport => {
      const { status, stdout, stderr } = privmem('lifecycle', '--json', ...args);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      return JSON.parse(stdout) as LifecycleReport;
    };

    test('unbound-first goes unbound, bound, initialized, closed, and passes', () => {
      const report = parsed();
      expect(report).toMatchObject({ backend: 'kvm', design: 'unbound-first', technology: 'none', passed: true });
      expect(report.steps.length).toBeGreaterThanOrEqual(10);
      const states = report.steps.map((step) => step.to).filter((state, i, all) => state !== all[i - 1]);
      expect(states).toEqual(['unbound', 'bound', 'initialized', 'closed']);
      for (const step of report.steps) {
        expect(step).toMatchObject({
          calls: expect.any(Number),
          micros: expect.any(Number),
          detail: expect.any(String),
        });
        expect(['kernel', 'library', 'nobody']).toContain(step.enforcedBy);
      }
    });

    test.each(['unbound-first', 'guest-memfd-mmap'])(
      '%s: the simulation of this release takes the same steps with the same outcomes',
      (design) => {
        const facts = (report: LifecycleReport) => {
          const { backend: _backend, kernel: _kernel, steps, ...rest } = report;
          return { ...rest, steps: steps.map(({ micros: _micros, ...step }) => step) };
        };
        const real = parsed('--design', design, '--backend', 'kvm');
        const simulated = parsed('--design', design, '--backend', 'sim', '--release', nearestRelease(real.kernel));
        expect([real.backend, simulated.backend]).toEqual(['kvm', 'sim']);
        expect(real.steps.length).toBeGreaterThanOrEqual(10);
        expect(facts(simulated)).toEqual(facts(real));
      },
    );

    test('the guest reports a value that no host write contains', () => {
      const directory = mkdtempSync(path.join(tmpdir(), 'privmem-'));
      try {
        const file = path.join(directory, 'trace.jsonl');
        const report = parsed(`--trace=${file}`);
        const value = report.steps.find((step) => step.name === 'guest-writes')?.reported?.computed;
        expect(value).toMatch(/^0x[0-9a-f]{8,}$/);
        const needle = Buffer.alloc(8);
        needle.writeBigUInt64LE(BigInt(value ?? 0));
        const writes = readFileSync(file, 'utf8')
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as { call: string; args: unknown[] });
        const bytes = writes
          .filter(({ call }) => call === 'copyIn' || call === 'pwrite' || call === 'write')
          .map(({ args }) => Buffer.from((args[1] as { base64: string }).base64, 'base64'));
        expect(bytes.length).toBeGreaterThan(0);
        // The program that checks the value at the end holds it too: only what was written before the guest computed it counts.
        const computed = writes.findIndex(({ call, args }) => call === 'vcpuStart' && args.length > 0);
        const before = writes
          .slice(0, computed)
          .filter(({ call }) => call === 'copyIn')
          .map(({ args }) => Buffer.from((args[1] as { base64: string }).base64, 'base64'));
        expect(before.some((written) => written.includes(needle))).toBe(false);
      } finally {
        rmSync(directory, { recursive: true });
      }
    });

    test('guest-memfd-mmap starts brand-new, and nobody enforces what the discussion asks for', () => {
      const report = parsed('--design', 'guest-memfd-mmap');
      expect(report.steps[0]).toMatchObject({ to: 'brand-new', outcome: 'ok' });
      const step = (name: string) => report.steps.find((candidate) => candidate.name === name);
      expect(step('host-access-after-complete')).toMatchObject({ outcome: 'ok', enforcedBy: 'nobody' });
      expect(step('bind-to-second-vm')).toMatchObject({ outcome: 'refused', errno: 'EINVAL', enforcedBy: 'kernel' });
      expect(step('host-reads-private-page')).toMatchObject({ outcome: 'fault', fault: 'SIGBUS BUS_ADRERR' });
    });

    test('--trace shows each call on stderr with decoded structs, and keeps stdout for the result', () => {
      const { status, stdout, stderr } = privmem('lifecycle', '--trace');
      expect(status).toBe(0);
      expect(stdout).not.toContain('ioctl(');
      expect(stderr).toMatch(
        /^ioctl\(\d+<vm>, KVM_CREATE_GUEST_MEMFD, \{size=0x200000, flags=GUEST_MEMFD_FLAG_MMAP\|GUEST_MEMFD_FLAG_INIT_SHARED\}\) = \d+<guest_memfd>$/m,
      );
      expect(stderr).toMatch(
        /KVM_SET_USER_MEMORY_REGION2, \{slot=1, flags=KVM_MEM_GUEST_MEMFD, guest_phys_addr=0x100000000,/,
      );
      expect(stderr).toMatch(/KVM_RUN, 0\) = 0 <KVM_EXIT_MMIO \{phys_addr=0xe0000000/);
      expect(stderr).toMatch(/^fallocate\(\d+<guest_memfd>, FALLOC_FL_KEEP_SIZE\|FALLOC_FL_PUNCH_HOLE, /m);
      expect(stderr).not.toMatch(/_IO[WR]*\(/);
    });

    test('no colours and no progress away from a terminal', () => {
      const { stdout, stderr } = privmem('lifecycle');
      expect(stdout).not.toContain('\u001b');
      expect(stderr).toBe('');
    });

    test.each([
      ['3', 2],
      ['4096', 2],
      ['32K', 2],
      ['40K', 0],
      ['3M', 0],
    ])('--size %s ends with %i', (size, status) => {
      expect(privmem('lifecycle', '--size', size).status).toBe(status);
    });

    test.each([
      ['--design', 'in-place', 4],
      ['--design', 'nonsense', 2],
      ['--technology', 'nonsense', 2],
    ])('%s %s ends with %i and says so', (option, value, status) => {
      const ended = privmem('lifecycle', option, value);
      expect(ended).toMatchObject({ status, stdout: '' });
      expect(ended.stderr).toContain(value);
    });

    test('a technology that this host lacks ends with 4 where the real kernel is asked for, and is simulated otherwise', () => {
      const real = privmem('lifecycle', '--technology', 'tdx', '--backend', 'kvm');
      expect([real.status, real.stdout]).toEqual([4, '']);
      expect(real.stderr).toMatch(/technology tdx: .*KVM_X86_TDX_VM/);
      const any = privmem('lifecycle', '--technology', 'tdx', '--size', '64K');
      expect([any.status, /backend sim .*the real one cannot do this: technology tdx/.test(any.stdout)]).toEqual([
        0,
        true,
      ]);
    });
  },
);
