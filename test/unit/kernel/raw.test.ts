import { describe, expect, it } from 'vitest';
import { DisposedError, KernelError, MemoryFaultError } from '../../../lib/kernel/errors.ts';
import { rawOf } from '../../../lib/kernel/raw.ts';

const refused = new KernelError({ errno: 17, syscall: 'ioctl', args: [] });
const fault = { kind: 'SIGSEGV', code: 'SEGV_ACCERR', hva: 0x1000, offset: 0, bytesDone: 3 } as const;

class Subject {
  readonly field = 5;
  #secret = 42;

  get seals(): number {
    return 0x3f;
  }
  secret(add: number): number {
    return this.#secret + add;
  }
  refuse(): number {
    throw refused;
  }
  fault(): void {
    throw new MemoryFaultError('read', fault);
  }
  range(): void {
    throw new RangeError('no');
  }
  disposed(): void {
    throw new DisposedError('vm');
  }
  async later(value: string): Promise<string> {
    return value;
  }
  async refuseLater(): Promise<string> {
    throw refused;
  }
  async rangeLater(): Promise<string> {
    throw new RangeError('later');
  }
  chain(): this {
    return this;
  }
}

class Derived extends Subject {
  override secret(add: number): number {
    return super.secret(add) * 2;
  }
}

const subject = new Subject();
const raw = rawOf(subject);

describe('rawOf', () => {
  it('gives values, with private fields reachable', () => {
    expect(raw.secret(1)).toEqual({ ok: true, errno: 0, value: 43 });
    expect(rawOf<Subject>(new Derived()).secret(1)).toEqual({ ok: true, errno: 0, value: 86 });
  });

  it('turns a KernelError into a refusal that keeps it', () => {
    expect(raw.refuse()).toEqual({ ok: false, errno: 17, code: 'EEXIST', value: undefined, error: refused });
  });

  it('turns a fault into a refusal without an errno', () => {
    expect(raw.fault()).toMatchObject({ ok: false, errno: 0, code: 'SIGSEGV', value: undefined, fault });
  });

  it('throws every other error on', () => {
    expect(() => raw.range()).toThrow(RangeError);
    expect(() => raw.disposed()).toThrow(DisposedError);
  });

  it('does the same for promises', async () => {
    await expect(raw.later('x')).resolves.toEqual({ ok: true, errno: 0, value: 'x' });
    await expect(raw.refuseLater()).resolves.toMatchObject({ ok: false, code: 'EEXIST' });
    await expect(raw.rangeLater()).rejects.toThrow(RangeError);
  });

  it('has methods only, and is no promise itself', async () => {
    expect((raw as unknown as Subject).field).toBeUndefined();
    expect((raw as unknown as Subject).seals).toBeUndefined();
    expect(await raw).toBe(raw);
    const chained = raw.chain();
    expect(chained.ok && chained.value).toBe(subject);
  });
});
