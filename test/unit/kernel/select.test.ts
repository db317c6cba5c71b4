import { describe, expect, it } from 'vitest';
import { UnsupportedError } from '../../../lib/kernel/errors.ts';
import { kvmAccess, nativeKernel, openKernel, selectKernel } from '../../../lib/kernel/select.ts';
import type { TraceRecord } from '../../../lib/kernel/trace.ts';
import { describeKernel } from '../../support/kvm.ts';

describe('selectKernel', () => {
  it('gives a simulated kernel of its own each time it is asked', () => {
    const [first, second] = [
      selectKernel({ backend: 'sim' }),
      selectKernel({ backend: 'sim', simulate: { release: '6.12' } }),
    ];
    expect(first.sys.kernel).toMatchObject({ backend: 'sim', release: expect.stringMatching(/^7\.3/) });
    expect(second.sys.kernel).toMatchObject({ backend: 'sim', release: expect.stringMatching(/^6\.12/) });
    expect(first.why).toMatch(/as asked for/);
  });

  it('takes the simulated one when something speaks against the real one, and traces that alone', () => {
    const records: TraceRecord[] = [];
    const { sys, why } = selectKernel({
      trace: (record) => records.push(record),
      obstacle: (real) => {
        real.close(real.memfdCreate('asked', 0));
        return new UnsupportedError('a thing', 'it is not there', 'get one');
      },
    });
    expect(sys.kernel.backend).toBe('sim');
    expect(why).toMatch(
      /simulated kernel, because the real one cannot do this: .*(a thing: it is not there|native addon)/,
    );
    expect(records).toEqual([]);
    sys.close(sys.memfdCreate('used', 0));
    expect(records.map(({ call }) => call)).toEqual(['memfdCreate', 'close']);
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
