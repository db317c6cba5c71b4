/** Kernels that do not keep their promises: a lifecycle that cannot fail would be worth nothing. */
import { expect, it } from 'vitest';
import { errnoOf } from '../../lib/kernel/errno.ts';
import type { Kernel } from '../../lib/kernel/kernel.ts';
import { Sys } from '../../lib/kernel/sys.ts';
import { runLifecycle } from '../../lib/lifecycle/lifecycle.ts';
import type { LifecycleReport } from '../../lib/lifecycle/words.ts';
import { KVM_CREATE_GUEST_MEMFD, KVM_SET_USER_MEMORY_REGION2, kvm_create_guest_memfd } from '../../lib/uapi/index.ts';
import { withCalls } from '../support/fake-kernel.ts';
import { hostState } from '../support/host-state.ts';
import { describeKvm, SHARED_GMEM } from '../support/kvm.ts';

const PAGE = 4096;
const SIZE = 16 * PAGE;

describeKvm(
  'a lifecycle on a broken kernel',
  ({ sys }) => {
    const real = sys.kernel;
    /** The names of the steps that are not as promised; the run must not have leaked anything. */
    const failures = async (changed: Partial<Kernel>, design = 'unbound-first'): Promise<string[]> => {
      const before = hostState(sys);
      const report = await runLifecycle(new Sys(withCalls(real, changed)), { design, size: SIZE });
      const wrong = report.steps.filter((step) => !step.expected).map(({ name }) => name);
      expect(report.passed).toBe(wrong.length === 0);
      expect(report.steps.at(-1)).toMatchObject({ name: 'close', to: 'closed' });
      expect(hostState(sys)).toEqual(before);
      return wrong;
    };

    it('passes with the kernel as it is', async () => {
      expect(await failures({})).toEqual([]);
    });

    it('that does not punch holes', async () => {
      expect(await failures({ fallocate: () => 0 })).toContain('guest-reads-converted-range');
    });

    it('that punches everything', async () => {
      const punch = (fd: number, mode: number): number => real.fallocate(fd, mode, 0, SIZE);
      expect(await failures({ fallocate: punch })).toContain('neighbours-untouched');
    });

    it('that refuses to punch', async () => {
      expect(await failures({ fallocate: () => -errnoOf('EPERM') })).toContain('convert-to-shared');
    });

    it('that maps single pages only: the rest is not even tried', async () => {
      const mmap: Kernel['mmap'] = (...args) => (args[1] === BigInt(PAGE) ? real.mmap(...args) : -errnoOf('EPERM'));
      expect(await failures({ mmap })).toEqual(['share']);
    });

    it('that maps vCPUs and the shared memory only', async () => {
      const mmap: Kernel['mmap'] = (...args) => (args[1] === BigInt(SIZE) ? -errnoOf('ENOMEM') : real.mmap(...args));
      expect((await failures({ mmap })).length).toBeGreaterThan(0);
    });

    it('that maps the wrong page', async () => {
      const shifted: Kernel['mmap'] = (address, length, prot, flags, fd, offset) =>
        real.mmap(
          address,
          length,
          prot,
          flags,
          fd,
          length === 2 * PAGE || length === BigInt(2 * PAGE) ? BigInt(offset) + 4096n : offset,
        );
      expect((await failures({ mmap: shifted })).length).toBeGreaterThan(0);
    });

    it('that drops bytes of what the host writes', async () => {
      const copyIn: Kernel['copyIn'] = (address, from, fault) => {
        const half = from.length > PAGE ? from.subarray(0, from.length - 8) : from;
        real.copyIn(address, half, fault);
        return from.length;
      };
      expect(await failures({ copyIn })).toContain('guest-reads-initial-contents');
    });

    it('that flips one bit of what the host writes', async () => {
      const copyIn: Kernel['copyIn'] = (address, from, fault) => {
        const changed = from.slice();
        if (changed.length === SIZE) changed[SIZE / 2 + 5] = (changed[SIZE / 2 + 5] ?? 0) ^ 1;
        return real.copyIn(address, changed, fault);
      };
      expect(await failures({ copyIn })).toContain('guest-reads-initial-contents');
    });

    it('that does not fill', async () => {
      expect(await failures({ fill: (_address, length) => Number(length) })).toContain('guest-answers');
    });

    it('whose host reads something else than the guest wrote', async () => {
      const copyOut: Kernel['copyOut'] = (address, into, fault) => {
        const done = real.copyOut(address, into, fault);
        if (into.length === 8) into.fill(0);
        return done;
      };
      expect(await failures({ copyOut })).toContain('guest-answers');
    });

    it('that lets a second VM bind the file', async () => {
      let bound = 0;
      const ioctl: Kernel['ioctl'] = (fd, request, ...rest) => {
        // The first is the real one.
        if (request === KVM_SET_USER_MEMORY_REGION2.request && ++bound === 2) return 0;
        return real.ioctl(fd, request, ...rest);
      };
      expect(await failures({ ioctl })).toEqual(['bind-to-second-vm']);
    });

    it('that refuses to bind: the rest is not even tried', async () => {
      const ioctl: Kernel['ioctl'] = (fd, request, ...rest) =>
        request === KVM_SET_USER_MEMORY_REGION2.request ? -errnoOf('EINVAL') : real.ioctl(fd, request, ...rest);
      expect(await failures({ ioctl })).toEqual(['bind']);
    });

    it('whose private pages can be read', async () => {
      const ioctl: Kernel['ioctl'] = (fd, request, arg, ...rest) => {
        if (request !== KVM_CREATE_GUEST_MEMFD.request || !(arg instanceof Uint8Array))
          return real.ioctl(fd, request, arg, ...rest);
        const { size, flags } = kvm_create_guest_memfd.decode(arg);
        const shared = kvm_create_guest_memfd.encode({ size, flags: flags === 1n ? 3n : flags });
        return real.ioctl(fd, request, shared, ...rest);
      };
      expect(await failures({ ioctl })).toEqual(['host-reads-private-page']);
    });

    it('that cannot create the file: nothing else is tried', async () => {
      const ioctl: Kernel['ioctl'] = (fd, request, arg, ...rest) => {
        const refuses =
          request === KVM_CREATE_GUEST_MEMFD.request &&
          arg instanceof Uint8Array &&
          kvm_create_guest_memfd.get(arg, 'size') === SIZE;
        return refuses ? -errnoOf('ENOMEM') : real.ioctl(fd, request, arg, ...rest);
      };
      expect(await failures({ ioctl })).toEqual(['create']);
    });

    it('whose vCPUs do not run', async () => {
      const wrong = await failures({ vcpuStart: () => -errnoOf('EAGAIN') });
      expect(wrong).toContain('guest-reads-initial-contents');
    });

    it('whose vCPUs end with an error', async () => {
      const vcpuStart: Kernel['vcpuStart'] = (_vcpu, done) => {
        setImmediate(done, -errnoOf('EIO'));
        return 0;
      };
      expect(await failures({ vcpuStart })).toContain('guest-writes');
    });

    it('the design without rules notices the same', async () => {
      expect(await failures({ fallocate: () => 0 }, 'guest-memfd-mmap')).toContain('guest-reads-converted-range');
    });
  },
  { arch: 'x64', ...SHARED_GMEM },
);

