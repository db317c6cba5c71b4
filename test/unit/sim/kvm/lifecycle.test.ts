/** The owners and the lifecycles of the real kernel, unchanged, on the simulated one. */
import { describe, expect, it } from 'vitest';
import { Sys } from '../../../../lib/kernel/sys.ts';
import { Kvm } from '../../../../lib/kvm/kvm.ts';
import { runLifecycle } from '../../../../lib/lifecycle/lifecycle.ts';
import { simulate } from '../../../../lib/sim/simulate.ts';

describe('on the simulated kernel', () => {
  it('Kvm.open finds KVM', () => {
    using kvm = Kvm.open(new Sys(simulate()));
    expect(kvm.apiVersion()).toBe(12);
    expect(kvm.vcpuMmapSize()).toBe(12288);
  });

  for (const release of ['6.18', '7.3'] as const) {
    for (const design of ['unbound-first', 'guest-memfd-mmap']) {
      it(`${design} passes on ${release}`, async () => {
        const report = await runLifecycle(new Sys(simulate({ release })), { design });
        expect(report.steps.filter((step) => !step.expected)).toEqual([]);
        expect([report.passed, report.backend]).toEqual([true, 'sim']);
      });
    }
  }

  it('older releases cannot do the designs, and say so', async () => {
    await expect(runLifecycle(new Sys(simulate({ release: '6.12' })))).rejects.toThrow(
      'KVM_CAP_GUEST_MEMFD_FLAGS of the VM is 0',
    );
  });
});
