/** Conversion inside one guest_memfd, as in revision 8 of the series under review. */
import { describe, expect, it } from 'vitest';
import { program, ReportCollector, x64 } from '../../../../lib/guest/index.ts';
import { Sys } from '../../../../lib/kernel/sys.ts';
import { Kvm } from '../../../../lib/kvm/kvm.ts';
import { Mapping } from '../../../../lib/memory/mapping.ts';
import { simulate } from '../../../../lib/sim/simulate.ts';
import { declareMemoryAttributes2, kvm_memory_attributes2 } from '../../../../lib/uapi/index.ts';
import { SevWorld, SNP_POLICY, TYPE } from '../sev/world.ts';
import { TdxWorld } from '../tdx/world.ts';

const PAGE = 4096;
const DATA = 0x20_0000;
const PAGES = 8;
const SIZE = PAGES * PAGE;
const PRIVATE = 8;
const SW_PROTECTED = 1;
const REQUEST = declareMemoryAttributes2();
const BOTH = { mmap: true, initShared: true };

type Fields = Parameters<typeof kvm_memory_attributes2.encode>[0];

function set(sys: Sys, fd: number, fields: Fields): { outcome: string; at: number } {
  const bytes = kvm_memory_attributes2.encode({ error_offset: 77, ...fields });
  const result = sys.raw.ioctl(fd, REQUEST, bytes);
  return { outcome: result.ok ? 'ok' : result.code, at: kvm_memory_attributes2.get(bytes, 'error_offset') };
}

function protectedVm(write: Parameters<typeof program<'x64'>>[1] = () => {}) {
  const kernel = simulate({ patches: ['in-place-v8'], technologies: ['sw-protected'] });
  const sys = new Sys(kernel);
  const kvm = Kvm.open(sys);
  const vm = kvm.createVm(SW_PROTECTED);
  const file = vm.createGuestMemfd(SIZE, BOTH);
  const host = file.map();
  vm.addMemslot({ slot: 1, gpa: DATA, size: SIZE, backing: host, guestMemfd: file });
  const low = Mapping.anonymous(sys, DATA);
  vm.addMemslot({ slot: 0, gpa: 0, size: DATA, backing: low });
  const image = x64.startState(program({ arch: 'x64' }, write));
  for (const { gpa, bytes } of image.memory) low.write(gpa, bytes);
  const vcpu = vm.createVcpu();
  vcpu.x64.updateSregs(image.sregs);
  vcpu.x64.setRegs(image.regs);
  const collector = new ReportCollector();
  const reports = new Map<number, bigint>();
  const go = () => {
    for (;;) {
      const exit = vcpu.runSync({ timeoutMs: 10_000 });
      const event = exit.name === 'KVM_EXIT_MMIO' ? collector.accept(exit) : undefined;
      if (event === undefined) return exit.name;
      if (event !== 'pending' && event.kind === 'report') reports.set(event.tag, event.value);
    }
  };
  const convert = (fields: Fields) => set(sys, file.fd, fields);
  return { kernel, sys, kvm, vm, file, host, vcpu, reports, go, convert };
}

