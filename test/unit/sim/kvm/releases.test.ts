/** What differs between releases and machines. */
import { describe, expect, it } from 'vitest';
import { Sys } from '../../../../lib/kernel/sys.ts';
import { Kvm } from '../../../../lib/kvm/kvm.ts';
import { type SimulateOptions, simulate } from '../../../../lib/sim/simulate.ts';
import { KVM_CAP } from '../../../../lib/uapi/index.ts';

const PAGE = 4096;
const C = KVM_CAP.value;
const open = (options: SimulateOptions): Kvm => Kvm.open(new Sys(simulate(options)));
const codeOf = (result: { ok: boolean; code?: string }): string => (result.ok ? 'ok' : (result.code ?? ''));

describe('releases', () => {
  it('6.1 knows nothing of private memory', () => {
    using kvm = open({ release: '6.1' });
    using vm = kvm.createVm();
    expect(
      [C.KVM_CAP_GUEST_MEMFD, C.KVM_CAP_VM_TYPES, C.KVM_CAP_USER_MEMORY2].map((c) => vm.checkExtension(c)),
    ).toEqual([0, 0, 0]);
    expect(
      [vm.raw.createGuestMemfd(PAGE), vm.raw.setUserMemoryRegion2({}), vm.raw.setShared(0, PAGE)].map(codeOf),
    ).toEqual(['ENOTTY', 'ENOTTY', 'ENOTTY']);
    expect(vm.createVcpu().raw.preFault(0, PAGE)).toMatchObject({ code: 'EINVAL' });
    expect(kvm.raw.createVm(1)).toMatchObject({ code: 'EINVAL' });
    expect(() => simulate({ release: '6.1', technologies: ['sw-protected'] })).toThrow(RangeError);
  });

  it('a range of a file that is bound already', () => {
    for (const [release, code] of [
      ['6.18', 'EINVAL'],
      ['7.3', 'EEXIST'],
    ] as const) {
      using kvm = open({ release });
      using vm = kvm.createVm();
      using guestMemfd = vm.createGuestMemfd(4 * PAGE);
      vm.addMemslot({ slot: 0, gpa: 0, size: 2 * PAGE, guestMemfd });
      const clash = vm.raw.addMemslot({ slot: 1, gpa: 8 * PAGE, size: PAGE, guestMemfd, guestMemfdOffset: PAGE });
      expect([release, codeOf(clash)]).toEqual([release, code]);
    }
  });

  it('offsets near 2^63 pass up to 7.1', () => {
    const bind = (release: '6.18' | '7.3'): string => {
      using kvm = open({ release });
      using vm = kvm.createVm();
      using file = vm.createGuestMemfd(PAGE);
      const region = { flags: 4, memory_size: PAGE, guest_memfd: file.fd, guest_memfd_offset: 2n ** 63n - 4096n };
      return codeOf(vm.raw.setUserMemoryRegion2(region));
    };
    expect([bind('6.18'), bind('7.3')]).toEqual(['ok', 'EINVAL']);
  });

  it('without technologies: default VMs only, no attributes, no pre-fault', () => {
    using kvm = open({ release: '6.18', technologies: [] });
    using vm = kvm.createVm();
    const caps = [
      C.KVM_CAP_VM_TYPES,
      C.KVM_CAP_MEMORY_ATTRIBUTES,
      C.KVM_CAP_PRE_FAULT_MEMORY,
      C.KVM_CAP_GUEST_MEMFD_FLAGS,
    ];
    expect(caps.map((c) => kvm.checkExtension(c))).toEqual([1, 0, 0, 3]);
    expect(codeOf(vm.raw.setShared(0, PAGE))).toBe('ENOTTY');
    expect(codeOf(vm.createVcpu().raw.preFault(0, PAGE))).toBe('EOPNOTSUPP');
  });

  it('a guest address that the VM cannot have', () => {
    const add = (options: SimulateOptions, bits: bigint): string => {
      using kvm = open(options);
      using vm = kvm.createVm();
      return codeOf(vm.raw.setUserMemoryRegion({ guest_phys_addr: 2n ** bits, memory_size: PAGE }));
    };
    expect([add({}, 47n), add({}, 48n), add({ physicalBits: 52 }, 51n)]).toEqual(['ok', 'EINVAL', 'ok']);
    expect([add({ technologies: [] }, 51n), add({ technologies: [] }, 52n)]).toEqual(['ok', 'EINVAL']);
  });

  it('arm64 is a 7.3', () => {
    expect(Kvm.open(new Sys(simulate({ arch: 'arm64' }))).vcpuMmapSize()).toBe(8192);
    expect(() => simulate({ arch: 'arm64', release: '6.18' })).toThrow(/arm64 is simulated as of Linux 7.3 only/);
  });
});
