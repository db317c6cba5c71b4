/** Replays on a simulated kernel: what is translated, refused, given back, and what an interruption leaves. */
import { describe, expect, it } from 'vitest';
import type { Kernel } from '../../lib/kernel/kernel.ts';
import { Sys } from '../../lib/kernel/sys.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { Mapping } from '../../lib/memory/mapping.ts';
import { Memfd } from '../../lib/memory/memfd.ts';
import type { simKernel } from '../../lib/sim/sim-kernel.ts';
import { simulate } from '../../lib/sim/simulate.ts';
import type { RecordedCall, Recording } from '../../lib/trace/recording.ts';
import { replayTrace } from '../../lib/trace/replay.ts';
import { fakeKernel, withCalls } from '../support/fake-kernel.ts';
import { Guest } from '../support/guest.ts';
import { parseLines, record, recordLines, summary } from './record.ts';
import { playVariety } from './variety.ts';

const PAGE = 4096;
const fresh = (release: '6.1' | '6.18' | '7.3' = '6.18'): Kernel => simulate({ release, technologies: [] });

/** A kernel whose descriptors and addresses are not those of the recording. */
function shifted(): Kernel {
  const kernel = fresh();
  for (let i = 0; i < 7; i++) kernel.memfdCreate('in the way', 0);
  kernel.mmap(0, 37 * PAGE, 3, 0x22, -1, 0);
  return kernel;
}

/** What the simulated process holds: the lowest free descriptor, and its mappings. */
function held(kernel: Kernel): object {
  const fd = kernel.eventfd(0, 0);
  kernel.close(fd);
  const { vmas } = (kernel as ReturnType<typeof simKernel>).process.space;
  return { fd, mappings: vmas.size };
}

