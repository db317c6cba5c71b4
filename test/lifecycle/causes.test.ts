/** A promise is kept by its own cause only: other refusals, and contents that nothing explains, are told apart from it. */
import { describe, expect, it } from 'vitest';
import { errnoOf } from '../../lib/kernel/errno.ts';
import type { Kernel } from '../../lib/kernel/kernel.ts';
import { Sys } from '../../lib/kernel/sys.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { initialWord } from '../../lib/lifecycle/contents.ts';
import { runLifecycle } from '../../lib/lifecycle/lifecycle.ts';
import { designSupport, technologySupport } from '../../lib/lifecycle/support.ts';
import type { Step } from '../../lib/lifecycle/words.ts';
import { type SimulateOptions, simulate } from '../../lib/sim/simulate.ts';
import { KVM_CAP, KVM_CHECK_EXTENSION, KVM_CREATE_VM } from '../../lib/uapi/index.ts';
import { withCalls } from '../support/fake-kernel.ts';

interface Case {
  readonly design: string;
  readonly technology: string;
  readonly kernel?: SimulateOptions;
  /** Steps during which the kernel is changed. Default: all. */
  readonly during?: readonly string[];
  readonly changed?: (kernel: Kernel) => Partial<Kernel>;
}

async function stepsOf({ design, technology, kernel: options, during, changed }: Case): Promise<Map<string, Step>> {
  const kernel = simulate(options);
  let on = during === undefined;
  const switched = Object.entries(changed?.(kernel) ?? {}).map(([name, other]) => {
    const own = Reflect.get(kernel, name) as (...args: unknown[]) => unknown;
    return [name, (...args: unknown[]) => (on ? (other as typeof own)(...args) : own(...args))];
  });
  const report = await runLifecycle(new Sys(withCalls(kernel, Object.fromEntries(switched))), {
    ...{ design, technology, size: 16 * 4096 },
    onStepStart: (name) => {
      on = during?.includes(name) ?? true;
    },
  });
  const steps = new Map(report.steps.map((step) => [step.name, step]));
  expect(report.passed).toBe([...steps.values()].every((step) => step.expected));
  return steps;
}

describe('a refusal with another cause', () => {
  it.each([
    ['guest-memfd', 'sev-snp'],
    ['guest-memfd', 'tdx'],
    ['guest-memfd-mmap', 'sev'],
  ] as const)('no second VM to be had says nothing of the file: %s, %s', async (design, technology) => {
    const steps = await stepsOf({ design, technology, kernel: { technologies: [technology], memoryKeys: 1 } });
    for (const name of ['bind-to-second-vm', 'vm-closed-first']) {
      expect(steps.get(name)).toMatchObject({ outcome: 'unsupported', detail: expect.stringContaining('another VM') });
      expect(steps.get(name)).not.toHaveProperty('promised');
    }
  });

  it('breaks the promise: mmap without memory, where the design promises that nobody can map', async () => {
    const during = ['host-access-before-bind', 'host-access-after-complete', 'host-access-after-taken-back'];
    const changed = (): Partial<Kernel> => ({ mmap: () => -errnoOf('ENOMEM') });
    const steps = await stepsOf({ design: 'guest-memfd', technology: 'sw-protected', during, changed });
    for (const name of during)
      expect(steps.get(name)).toMatchObject({
        ...{ outcome: 'refused', errno: 'ENOMEM', expected: false },
        detail: 'mmap is refused; promised: mmap ENODEV',
      });
  });

  it('is no finding either, where nothing is promised', async () => {
    const changed = (): Partial<Kernel> => ({ mmap: () => -errnoOf('EMFILE') });
    const during = ['host-maps-after-bind'];
    const steps = await stepsOf({ design: 'guest-memfd-mmap', technology: 'none', during, changed });
    expect(steps.get('host-maps-after-bind')).toMatchObject({ errno: 'EMFILE', expected: false });
  });

  it('a file that the kernel does not have is not tried', async () => {
    const kernel = { release: '6.1', patches: ['inaccessible-memfd-v5'] } as const;
    const steps = await stepsOf({ design: 'inaccessible-memfd', technology: 'sw-protected', kernel });
    expect(steps.get('host-reads-private-page')).toMatchObject({ outcome: 'unsupported', expected: true });
  });
});

