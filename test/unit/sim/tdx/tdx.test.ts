/** Trust domains: the launch, the secure page table, what the guest asks for by TDCALL. */
import { describe, expect, it } from 'vitest';
import { END_PORT } from '../../../../lib/guest/index.ts';
import { Mrtd } from '../../../../lib/measure/index.ts';
import { DATA, DATA_PAGES, ID, LOW, PAGE, RESET, TdxWorld, tdxGuest, VE_DISABLE } from './world.ts';

const ended = expect.objectContaining({ name: 'KVM_EXIT_IO', port: END_PORT });
const nothing = (): void => {};
type Builder = Parameters<Parameters<typeof tdxGuest>[0]>[0];
const ALREADY_ACCEPTED = 0x0b0a_0000_0000n;

describe('a trust domain', () => {
  it('starts at the reset vector, runs what was launched and reports', () => {
    const { inits, launch, go, world } = tdxGuest((g) => {
      g.store(0x1_4000, 5);
      g.report(0, g.load(0x1_4000).add(1));
    });
    expect(inits).toEqual(['ok', 'ok', 'ok']);
    expect(launch()).toEqual(['ok', 'ok', 'ok']);
    expect(go()).toEqual(ended);
    expect(world.reports.get(0)).toBe(6n);
    expect(go()).toEqual(ended);
  });

  it('is measured as the documents say', () => {
    const { world, staging, reset, launch } = tdxGuest(nothing);
    launch();
    const expected = new Mrtd().region(0, staging.read(0, LOW)).region(RESET, reset.read(0, PAGE)).digest;
    expect(world.kernel.events).toEqual([{ kind: 'launch-measured', technology: 'tdx', measurement: expected }]);
  });

  it('converts by MapGPA and accepts; a page that was shared comes back empty', () => {
    const { vm, vcpu, shared, launch, go, world } = tdxGuest((g) => {
      g.report(0, g.load(g.shared(DATA)));
      g.report(1, g.mapGpaRange(DATA, 2, { private: true }));
      g.report(2, g.load(DATA));
      g.store(DATA, 0x77);
      g.report(3, g.mapGpaRange(DATA, 2, { private: false }));
      g.report(4, g.load(g.shared(DATA)));
      g.report(5, g.mapGpaRange(DATA, 1, { private: true }));
      g.report(6, g.load(DATA));
    });
    launch();
    shared.writeU64(0, 0xabn);
    for (const [isPrivate, pages] of [
      [true, 2n],
      [false, 2n],
      [true, 1n],
    ] as const) {
      const exit = go();
      expect(exit).toMatchObject({ name: 'KVM_EXIT_HYPERCALL', nr: 12, flags: 1n });
      const args = exit.name === 'KVM_EXIT_HYPERCALL' ? exit.args.slice(0, 3) : [];
      expect(args).toEqual([BigInt(DATA), pages, isPrivate ? 0x10n : 0n]);
      if (isPrivate) vm.setPrivate(DATA, Number(pages) * PAGE);
      else vm.setShared(DATA, Number(pages) * PAGE);
    }
    expect(go()).toEqual(ended);
    expect([0, 1, 2, 3, 4, 5, 6].map((tag) => world.reports.get(tag))).toEqual([0xabn, 0n, 0n, 0n, 0xabn, 0n, 0n]);
    expect(vcpu.raw.preFault(DATA, PAGE).ok).toBe(true);
  });

  it('MapGPA goes in pieces of 2 MiB; answers reach the guest with the place', () => {
    const write = (g: Builder): void => {
      g.report(0, g.mapGpa(DATA, 0x50_0000));
    };
    const { launch, go, vcpu, world } = tdxGuest(write);
    launch();
    for (const [i, pages] of [512n, 512n, 256n].entries()) {
      const exit = go();
      expect(exit.name === 'KVM_EXIT_HYPERCALL' && exit.args.slice(0, 2)).toEqual([
        BigInt(DATA + i * 0x20_0000),
        pages,
      ]);
    }
    expect(go()).toEqual(ended);
    expect(world.reports.get(0)).toBe(0n);
    const answered = (ret: number): bigint | undefined => {
      const guest = tdxGuest(write);
      guest.launch();
      guest.go();
      guest.vcpu.answer(ret);
      guest.go();
      return guest.world.reports.get(0);
    };
    expect([answered(11), answered(22)]).toEqual([1n, 1n << 63n]);
    expect(() => answered(5)).toThrow(/EINVAL/);
    expect(vcpu.running).toBe(false);
  });

  it('MapGPA that KVM refuses by itself', () => {
    const { vm, launch, go, world } = tdxGuest((g) => {
      g.report(0, g.mapGpa(DATA + 8, PAGE));
      g.report(1, g.mapGpa(DATA, 0));
      g.report(2, g.mapGpa((1n << 47n) - 4096n, 2 * PAGE));
      g.report(3, g.mapGpa(1n << 48n, PAGE));
    });
    launch();
    expect(go()).toEqual(ended);
    const refused = 1n << 63n;
    expect([0, 1, 2, 3].map((tag) => world.reports.get(tag))).toEqual([refused | 2n, refused, refused, refused]);
    const off = tdxGuest((g) => g.report(0, g.mapGpa(DATA, PAGE)));
    off.vm.enableExitHypercall(0);
    off.launch();
    expect(off.go()).toEqual(ended);
    expect(off.world.reports.get(0)).toBe(refused | 3n);
    expect(vm.type).toBe(5n);
  });

  it('accepting: absent pages are added, accepted ones are not accepted twice, others are a memory fault', () => {
    const { vm, launch, go, world } = tdxGuest((g) => {
      g.report(0, g.acceptPage(DATA));
      g.report(1, g.acceptPage(DATA));
      g.report(2, g.acceptPage(0x1_4000));
      g.report(3, g.acceptPage(DATA + PAGE));
    });
    vm.setPrivate(DATA, PAGE);
    launch();
    expect(go()).toMatchObject({ name: 'KVM_EXIT_MEMORY_FAULT', private: true, gpa: DATA + PAGE, code: 'EFAULT' });
    vm.setPrivate(DATA + PAGE, PAGE);
    expect(go()).toEqual(ended);
    const reports = [0, 1, 2, 3].map((tag) => world.reports.get(tag));
    expect(reports).toEqual([0n, ALREADY_ACCEPTED, ALREADY_ACCEPTED, 0n]);
  });

  it('the wrong side is a memory fault with the gpa without its shared bit', () => {
    const { vm, launch, go } = tdxGuest((g) => g.store(g.shared(DATA + PAGE), 1));
    vm.setPrivate(DATA + PAGE, PAGE);
    launch();
    expect(go()).toMatchObject({ name: 'KVM_EXIT_MEMORY_FAULT', private: false, gpa: DATA + PAGE });
    vm.setShared(DATA + PAGE, PAGE);
    expect(go()).toEqual(ended);
  });

  it('its registers are nobody else’s, from creation on', () => {
    const { vcpu } = tdxGuest(nothing);
    const { raw } = vcpu.x64;
    expect([raw.getRegs(), raw.getSregs(), raw.setRegs({ rip: 0n })].map((result) => result.ok || result.code)).toEqual(
      [...['EINVAL', 'EINVAL', 'EINVAL']],
    );
  });

  it('ports, HLT and hypercalls are #VE or #UD; a guest without handlers ends', () => {
    for (const write of [
      (g: Builder) => g.out(0x80, 1),
      (g: Builder) => g.asm((a) => a.hlt()),
      (g: Builder) => void g.hypercall(12, 0, 0, 0),
      (g: Builder) => void g.load(g.shared(0xe000_0000)),
    ]) {
      const { launch, go } = tdxGuest(write);
      launch();
      expect(go()).toMatchObject({ name: 'KVM_EXIT_SHUTDOWN' });
    }
  });

  it('sleeps in KVM after TDVMCALL HLT, and tells of a fatal error', () => {
    const asleep = tdxGuest((g) =>
      g.asm((a) => a.mov('eax', 0).mov('ecx', 0xfc00).mov('r10d', 0).mov('r11d', 12).tdcall()),
    );
    asleep.launch();
    expect(asleep.vcpu.runSync({ timeoutMs: 20 })).toMatchObject({ name: 'KVM_EXIT_INTR' });
    const fatal = tdxGuest((g) =>
      g.asm((a) => a.mov('eax', 0).mov('ecx', 0xfc00).mov('r10d', 0).mov('r11d', 0x10003).mov('r12d', 0x99).tdcall()),
    );
    fatal.launch();
    const exit = fatal.go();
    expect(exit).toMatchObject({ name: 'KVM_EXIT_SYSTEM_EVENT', type: 7 });
    expect(exit.name === 'KVM_EXIT_SYSTEM_EVENT' && [exit.data.length, exit.data[12]]).toEqual([16, 0x99n]);
  });
});

