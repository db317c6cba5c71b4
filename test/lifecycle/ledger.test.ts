/** The step ledger: what a body does is what is recorded, and nothing passes by itself. */
import { describe, expect, it } from 'vitest';
import { KernelError, MemoryFaultError, StateError, UnsupportedError } from '../../lib/kernel/errors.ts';
import { CallCounter } from '../../lib/lifecycle/call-counter.ts';
import { Ledger, type StepOptions, type StepResult } from '../../lib/lifecycle/ledger.ts';
import { faultsBy, LibraryRefusal, refusedBy, type Step, Unexpected, verdictText } from '../../lib/lifecycle/words.ts';
import { fakeKernel } from '../support/fake-kernel.ts';

const refusal = new KernelError({ errno: 22, syscall: 'ioctl', request: 'KVM_CREATE_VM', args: [], hint: 'do this' });
const RULE = refusedBy('KVM_CREATE_VM EINVAL');
const fault = { kind: 'SIGBUS', code: 'BUS_ADRERR', hva: 0x1000, offset: 0x20, bytesDone: 3 } as const;

const ledger = (observer = {}) => new Ledger(new CallCounter(fakeKernel().kernel), observer);
const throwing = (error: unknown) => (): StepResult => {
  throw error;
};
async function one(options: StepOptions, body: () => StepResult | Promise<StepResult>): Promise<Step> {
  return ledger().step(options, body);
}

describe('outcomes', () => {
  it('ok, enforced by the kernel unless the body says otherwise', async () => {
    expect(await one({ name: 'a' }, () => ({ detail: 'done' }))).toMatchObject({
      name: 'a',
      outcome: 'ok',
      enforcedBy: 'kernel',
      detail: 'done',
      expected: true,
    });
    expect(await one({ name: 'a' }, () => ({ detail: '', enforcedBy: 'nobody' }))).toMatchObject({
      enforcedBy: 'nobody',
    });
  });

  it.each([
    ['refused by the kernel', refusal, { outcome: 'refused', enforcedBy: 'kernel', errno: 'EINVAL', hint: 'do this' }],
    [
      'refused by the library',
      new LibraryRefusal('unbound', 'map', ['bind', 'close'], 'not yet'),
      {
        outcome: 'refused',
        enforcedBy: 'library',
        detail: 'map in state unbound: not yet; allowed now: bind, close',
      },
    ],
    [
      'fault',
      new MemoryFaultError('read', fault),
      { outcome: 'fault', enforcedBy: 'kernel', fault: 'SIGBUS BUS_ADRERR' },
    ],
    [
      'unsupported',
      new UnsupportedError('tdx', 'no module', 'buy'),
      { outcome: 'unsupported', detail: 'tdx: no module' },
    ],
    [
      'unexpected contents',
      new Unexpected('0 is not 1'),
      { outcome: 'lost', enforcedBy: 'nobody', detail: '0 is not 1' },
    ],
  ])('%s', async (_, error, shape) => {
    const step = await one({ name: 'a' }, throwing(error));
    expect(step).toMatchObject(shape);
    expect(step.expected).toBe(false);
  });

  it('says what was promised of it, if anything was', async () => {
    const kept = await one({ name: 'a', expect: RULE }, throwing(refusal));
    const found = await one({ name: 'a', expect: 'any' }, throwing(refusal));
    expect(kept.promised).toBe('refused');
    expect(found).not.toHaveProperty('promised');
    expect(found.expected).toBe(true);
    expect(verdictText([kept, kept, found])).toBe(
      'passed: 2 steps as the design promises, 1 recorded without a promise',
    );
    expect(verdictText([kept, kept])).toBe('passed: 2 steps as the design promises');
  });

  it('is expected when it is what the design promises', async () => {
    expect((await one({ name: 'a', expect: RULE }, throwing(refusal))).expected).toBe(true);
    expect(
      (await one({ name: 'a', expect: faultsBy('SIGBUS BUS_ADRERR') }, throwing(new MemoryFaultError('x', fault))))
        .expected,
    ).toBe(true);
    expect((await one({ name: 'a', expect: RULE }, () => ({ detail: '' }))).expected).toBe(false);
    const elsewhere = await one({ name: 'a', expect: refusedBy('mmap ENODEV') }, throwing(refusal));
    expect(elsewhere).toMatchObject({ promised: 'refused', expected: false });
    expect(elsewhere.detail).toMatch(/; promised: mmap ENODEV$/);
    expect((await one({ name: 'a', expect: 'lost' }, () => ({ detail: '', outcome: 'lost' }))).expected).toBe(true);
  });

  it('wrong contents are never expected, not even where data may get lost', async () => {
    expect((await one({ name: 'a', expect: 'lost' }, throwing(new Unexpected('wrong')))).expected).toBe(false);
  });

  it('every other error is a bug or an interruption: thrown on, and not recorded', async () => {
    const book = ledger();
    for (const error of [new TypeError('bug'), new StateError('runs'), 'abort', new DOMException('x', 'AbortError')]) {
      await expect(book.step({ name: 'a' }, throwing(error))).rejects.toBe(error);
    }
    expect(book.steps).toEqual([]);
  });
});

