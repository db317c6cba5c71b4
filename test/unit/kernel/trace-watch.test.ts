/** What the host writes through views, as a trace sees it. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { Kernel } from '../../../lib/kernel/kernel.ts';
import { Sys } from '../../../lib/kernel/sys.ts';
import { type TraceRecord, traceKernel } from '../../../lib/kernel/trace.ts';
import { Kvm } from '../../../lib/kvm/kvm.ts';
import { Mapping } from '../../../lib/memory/mapping.ts';
import { Memfd } from '../../../lib/memory/memfd.ts';
import { simulate } from '../../../lib/sim/simulate.ts';
import { Guest } from '../../support/guest.ts';

const PAGE = 4096;
let records: TraceRecord[];
let kernel: Kernel;
let sys: Sys;

beforeEach(() => {
  records = [];
  kernel = traceKernel(simulate({ release: '6.18', technologies: [] }), (record) => records.push(record));
  sys = new Sys(kernel);
});

const writes = (): [string, number, number[]][] =>
  records.flatMap(({ call, writes: found }) =>
    (found ?? []).map(([hva, bytes]) => [call, hva, [...bytes]] as [string, number, number[]]),
  );

describe('writes through views', () => {
  it('belong to the call that follows, changes close together as one', () => {
    const mapping = Mapping.anonymous(sys, 2 * PAGE);
    mapping.fill(1);
    const view = mapping.unsafeView();
    view.set([7, 8], 5);
    view[12] = 9;
    view[PAGE + 1] = 3;
    mapping.readU64(0);
    mapping.readU64(0);
    expect(writes()).toEqual([
      ['copyOut', mapping.hva + 5, [7, 8, 1, 1, 1, 1, 1, 9]],
      ['copyOut', mapping.hva + PAGE + 1, [3]],
    ]);
  });

  it('are not what a call wrote, nor what another mapping of the file wrote by a call', () => {
    const file = Memfd.create(sys, { size: PAGE });
    const [one, two] = [file.map(), file.map()];
    one.fill(1);
    one.unsafeView();
    two.write(0, new Uint8Array([5, 6]));
    file.pwrite(new Uint8Array([7]), 100);
    one.read(0, 8);
    expect(writes()).toEqual([]);
  });

  it('are looked for without touching a page that nobody touched', () => {
    const residency = (on: Sys): number => {
      const file = Memfd.create(on, { size: 4 * PAGE });
      const mapping = file.map();
      mapping.unsafeView();
      mapping.readU64(PAGE);
      return file.residency().cache;
    };
    expect(residency(sys)).toBe(residency(new Sys(simulate({ release: '6.18' }))));
    expect(records.some(({ call }) => call === 'view')).toBe(true);
  });

  it('end with the mapping', () => {
    const mapping = Mapping.anonymous(sys, PAGE);
    mapping.fill(1);
    mapping.unsafeView();
    mapping.close();
    sys.eventfd(0, 0);
    expect(writes()).toEqual([]);
  });

  it('are not recorded where there is too much to watch, and the record of the view says so', () => {
    const mapping = Mapping.anonymous(sys, 2 ** 27);
    mapping.unsafeView();
    expect(records.at(-1)).toMatchObject({ call: 'view', unwatched: true });
  });
});

describe('run pages', () => {
  it('answers are recorded, the kernel’s own writes and kicks are not', async () => {
    using kvm = Kvm.open(sys);
    const guest = new Guest(kvm);
    guest.load((g) => {
      g.report(1, g.load(0xd000_0000));
      g.whileEqual(0x10_0000, 0);
    });
    const vcpu = guest.vcpu();
    expect(vcpu.runSync({ timeoutMs: 1000 })).toMatchObject({ name: 'KVM_EXIT_MMIO', isWrite: false });
    vcpu.answer(0x1122n);
    expect(vcpu.runSync({ timeoutMs: 1000 })).toMatchObject({ name: 'KVM_EXIT_MMIO', isWrite: true });
    vcpu.kick();
    vcpu.runSync({ timeoutMs: 1000 });
    const run = vcpu.run();
    vcpu.kick();
    await run;
    vcpu.x64.getRegs();
    expect(writes().map(([call, , bytes]) => [call, bytes])).toEqual([['vcpuRun', [0x22, 0x11]]]);
    // What the host alone writes there is recorded, also when it writes it while the vCPU runs.
    const again = vcpu.run();
    vcpu.runPage.setUint8(0, 1);
    vcpu.kick();
    await again;
    vcpu.x64.getRegs();
    const [call, hva, bytes] = writes().at(-1) ?? [];
    expect([call, Number(hva) % PAGE, bytes]).toEqual(['ioctl', 0, [1]]);
    guest.close();
  });

  it('a run says when it began, and what its page held', async () => {
    using kvm = Kvm.open(sys);
    const guest = new Guest(kvm);
    guest.load((g) => g.whileEqual(0x10_0000, 0));
    const run = guest.vcpu().run();
    const before = records.length;
    guest.memory.writeU64(0x10_0000, 1n);
    await run;
    const started = records.find(({ call }) => call === 'vcpuStart');
    expect(started?.startedAfter).toBe(before);
    expect(started?.n).toBeGreaterThan(before + 1);
    expect(started?.exit?.page).toHaveLength(288);
    guest.close();
  });
});