describeKvm(
  'an interrupted lifecycle',
  ({ sys }) => {
    const run = (options: Parameters<typeof runLifecycle>[1]): Promise<LifecycleReport> =>
      runLifecycle(sys, { size: SIZE, ...options });

    it('closes everything, at whichever step it is interrupted', { timeout: 180_000 }, async () => {
      const { steps } = await run({});
      const before = hostState(sys);
      for (const { name } of steps.slice(0, -2)) {
        const controller = new AbortController();
        const reason = new Error(`after ${name}`);
        const onStep = (step: { name: string }): void => {
          if (step.name === name) controller.abort(reason);
        };
        await expect(run({ signal: controller.signal, onStep })).rejects.toBe(reason);
        expect(hostState(sys)).toEqual(before);
      }
    });

    it('does not start when it is interrupted before', async () => {
      const before = hostState(sys);
      await expect(run({ signal: AbortSignal.abort('early') })).rejects.toBe('early');
      expect(hostState(sys)).toEqual(before);
    });

    it('stops a guest that runs', async () => {
      const before = hostState(sys);
      const controller = new AbortController();
      // The kernel lets the vCPU run and the signal comes before it is done.
      const vcpuStart: Kernel['vcpuStart'] = (vcpu, done) => {
        const started = sys.kernel.vcpuStart(vcpu, done);
        controller.abort('while it runs');
        return started;
      };
      const broken = new Sys(withCalls(sys.kernel, { vcpuStart }));
      await expect(runLifecycle(broken, { size: SIZE, signal: controller.signal })).rejects.toBe('while it runs');
      expect(hostState(sys)).toEqual(before);
    });

    it('closes everything when its observer throws', async () => {
      const before = hostState(sys);
      const onStep = (): void => {
        throw new Error('observer');
      };
      await expect(run({ onStep })).rejects.toThrow('observer');
      expect(hostState(sys)).toEqual(before);
    });
  },
  { arch: 'x64', ...SHARED_GMEM },
);
