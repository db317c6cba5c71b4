/** A design is there when the kernel behaves so. A kernel that takes the numbers and does nothing has it not. */
import { describe, expect, it } from 'vitest';
import type { Kernel } from '../../lib/kernel/kernel.ts';
import { Sys } from '../../lib/kernel/sys.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { designSupport } from '../../lib/lifecycle/support.ts';
import { type SimulateOptions, simulate } from '../../lib/sim/simulate.ts';
import {
  declareMemoryAttributes2,
  declarePrivateMemoryRegion,
  KVM_MEM_PRIVATE,
  MFD_INACCESSIBLE,
} from '../../lib/uapi/index.ts';
import { withCalls } from '../support/fake-kernel.ts';

function supportOn(options: SimulateOptions, change: (kernel: Kernel) => Partial<Kernel> = () => ({})) {
  const kernel = simulate(options);
  const kvm = Kvm.open(new Sys(withCalls(kernel, change(kernel))));
  try {
    return designSupport(kvm);
  } finally {
    kvm.close();
  }
}

describe('presence of a design', () => {
  it.each([
    ['inaccessible-memfd', { patches: ['inaccessible-memfd-v5'] }],
    ['register-converts', { patches: ['register-converts'] }],
    ['in-place', { patches: ['in-place-v8'] }],
    ['guest-memfd', { release: '6.8' }],
    ['guest-memfd-mmap', { release: '6.18' }],
    ['unbound-first', { release: '6.18' }],
  ] as const)('%s, on a kernel that has it and on no other series', (design, options) => {
    expect(supportOn(options)[design]).toEqual({ supported: true });
    for (const release of ['6.1', '6.8', '6.12', '6.18', '7.3'] as const) {
      const support = supportOn({ release })[design];
      if (design === 'inaccessible-memfd' || design === 'register-converts' || design === 'in-place')
        expect([release, support?.supported]).toEqual([release, false]);
    }
  });

  it('memfd_create takes flag 8 and gives an ordinary file', () => {
    const support = supportOn({ release: '6.1' }, ({ memfdCreate }) => ({
      memfdCreate: (name, flags) => memfdCreate(name, flags & ~MFD_INACCESSIBLE),
    }));
    expect(support['inaccessible-memfd']).toMatchObject({ supported: false, reason: expect.stringMatching(/written/) });
  });

  it('the file cannot be written, but mapped', () => {
    const support = supportOn({ release: '6.1' }, (kernel) => ({
      memfdCreate: (name, flags) => kernel.memfdCreate(name, flags & ~MFD_INACCESSIBLE),
      pwrite: () => -1,
    }));
    expect(support['inaccessible-memfd']).toMatchObject({ supported: false, reason: expect.stringMatching(/mapped/) });
  });

  it('a memslot takes KVM_MEM_PRIVATE, and the file stays the host’s', () => {
    const region = declarePrivateMemoryRegion();
    const ioctl =
      (kernel: Kernel): Kernel['ioctl'] =>
      (fd, request, arg, ...rest) => {
        const flags = arg instanceof Uint8Array ? new DataView(arg.buffer, arg.byteOffset).getUint32(4, true) : 0;
        if (request === region.request && (flags & KVM_MEM_PRIVATE) !== 0) return 0;
        return kernel.ioctl(fd, request, arg, ...rest);
      };
    const support = supportOn({ release: '6.1' }, (kernel) => ({ ioctl: ioctl(kernel) }));
    expect(support['register-converts']).toMatchObject({
      supported: false,
      reason: expect.stringMatching(/still write/),
    });
  });

  it('the conversion request goes through, and the page stays the host’s', () => {
    const { request: number } = declareMemoryAttributes2();
    const ioctl =
      (kernel: Kernel): Kernel['ioctl'] =>
      (fd, request, ...rest) =>
        request === number ? 0 : kernel.ioctl(fd, request, ...rest);
    const support = supportOn({ release: '7.3' }, (kernel) => ({ ioctl: ioctl(kernel) }));
    expect(support['in-place']).toMatchObject({ supported: false, reason: expect.stringMatching(/still reads/) });
  });
});