describe('contents that nothing explains', () => {
  const flipped = (kernel: Kernel): Partial<Kernel> => ({
    copyOut: (hva, into, fault) => {
      const done = kernel.copyOut(hva, into, fault);
      if (into.length === 8) into[0] = (into[0] ?? 0) ^ 1;
      return done;
    },
  });
  const reads = ['old-mapping-reads', 'host-reads-private', 'slot-reads-private'];

  it('a bit that flips in plain memory is not taken for other memory', async () => {
    const steps = await stepsOf({ design: 'guest-memfd-mmap', technology: 'none', during: reads, changed: flipped });
    for (const name of reads) expect(steps.get(name)).toMatchObject({ outcome: 'lost', expected: false });
  });

  it('one bit beside what the host had put there is no encryption', async () => {
    const changed = (): Partial<Kernel> => ({
      copyOut: (_, into) => {
        new DataView(into.buffer, into.byteOffset).setBigUint64(0, initialWord(0) ^ 1n, true);
        return into.length;
      },
    });
    const kernel = { technologies: ['sev'] as const };
    const during = ['old-mapping-reads'];
    const steps = await stepsOf({ design: 'guest-memfd-mmap', technology: 'sev', kernel, during, changed });
    expect(steps.get('old-mapping-reads')).toMatchObject({ outcome: 'lost', expected: false });
  });

  it('what process_vm_readv brings and what vmsplice does is looked at', async () => {
    const changed = (kernel: Kernel): Partial<Kernel> => ({
      processVmReadv: (hva, into) => {
        const done = kernel.processVmReadv(hva, into);
        into.fill(0x33);
        return done;
      },
      vmsplice: () => 8,
    });
    const during = ['vm-readv-private', 'vm-readv-shared', 'io-into-private', 'io-into-shared'];
    const steps = await stepsOf({ design: 'guest-memfd-mmap', technology: 'none', during, changed });
    for (const name of during) expect(steps.get(name)).toMatchObject({ outcome: 'lost', expected: false });
  });
});

it('without a fill, nothing is said of its mapping', async () => {
  const changed = (): Partial<Kernel> => ({ mmap: () => -errnoOf('ENOMEM') });
  const steps = await stepsOf({ design: 'guest-memfd-mmap', technology: 'none', during: ['fill'], changed });
  expect(steps.get('fill')?.expected).toBe(false);
  for (const name of ['complete-with-live-mapping', 'old-mapping-reads', 'remove-mapping'])
    expect(steps.has(name)).toBe(false);
});

describe('what is supported is found out by doing it', () => {
  it('capabilities that say more than the kernel does', () => {
    const kernel = simulate({ technologies: [] });
    const claims = new Map<number, number>([
      [KVM_CAP.value.KVM_CAP_VM_TYPES, 0x3f],
      [KVM_CAP.value.KVM_CAP_MEMORY_ATTRIBUTES, 8],
    ]);
    const kvm = Kvm.open(
      new Sys(
        withCalls(kernel, {
          ioctl: (fd, request, arg, ...more) => {
            const claim = request === KVM_CHECK_EXTENSION.request ? claims.get(Number(arg)) : undefined;
            return claim ?? kernel.ioctl(fd, request, arg, ...more);
          },
        }),
      ),
    );
    const found = technologySupport(kvm);
    const having = Object.keys(found).filter((name) => found[name]?.supported);
    expect(having).toEqual(['none']);
    expect(designSupport(kvm)['guest-memfd']?.supported).toBe(false);
    kvm.close();
  });

  it('no VM at all', () => {
    const kernel = simulate();
    const refusing = withCalls(kernel, {
      ioctl: (fd, request, arg, ...more) =>
        request === KVM_CREATE_VM.request ? -errnoOf('ENOMEM') : kernel.ioctl(fd, request, arg, ...more),
    });
    const kvm = Kvm.open(new Sys(refusing));
    expect(technologySupport(kvm).none).toMatchObject({ supported: false, reason: 'KVM_CREATE_VM: ENOMEM' });
    kvm.close();
  });
});
