import { describe, expect, it } from 'vitest';
import { UnsupportedError } from '../../../lib/kernel/errors.ts';
import { kvmAccess, nativeKernel, openKernel, selectKernel } from '../../../lib/kernel/select.ts';
import type { TraceRecord } from '../../../lib/kernel/trace.ts';
import { describeKernel } from '../../support/kvm.ts';

describe('selectKernel', () => {
  it('says that there is no simulated kernel yet, with a next step, afresh each time', () => {
    const errors = [1, 2].map(() => {
      try {
        selectKernel({ backend: 'sim' });
      } catch (error) {
        return error;
      }
      return undefined;
    });
    expect(errors[0]).toBeInstanceOf(UnsupportedError);
    expect(errors[0]).toMatchObject({ missing: 'backend sim', nextStep: expect.stringContaining('kvm') });
    expect(errors[1]).not.toBe(errors[0]);
  });

  it('kvmAccess knows three answers', () => {
    expect(['usable', 'forbidden', 'missing']).toContain(kvmAccess());
  });
});

describeKernel('selectKernel with the addon', () => {
  it('gives the real kernel and says why', () => {
    const { sys, why } = selectKernel();
    expect(sys.kernel).toMatchObject({ backend: 'kvm', arch: process.arch });
    expect(why).toMatch(/real kernel/);
    expect(selectKernel({ backend: 'kvm' }).why).toMatch(/as asked for/);
  });

  it('loads the addon once', () => {
    expect(nativeKernel()).toBe(nativeKernel());
    expect(openKernel().kernel).toBe(nativeKernel());
  });

  it('traces on request', () => {
    const records: TraceRecord[] = [];
    const sys = openKernel({ trace: (record) => records.push(record) });
    const fd = sys.memfdCreate('select', 0);
    sys.close(fd);
    expect(records.map(({ text }) => text)).toEqual([
      `memfd_create("select", 0) = ${fd}<memfd>`,
      `close(${fd}<memfd>) = 0`,
    ]);
  });
});
