import { describe, expect, it } from 'vitest';
import * as errors from '../../../lib/kernel/errors.ts';

const { DisposedError, KernelError, MemoryFaultError, StateError, UnsupportedError } = errors;

const kernelError = new KernelError({
  errno: 22,
  syscall: 'ioctl',
  request: 'KVM_CREATE_GUEST_MEMFD',
  args: ['5', 'KVM_CREATE_GUEST_MEMFD', '{size=0x1}'],
  hint: 'the size must be a multiple of the page size',
});
const fault = { kind: 'SIGBUS', code: 'BUS_ADRERR', hva: 0x7000_0000_1010, offset: 0x1010, bytesDone: 16 } as const;
const faultError = new MemoryFaultError('read of 32 bytes', fault);
const unsupported = new UnsupportedError('/dev/kvm', 'it does not exist', 'load kvm_intel', { cause: kernelError });

describe('KernelError', () => {
  it('carries everything, and says it in its message', () => {
    expect(kernelError).toMatchObject({
      name: 'KernelError',
      code: 'EINVAL',
      errno: 22,
      syscall: 'ioctl',
      request: 'KVM_CREATE_GUEST_MEMFD',
      args: ['5', 'KVM_CREATE_GUEST_MEMFD', '{size=0x1}'],
    });
    expect(kernelError.message).toBe(
      'ioctl(5, KVM_CREATE_GUEST_MEMFD, {size=0x1}): EINVAL, invalid argument\n' +
        'hint: the size must be a multiple of the page size',
    );
  });

  it('has no hint line without a hint, and a name for any number', () => {
    const error = new KernelError({ errno: 999, syscall: 'close', args: ['3'] });
    expect(error.message).toBe('close(3): E999, unknown error');
    expect([error.hint, error.request]).toEqual([undefined, undefined]);
  });
});

describe('the other errors', () => {
  it('MemoryFaultError tells where, how far and why', () => {
    expect(faultError.fault).toEqual(fault);
    expect(faultError.message).toBe(
      'read of 32 bytes: SIGBUS (BUS_ADRERR) at offset 0x1010 (hva 0x700000001010) after 16 bytes; ' +
        'no page can be had there: private, or beyond the end of the file',
    );
    const segv = new MemoryFaultError('write of 1 bytes', { ...fault, kind: 'SIGSEGV', code: 'SEGV_ACCERR' });
    expect(segv.message).toContain('not mapped, or no right to it');
  });

  it('UnsupportedError has the next step and the cause', () => {
    expect(unsupported.message).toBe('/dev/kvm: it does not exist\nnext step: load kvm_intel');
    expect(unsupported).toMatchObject({ missing: '/dev/kvm', reason: 'it does not exist', nextStep: 'load kvm_intel' });
    expect(unsupported.cause).toBe(kernelError);
  });

  it('DisposedError and StateError name what it is about', () => {
    expect(new DisposedError('vm (fd 5)').message).toBe('vm (fd 5) is closed');
    expect(new StateError('the vCPU runs').message).toBe('the vCPU runs');
  });
});

describe('brands', () => {
  const all = { DisposedError, KernelError, MemoryFaultError, StateError, UnsupportedError };
  const samples = {
    DisposedError: new DisposedError('x'),
    KernelError: kernelError,
    MemoryFaultError: faultError,
    StateError: new StateError('x'),
    UnsupportedError: unsupported,
  };

  it('each is an instance of its own class and of Error only', () => {
    for (const [className, type] of Object.entries(all)) {
      for (const [sampleName, sample] of Object.entries(samples)) {
        expect(`${sampleName} ${className} ${sample instanceof type}`).toBe(
          `${sampleName} ${className} ${sampleName === className}`,
        );
        expect(sample).toBeInstanceOf(Error);
        expect(sample.name).toBe(sampleName);
      }
      for (const other of [undefined, null, 1, 'x', {}, new Error('x')]) expect(other instanceof type).toBe(false);
    }
  });

  it('works across two copies of the package', async () => {
    // The query makes the loader evaluate the file a second time: other classes, the same brands.
    const copyPath: string = '../../../lib/kernel/errors.ts?copy';
    const copy = (await import(copyPath)) as typeof errors;
    expect(copy.KernelError).not.toBe(KernelError);
    expect(kernelError instanceof copy.KernelError).toBe(true);
    expect(new copy.DisposedError('x') instanceof DisposedError).toBe(true);
    expect(new copy.StateError('x') instanceof DisposedError).toBe(false);
  });

  it('the brand is not enumerable: errors print without it', () => {
    expect(Object.keys(kernelError)).not.toContain('privmem.KernelError');
    expect(JSON.stringify(new StateError('x'))).toBe('{"name":"StateError"}');
  });

  it('a subclass is not every error of its base', () => {
    class Special extends KernelError {}
    expect(kernelError instanceof Special).toBe(false);
    expect(new Special({ errno: 1, syscall: 'x', args: [] }) instanceof Special).toBe(true);
    expect(new Special({ errno: 1, syscall: 'x', args: [] }) instanceof KernelError).toBe(true);
  });
});