describe('states', () => {
  it('move only when the step goes through', async () => {
    const book = ledger();
    expect(book.state).toBe('none');
    expect(await book.step({ name: 'create', to: 'unbound' }, () => ({ detail: '' }))).toMatchObject({
      from: 'none',
      to: 'unbound',
    });
    expect(await book.step({ name: 'bind', to: 'bound' }, throwing(refusal))).toMatchObject({
      from: 'unbound',
      to: 'unbound',
    });
    expect(await book.step({ name: 'look' }, () => ({ detail: '' }))).toMatchObject({ from: 'unbound', to: 'unbound' });
    expect(book.state).toBe('unbound');
  });
});

describe('passed', () => {
  it('needs steps, and every one as promised', async () => {
    const book = ledger();
    expect(book.passed).toBe(false);
    await book.step({ name: 'a' }, () => ({ detail: '' }));
    expect(book.passed).toBe(true);
    await book.step({ name: 'b' }, throwing(refusal));
    await book.step({ name: 'c' }, () => ({ detail: '' }));
    expect(book.passed).toBe(false);
  });
});

describe('calls', () => {
  it('are counted for each step, without what is no system call', async () => {
    const counter = new CallCounter(fakeKernel().kernel);
    const book = new Ledger(counter);
    counter.sys.ftruncate(3, 1);
    const step = await book.step({ name: 'a' }, () => {
      counter.sys.ftruncate(3, 1);
      counter.sys.close(3);
      counter.sys.kernel.copyOut(0x1000, new Uint8Array(1));
      counter.sys.kernel.vcpuKick(1);
      return { detail: '' };
    });
    expect([step.calls, counter.count]).toEqual([2, 3]);
    expect(step.micros).toBeGreaterThan(0);
  });

  it('reach the kernel unchanged, with its identity', () => {
    const fake = fakeKernel({ lseek: () => -6 }, { release: '9.9', backend: 'kvm' });
    const { sys } = new CallCounter(fake.kernel);
    expect(sys.raw.lseek(3, 1n, 4)).toMatchObject({ code: 'ENXIO' });
    expect(fake.calls[0]?.args.slice(0, 3)).toEqual([3, 1n, 4]);
    expect([sys.kernel.release, sys.kernel.backend]).toEqual(['9.9', 'kvm']);
  });
});

describe('observers', () => {
  it('hear of every step before and after', async () => {
    const heard: string[] = [];
    const book = ledger({
      onStepStart: (name: string) => heard.push(`> ${name}`),
      onStep: (step: Step) => heard.push(`< ${step.name} ${step.outcome}`),
    });
    await book.step({ name: 'a' }, () => ({ detail: '' }));
    await book.step({ name: 'b' }, throwing(refusal));
    expect(heard).toEqual(['> a', '< a ok', '> b', '< b refused']);
  });
});