describe('the launch of a trust domain', () => {
  it('capabilities: the room must do', () => {
    const world = new TdxWorld();
    const { count } = world.capabilities();
    expect(count).toBeGreaterThan(1);
    expect(world.capabilities(count - 1)).toEqual({ outcome: 'E2BIG', count: count - 1 });
    expect(world.command(ID.KVM_TDX_CAPABILITIES, new Uint8Array(4096), world.vm, 1)).toBe('EINVAL');
    expect(world.command(ID.KVM_TDX_CAPABILITIES, 0x10n)).toBe('EFAULT');
  });

  it('the checks of INIT_VM', () => {
    const world = new TdxWorld();
    const width = { function: 0x8000_0008, eax: 48 << 16 };
    expect(world.command(ID.KVM_TDX_INIT_VM, 0n, world.vm, 0, 1n)).toBe('EINVAL');
    expect(world.command(9, 0n)).toBe('EINVAL');
    expect(world.initVm({ reserved: [1n] })).toBe('EINVAL');
    expect(world.initVm({ attributes: 1n })).toBe('EINVAL');
    expect(world.initVm({ xfam: 1n << 40n })).toBe('EINVAL');
    expect(world.initVm({}, [])).toBe('EINVAL');
    expect(world.initVm({}, [{ ...width, eax: 40 << 16 }])).toBe('EINVAL');
    expect(world.initVm({}, [{ ...width, eax: 52 << 16 }])).toBe('EINVAL');
    expect(world.initVm({}, [width, { function: 0x4000_0000 }])).toBe('EINVAL');
    expect(world.initVm({}, [width, { function: 7, ebx: 1 << 11 }])).toBe('EINVAL');
    expect(world.initVm({}, [width, { function: 1, eax: 0xf000_0000 }])).toBe('EINVAL:0xc000010000000045');
    expect([world.initVm(), world.initVm()]).toEqual(['ok', 'EINVAL']);
  });

  it('key ids run out, and come back', () => {
    const world = new TdxWorld({ technologies: ['tdx'], memoryKeys: 1 });
    expect(world.initVm()).toBe('ok');
    const second = Object.assign(Object.create(world) as TdxWorld, { vm: world.kvm.createVm(5) });
    expect(second.initVm()).toBe('ENOSPC');
    world.vm.close();
    expect(second.initVm()).toBe('ok');
  });

  it('vCPUs want an initialised domain and a split irqchip; their commands an order', () => {
    const world = new TdxWorld();
    expect(world.vm.raw.createVcpu()).toMatchObject({ code: 'EIO' });
    world.initVm();
    expect(world.vm.raw.createVcpu()).toMatchObject({ code: 'EINVAL' });
    expect([world.splitIrqchip(), world.splitIrqchip()]).toEqual(['ok', 'EEXIST']);
    const vcpu = world.vm.createVcpu();
    expect(() => vcpu.runSync()).toThrow(/EINVAL/);
    const region = { source_addr: PAGE, gpa: 0, nr_pages: 1 };
    expect(world.memRegion(vcpu, region).outcome).toBe('EINVAL');
    expect(world.command(ID.KVM_TDX_INIT_VCPU, 0n, vcpu)).toBe('EINVAL');
    expect([world.initVcpu(vcpu), world.initVcpu(vcpu)]).toEqual(['ok', 'EINVAL']);
    expect(world.command(ID.KVM_TDX_INIT_VCPU, 0n, vcpu, 1)).toBe('EINVAL');
    expect(world.command(77, 0n, vcpu)).toBe('EINVAL');
    expect(() => vcpu.runSync()).toThrow(/EINVAL/);
    expect(vcpu.raw.preFault(0, PAGE)).toMatchObject({ code: 'EOPNOTSUPP' });
    expect([world.finalise(), world.finalise()]).toEqual(['ok', 'EINVAL']);
    expect(world.memRegion(vcpu, region).outcome).toBe('EINVAL');
    expect(world.vm.raw.createVcpu(1)).toMatchObject({ code: 'EIO' });
    // Four processors are all that domains can have.
    expect(world.vm.checkExtension(66)).toBe(4);
  });

  it('INIT_MEM_REGION says how far it came, with the real errno', () => {
    const { world, vm, vcpu, staging } = tdxGuest(nothing);
    const one = { source_addr: staging.hva, gpa: DATA, nr_pages: 1 };
    const outcome = (fields: object) => world.memRegion(vcpu, { ...one, ...fields }).outcome;
    expect([outcome({ source_addr: 0 }), outcome({ source_addr: staging.hva + 8 })]).toEqual(['EINVAL', 'EINVAL']);
    expect([outcome({ gpa: 8 }), outcome({ nr_pages: 0 }), outcome({ gpa: 2 ** 47 })]).toEqual([
      ...['EINVAL', 'EINVAL', 'EINVAL'],
    ]);
    expect([outcome({ gpa: 0x5000_0000 }), outcome({})]).toEqual(['EINVAL', 'EINVAL']);
    vm.setPrivate(DATA, 2 * PAGE);
    expect(outcome({ source_addr: 0x10_0000 })).toBe('EFAULT');
    const first = world.memRegion(vcpu, { ...one, nr_pages: 4 });
    expect(first).toEqual({
      outcome: 'EINVAL',
      left: { source_addr: staging.hva + 2 * PAGE, gpa: DATA + 2 * PAGE, nr_pages: 2 },
    });
    vm.setPrivate(DATA, DATA_PAGES * PAGE);
    expect(world.memRegion(vcpu, first.left)).toMatchObject({ outcome: 'ok', left: { nr_pages: 0 } });
    expect(outcome({})).toBe('EIO');
  });

  it('no slot above the shared bit, none that is read-only', () => {
    const world = new TdxWorld();
    world.initVm();
    const slot = { slot: 0, gpa: 2 ** 47, size: PAGE, backing: world.anonymous(PAGE) };
    expect(world.vm.raw.addMemslot(slot)).toMatchObject({ code: 'EINVAL' });
    expect(world.vm.raw.addMemslot({ ...slot, gpa: 2 ** 47 - PAGE }).ok).toBe(true);
    expect(world.vm.raw.addMemslot({ ...slot, slot: 1, gpa: 0, flags: 2 })).toMatchObject({ code: 'EINVAL' });
  });
});