describe('KVM_SET_MEMORY_ATTRIBUTES2', () => {
  it('converts page by page, contents kept; the host faults on what is private', () => {
    const { host, reports, go, convert } = protectedVm((g) => {
      g.report(0, g.load(DATA));
      g.store(DATA, 0x22);
      g.store(DATA + PAGE, 0x33);
    });
    host.writeU64(0, 0x11n);
    expect(convert({ offset: 0, size: PAGE, attributes: PRIVATE }).outcome).toBe('ok');
    expect(host.raw.readU64(0)).toMatchObject({ code: 'SIGBUS' });
    expect(host.readU64(PAGE)).toBe(0n);
    expect(go()).toBe('KVM_EXIT_HLT');
    expect([reports.get(0), host.readU64(PAGE)]).toEqual([0x11n, 0x33n]);
    expect(convert({ offset: 0, size: SIZE, attributes: 0 }).outcome).toBe('ok');
    expect(host.readU64(0)).toBe(0x22n);
  });

  it('the checks, in their order; the struct is written for EAGAIN only', () => {
    const { sys, kvm, convert, file } = protectedVm();
    const one = { offset: 0, size: PAGE, attributes: PRIVATE };
    for (const wrong of [
      { flags: 1 },
      { reserved: [0, 1] },
      { attributes: 1 },
      { attributes: 9 },
      { size: 0 },
      { offset: 2n ** 64n - 4096n },
      { offset: 8 },
      { size: 100 },
      { offset: SIZE },
      { size: SIZE + PAGE },
    ]) {
      expect([wrong, convert({ ...one, ...wrong })]).toEqual([wrong, { outcome: 'EINVAL', at: 77 }]);
    }
    expect(convert(one)).toEqual({ outcome: 'ok', at: 77 });
    expect(convert(one)).toEqual({ outcome: 'ok', at: 77 });
    const plain = kvm.createVm().createGuestMemfd(PAGE, BOTH);
    expect(set(sys, plain.fd, { offset: 0, size: PAGE, attributes: 0 }).outcome).toBe('EINVAL');
    expect(sys.raw.ioctl(file.fd, 0xae41, 0)).toMatchObject({ code: 'ENOTTY' });
  });

  it('pages that somebody holds refuse, and tell where', () => {
    const { kernel, host, convert } = protectedVm();
    host.fill(1);
    const release = kernel.pinPages(host.hva + 2 * PAGE, PAGE);
    const all = { offset: 0, size: SIZE, attributes: PRIVATE };
    expect(convert(all)).toEqual({ outcome: 'EAGAIN', at: 2 * PAGE });
    // Nothing changed, though host mappings had to fault in again.
    expect(host.readU64(0)).toBe(0x0101_0101_0101_0101n);
    expect(convert({ offset: 3 * PAGE, size: PAGE, attributes: PRIVATE }).outcome).toBe('ok');
    release();
    release();
    expect(convert(all)).toEqual({ outcome: 'ok', at: 77 });
    // Towards shared nobody can hold anything.
    expect(() => kernel.pinPages(host.hva, PAGE)).toThrow('can be pinned');
  });

  it('the file’s state survives holes and begins as its flags say; attributes of gpas are gone', () => {
    const { vm, kvm, convert, file, host } = protectedVm();
    convert({ offset: 0, size: PAGE, attributes: PRIVATE });
    file.punchHole(0, SIZE);
    expect([host.raw.readU64(0).ok, host.raw.readU64(PAGE).ok]).toEqual([false, true]);
    const closed = vm.createGuestMemfd(SIZE, { mmap: true });
    expect(closed.map().raw.readU64(0)).toMatchObject({ code: 'SIGBUS' });
    expect(vm.raw.setPrivate(DATA, PAGE)).toMatchObject({ code: 'EINVAL' });
    expect([vm.checkExtension(233), vm.checkExtension(252), kvm.createVm().checkExtension(252)]).toEqual([0, 8, 0]);
    const plain = Kvm.open(new Sys(simulate({ release: '7.3' }))).createVm(SW_PROTECTED);
    const file73 = plain.createGuestMemfd(PAGE);
    expect(set(plain.sys, file73.fd, { offset: 0, size: PAGE, attributes: 0 }).outcome).toBe('ENOTTY');
    expect(plain.checkExtension(252)).toBe(0);
  });

  it('SEV-SNP: shared bytes are encrypted where they lie, and come back as ciphertext', () => {
    const world = new SevWorld('sev-snp', { patches: ['in-place-v8'], technologies: ['sev-snp'] });
    const { vm, sys } = world;
    world.init2();
    const file = vm.createGuestMemfd(SIZE, BOTH);
    const host = file.map();
    vm.addMemslot({ slot: 0, gpa: DATA, size: SIZE, backing: host, guestMemfd: file });
    host.writeU64(0, 0x11n);
    world.snpStart({ policy: SNP_POLICY });
    const update = { gfn_start: DATA / PAGE, uaddr: 0, len: PAGE, type: TYPE.KVM_SEV_SNP_PAGE_TYPE_NORMAL };
    // Still shared.
    expect(world.snpUpdate(update).outcome).toBe('EIO');
    expect(set(sys, file.fd, { offset: 0, size: PAGE, attributes: PRIVATE }).outcome).toBe('ok');
    expect(world.snpUpdate(update)).toMatchObject({ outcome: 'ok', left: { len: 0, uaddr: 0 } });
    expect(set(sys, file.fd, { offset: 0, size: PAGE, attributes: 0 }).outcome).toBe('ok');
    expect(host.readU64(0)).not.toBe(0x11n);
    expect(set(sys, file.fd, { offset: 0, size: PAGE, attributes: PRIVATE }).outcome).toBe('ok');
    expect(world.snpUpdate(update).outcome).toBe('ok');
  });
  it('TDX: pages are added where they lie, without a source', () => {
    const world = new TdxWorld({ patches: ['in-place-v8'], technologies: ['tdx'] });
    const { vm, sys } = world;
    expect([world.initVm(), world.splitIrqchip()]).toEqual(['ok', 'ok']);
    const vcpu = vm.createVcpu();
    expect(world.initVcpu(vcpu)).toBe('ok');
    const file = vm.createGuestMemfd(SIZE, BOTH);
    const host = file.map();
    vm.addMemslot({ slot: 0, gpa: DATA, size: SIZE, backing: host, guestMemfd: file });
    host.writeU64(0, 0x11n);
    expect(set(sys, file.fd, { offset: 0, size: PAGE, attributes: PRIVATE }).outcome).toBe('ok');
    const region = { source_addr: 0, gpa: DATA, nr_pages: 1 };
    expect(world.memRegion(vcpu, region)).toMatchObject({ outcome: 'ok', left: { source_addr: 0, nr_pages: 0 } });
    expect(world.finalise()).toBe('ok');
  });
});