describe('a replay', () => {
  it('meets the recorded outcomes with other descriptors and addresses', async () => {
    const recording = await record(fresh(), playVariety);
    const report = await replayTrace(recording, shifted());
    expect(summary(report)).toEqual([]);
    expect(report).toMatchObject({ calls: recording.calls.length, same: recording.calls.length, interrupted: false });
    expect(report.opened).toEqual([{ path: '/dev/kvm', flags: expect.any(Number), result: expect.any(Number) }]);
  });

  it('lists what another release answers, and what could not be made after it', async () => {
    const recording = await record(fresh('7.3'), (kernel) => {
      using kvm = Kvm.open(new Sys(kernel));
      using vm = kvm.createVm();
      using file = vm.createGuestMemfd(PAGE, { mmap: true });
      file.raw.map().value?.close();
    });
    const report = await replayTrace(recording, fresh('6.1'));
    expect(summary(report)).toEqual([
      expect.stringMatching(/KVM_CREATE_GUEST_MEMFD.*"what":"result","expected":"a descriptor","got":"ENOTTY"/),
      expect.stringMatching(/^fstat.*not made: descriptor \d+ comes from call \d+, which has none here/),
      expect.stringMatching(/^mmap.*not made: descriptor/),
      expect.stringMatching(/^munmap.*not made: address 0x[0-9a-f]+ comes from call/),
      expect.stringMatching(/^close.*not made: descriptor/),
    ]);
    expect(report.same + report.different.length + report.skipped.length).toBe(report.calls);
  });

  it('notices every kind of wrong outcome', async () => {
    const recording = await record(fresh(), playVariety);
    const changes: [string, (call: RecordedCall) => boolean, (kernel: Kernel) => Partial<Kernel>, RegExp][] = [
      ['a value', ({ call }) => call === 'fcntl', () => ({ fcntl: () => 99 }), /"what":"result"/],
      ['an errno', ({ call }) => call === 'fallocate', () => ({ fallocate: () => -5 }), /"expected":"0","got":"EIO"/],
      [
        'bytes',
        ({ call }) => call === 'pread',
        (kernel) => ({
          pread: (fd, into, offset) => kernel.pread(fd, into.fill(1) && new Uint8Array(into.length), offset),
        }),
        /"what":"bytes from byte 0x0"/,
      ],
      [
        'a fault',
        ({ call }) => call === 'copyOut',
        (kernel) => ({
          copyOut: (hva, into, fault) => {
            const done = kernel.copyOut(hva, into, fault);
            if (fault?.[0] === 11n) fault[0] = 7n;
            return done;
          },
        }),
        /"what":"fault.signal","expected":"11","got":"7"/,
      ],
      [
        'a field',
        ({ call }) => call === 'ioctl',
        (kernel) => ({
          ioctl: (fd, request, arg, how, pointers) => {
            const result = kernel.ioctl(fd, request, arg, how, pointers);
            if (request === 0x8090ae81 && arg instanceof Uint8Array) arg[128] = 0x5a;
            return result;
          },
        }),
        /KVM_GET_REGS.*"what":"rip"/,
      ],
    ];
    for (const [name, , change, message] of changes) {
      const kernel = fresh();
      const report = await replayTrace(recording, withCalls(kernel, change(kernel)));
      expect(
        summary(report).some((line) => message.test(line)),
        name,
      ).toBe(true);
    }
  });

  it('gives back what the recording leaves open', async () => {
    const recording = await record(fresh(), async (kernel) => {
      const sys = new Sys(kernel);
      const kvm = Kvm.open(sys);
      const guest = new Guest(kvm);
      guest.load((g) => {
        g.whileEqual(0x10_0000, 0);
      });
      guest.vcpu().runSync({ timeoutMs: 5 });
      Memfd.create(sys, { size: PAGE }).map();
      Mapping.anonymous(sys, 3 * PAGE);
    });
    const kernel = fresh();
    const before = held(kernel);
    expect(summary(await replayTrace(recording, kernel))).toEqual([]);
    expect(held(kernel)).toEqual(before);
  });

  it('ends a guest that does not end, and says so', async () => {
    const recording = await record(fresh(), async (kernel) => {
      using kvm = Kvm.open(new Sys(kernel));
      const guest = new Guest(kvm);
      guest.load((g) => {
        g.whileEqual(0x10_0000, 0);
        g.halt();
      });
      guest.memory.writeU64(0x10_0000, 1n);
      await guest.vcpu().run();
      guest.close();
    });
    // The write that lets the guest go on is lost.
    const calls = recording.calls.filter(({ call, args }) => call !== 'copyIn' || (args[1] as Uint8Array).length !== 8);
    expect(calls.length).toBe(recording.calls.length - 1);
    const report = await replayTrace({ ...recording, calls }, fresh(), { runLimitMs: 50 });
    expect(summary(report)).toEqual([expect.stringMatching(/KVM_RUN.*it ran for 50 ms and was interrupted/)]);
  });

  it('stops when it is told to, kicks what runs, gives everything back', async () => {
    const recording = await record(fresh(), async (kernel) => {
      using kvm = Kvm.open(new Sys(kernel));
      const guest = new Guest(kvm);
      guest.load((g) => {
        g.whileEqual(0x10_0000, 0);
      });
      guest.vcpu().runSync({ timeoutMs: 20 });
      guest.close();
    });
    const endless = recording.calls.map((call) =>
      call.call === 'vcpuRun' ? { ...call, args: [call.args[0], 0] } : call,
    );
    const kernel = fresh();
    const before = held(kernel);
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 50);
    const report = await replayTrace({ ...recording, calls: endless }, kernel, { signal: controller.signal });
    expect(report.interrupted).toBe(true);
    expect(held(kernel)).toEqual(before);
  });

  it('writes what the host wrote through views', async () => {
    const recording = await record(fresh(), (kernel) => {
      const sys = new Sys(kernel);
      const mapping = Mapping.anonymous(sys, 2 * PAGE);
      mapping.fill(1);
      const view = mapping.unsafeView();
      view[5] = 42;
      view[PAGE + 7] = 43;
      mapping.read(0, 2 * PAGE);
      mapping.close();
    });
    const at = recording.calls.find(({ call }) => call === 'copyOut');
    expect(at?.writes.map(([, bytes]) => [...bytes])).toEqual([[42], [43]]);
    expect(summary(await replayTrace(recording, shifted()))).toEqual([]);
  });
});

/** A recording of one call on a kernel that is called real. */
const lineOf = (call: string, args: readonly unknown[], result = 0): Recording =>
  parseLines([
    JSON.stringify({
      format: 2,
      kernel: { backend: 'kvm', arch: 'x64', release: '6.18.0' },
      n: 1,
      call,
      syscall: call,
      args,
      result,
      at: 0,
      micros: 0,
      text: call,
    }),
  ]);