describe('five mistakes with TDX', () => {
  it('1. KVM_RUN before FINALIZE_VM: EINVAL', () => {
    const { vcpu, load } = tdxGuest(nothing);
    load();
    expect(() => vcpu.runSync()).toThrow(/EINVAL/);
  });

  it('2. a vCPU before INIT_VM, or without the split irqchip: EIO, EINVAL', () => {
    const world = new TdxWorld();
    expect(world.vm.raw.createVcpu()).toMatchObject({ code: 'EIO' });
    world.initVm();
    expect(world.vm.raw.createVcpu()).toMatchObject({ code: 'EINVAL' });
  });

  it('3. memory that the guest has not accepted: #VE, or with SEPT_VE_DISABLE a VM that is dead for ever', () => {
    const told = tdxGuest((g) => g.store(DATA, 1));
    told.vm.setPrivate(DATA, PAGE);
    told.launch();
    expect(told.go()).toMatchObject({ name: 'KVM_EXIT_SHUTDOWN' });
    const dead = tdxGuest((g) => g.store(DATA, 1), VE_DISABLE);
    dead.vm.setPrivate(DATA, PAGE);
    dead.launch();
    expect(() => dead.go()).toThrow(/EIO/);
    expect(dead.vm.raw.setShared(DATA, PAGE)).toMatchObject({ code: 'EIO' });
    expect(dead.vcpu.raw.preFault(DATA, PAGE)).toMatchObject({ code: 'EIO' });
  });

  it('4. converting a page and back to keep its contents: they are gone', () => {
    const { vm, launch, go, world } = tdxGuest((g) => {
      g.report(0, g.acceptPage(DATA));
      g.store(DATA, 0x55);
      g.report(1, g.mapGpa(DATA, PAGE));
      g.report(2, g.acceptPage(DATA));
      g.report(3, g.load(DATA));
    });
    vm.setPrivate(DATA, PAGE);
    launch();
    expect(go()).toMatchObject({ name: 'KVM_EXIT_HYPERCALL' });
    vm.setShared(DATA, PAGE);
    vm.setPrivate(DATA, PAGE);
    expect(go()).toEqual(ended);
    expect([2, 3].map((tag) => world.reports.get(tag))).toEqual([0n, 0n]);
  });

  it('5. deleting and re-adding a slot under a running domain: its pages must be accepted again', () => {
    const { vm, file, slot, shared, launch, go } = tdxGuest((g) => {
      g.report(0, g.acceptPage(DATA));
      g.report(1, g.mapGpa(DATA, PAGE));
      g.report(2, g.load(DATA));
    });
    vm.setPrivate(DATA, PAGE);
    launch();
    go();
    slot.delete();
    vm.addMemslot({ slot: 1, gpa: DATA, size: DATA_PAGES * PAGE, backing: shared, guestMemfd: file });
    expect(go()).toMatchObject({ name: 'KVM_EXIT_SHUTDOWN' });
  });
});