describe('what a replay does not do', () => {
  const real = () => fakeKernel({}, { backend: 'kvm' });
  const bytes = (length: number) => ({ base64: Buffer.alloc(length).toString('base64') });

  it.each<[string, Recording, RegExp]>([
    ['opening another file', lineOf('open', ['/etc/passwd', 0, 0]), /opens \/dev\/kvm.*--open "\/etc\/passwd" allows/],
    ['creating a file', lineOf('open', ['/dev/kvm', 0o102, 0]), /would be created or truncated/],
    ['truncating a file', lineOf('open', ['/dev/kvm', 0o1002, 0]), /would be created or truncated/],
    ['taking all memory', lineOf('fallocate', [3, 0, 0, 2 ** 50]), /may take \d+ MiB of memory, more than the limit/],
    ['filling all memory', lineOf('fill', [4096, 2 ** 50, 0, null]), /may take/],
    ['KVM_RUN without a way to end it', lineOf('ioctl', [3, 0xae80, 0, 0, null]), /could not be interrupted/],
    ['a request nobody knows', lineOf('ioctl', [3, 0xc010aeff, bytes(16), 0, null]), /is not declared.*--undeclared/],
    [
      'a count beyond the buffer',
      lineOf('ioctl', [3, 0x4008ae89, { base64: 'AAAAAQAAAAA=' }, 2, null]),
      /would touch \d+ bytes/,
    ],
    [
      'blocking the kick',
      lineOf('ioctl', [3, 0x4004ae8b, { base64: 'CAAAAP//////////' }, 2, null]),
      /block the signal/,
    ],
    ['a call nobody knows', lineOf('mseal', [1]), /does not know the call mseal/],
    ['adopting a descriptor', lineOf('adopt', [0]), /descriptor 0 was made outside of the recording/],
    ['a command whose parts nobody knows', lineOf('ioctl', [3, 0xc008aeba, bytes(24), 2, null]), /no table says/],
    ['closing a descriptor of others', lineOf('close', [7], 0), /^$/],
  ])('%s', async (name, recording, reason) => {
    const fake = real();
    const { skipped } = await replayTrace(recording, fake.kernel);
    if (name === 'closing a descriptor of others') {
      // One that the recording did not make is nobody's here: a number that is never open.
      expect(fake.of('close').map(({ args }) => args)).toEqual([[2 ** 30]]);
      return;
    }
    expect(skipped.map(({ reason: text }) => text)).toEqual([expect.stringMatching(reason)]);
    expect(fake.calls.filter(({ call }) => call !== 'munmap')).toEqual([]);
  });

  it('opens what it is told to, and never a regular file for writing', async () => {
    const fake = real();
    const open = [import.meta.filename];
    expect((await replayTrace(lineOf('open', [open[0], 0, 0]), fake.kernel, { open })).opened).toHaveLength(1);
    const { skipped } = await replayTrace(lineOf('open', [open[0], 2, 0]), fake.kernel, { open });
    expect(skipped[0]?.reason).toMatch(/would be opened for writing/);
  });

  it('handing a VM an address that is not the replay’s own', async () => {
    const region = Buffer.alloc(32);
    region.writeBigUInt64LE(BigInt(PAGE), 16);
    region.writeBigUInt64LE(0x5555_0000_1000n, 24);
    const seen: bigint[] = [];
    const fake = fakeKernel(
      {
        mmap: () => 0x7000_0000,
        ioctl: (_fd: number, _request: number, arg: Uint8Array) => {
          seen.push(Buffer.from(arg).readBigUInt64LE(24));
          return 0;
        },
      },
      { backend: 'kvm' },
    );
    await replayTrace(lineOf('ioctl', [3, 0x4020ae46, { base64: region.toString('base64') }, 0, null]), fake.kernel);
    expect(seen).toEqual([0x7000_0000n]);
    // It is mapped for the purpose, and inaccessible.
    expect(fake.of('mmap')[0]?.args.slice(1, 3)).toEqual([PAGE, 0]);
  });

  it('guests of another architecture', async () => {
    const recording = lineOf('close', [3]);
    const { kernel } = fakeKernel({}, { arch: 'arm64' });
    await expect(replayTrace(recording, kernel)).rejects.toThrow(/recorded on x64, this kernel runs arm64/);
  });
});

describe('a descriptor in a field', () => {
  it('is found by the layout and translated', async () => {
    const lines = await recordLines(simulate({ release: '6.18' }), (kernel) => {
      using kvm = Kvm.open(new Sys(kernel));
      using vm = kvm.createVm(1);
      using file = vm.createGuestMemfd(PAGE);
      vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, guestMemfd: file });
    });
    const kernel = simulate({ release: '6.18' });
    for (let i = 0; i < 5; i++) kernel.eventfd(0, 0);
    expect(summary(await replayTrace(parseLines(lines), kernel))).toEqual([]);
  });
});
