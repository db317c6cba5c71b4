/** SEV-SNP: the launch, who owns pages, what the guest must do before it uses them. */
import { describe, expect, it } from 'vitest';
import { GHCB_GPA } from '../../../../lib/guest/index.ts';
import { SNP_PAGE, SnpLaunchDigest } from '../../../../lib/measure/index.ts';
import { simulate } from '../../../../lib/sim/simulate.ts';
import { KVM_SEV, kvm_sev_init, kvm_sev_snp_launch_update } from '../../../../lib/uapi/index.ts';
import {
  BEFORE_INIT,
  beforeInit,
  DATA,
  DATA_PAGES,
  ID,
  LOW,
  PAGE,
  SevWorld,
  SNP_POLICY,
  snpGuest,
  TYPE,
} from './world.ts';

const halted = expect.objectContaining({ name: 'KVM_EXIT_HLT' });
const NORMAL = TYPE.KVM_SEV_SNP_PAGE_TYPE_NORMAL;
const nothing = (): void => {};

describe('an SEV-SNP guest', () => {
  it('runs what was launched, and reports through its GHCB', () => {
    const { inits, launch, go, world } = snpGuest((g) => {
      g.report(0, 0x77);
      g.store(0x1_4000, 5);
      g.report(1, g.load(0x1_4000).add(1));
    });
    expect(inits).toEqual(['ok', 'ok']);
    expect(launch()).toEqual(['ok', 'ok', 'ok']);
    expect(go()).toEqual(halted);
    expect([world.reports.get(0), world.reports.get(1)]).toEqual([0x77n, 6n]);
  });

  it('converts pages by PSC and PVALIDATE; both sides keep what they have', () => {
    const { vm, vcpu, shared, launch, go, world } = snpGuest((g) => {
      g.report(0, g.load(g.shared(DATA)));
      g.report(1, g.mapGpaRange(DATA, 2, { private: true }));
      g.store(DATA, 0x1234);
      g.report(2, g.load(DATA));
      g.report(3, g.mapGpaRange(DATA, 2, { private: false }));
      g.report(4, g.load(g.shared(DATA)));
    });
    launch();
    shared.writeU64(0, 0xabn);
    for (const [isPrivate, args] of [
      [true, [BigInt(DATA), 1n, 0x10n]],
      [true, [BigInt(DATA + PAGE), 1n, 0x10n]],
      [false, [BigInt(DATA), 1n, 0n]],
      [false, [BigInt(DATA + PAGE), 1n, 0n]],
    ] as const) {
      const exit = go();
      expect(exit).toMatchObject({ name: 'KVM_EXIT_HYPERCALL', nr: 12 });
      expect(exit.name === 'KVM_EXIT_HYPERCALL' && exit.args.slice(0, 3)).toEqual(args);
      if (isPrivate) vm.setPrivate(Number(args[0]), PAGE);
      else vm.setShared(Number(args[0]), PAGE);
    }
    expect(go()).toEqual(halted);
    expect([0, 1, 2, 3, 4].map((tag) => world.reports.get(tag))).toEqual([0xabn, 0n, 0x1234n, 0n, 0xabn]);
    expect(vcpu.raw.preFault(DATA, PAGE).ok).toBe(true);
  });

  it('a page that KVM adds is ciphertext of nothing until the guest writes', () => {
    const { vm, launch, go, world } = snpGuest((g) => {
      g.report(0, g.pvalidate(DATA, true));
      g.report(1, g.pvalidate(DATA, true));
      g.report(2, g.load(DATA));
      g.store(DATA, 0);
      g.report(3, g.load(DATA));
    });
    vm.setPrivate(DATA, PAGE);
    launch();
    expect(go()).toEqual(halted);
    expect([world.reports.get(0), world.reports.get(1), world.reports.get(3)]).toEqual([0n, 255n, 0n]);
    expect(world.reports.get(2)).not.toBe(0n);
  });

  it('private access to a shared page, and the other way round, are memory faults that name the side', () => {
    const { vm, launch, go } = snpGuest((g) => {
      g.report(0, g.pvalidate(DATA, true));
      g.store(g.shared(DATA), 1);
    });
    launch();
    expect(go()).toMatchObject({ name: 'KVM_EXIT_MEMORY_FAULT', private: true, gpa: DATA, code: 'EFAULT' });
    vm.setPrivate(DATA, PAGE);
    expect(go()).toMatchObject({ name: 'KVM_EXIT_MEMORY_FAULT', private: false, gpa: DATA, code: 'EFAULT' });
    vm.setShared(DATA, PAGE);
    expect(go()).toEqual(halted);
  });

  it('registers and MSRs are its own once it is finished', () => {
    const { vcpu, launch } = snpGuest(nothing);
    expect(vcpu.x64.raw.getRegs().ok).toBe(true);
    launch();
    const { raw } = vcpu.x64;
    expect([raw.getRegs(), raw.getSregs(), raw.updateSregs({})].map((result) => result.ok || result.code)).toEqual([
      ...['EINVAL', 'EINVAL', 'EINVAL'],
    ]);
  });

  it('what only the hypervisor could do is #VC, which a guest without a handler does not survive', () => {
    for (const write of [
      (g: Parameters<Parameters<typeof snpGuest>[0]>[0]) => g.out(0x80, 1),
      (g: Parameters<Parameters<typeof snpGuest>[0]>[0]) => void g.cpuid(0),
      (g: Parameters<Parameters<typeof snpGuest>[0]>[0]) => void g.hypercall(12, 0, 0, 0),
      (g: Parameters<Parameters<typeof snpGuest>[0]>[0]) => g.store(g.shared(0xe000_0000), 1),
    ]) {
      const { launch, go } = snpGuest(write);
      launch();
      expect(go()).toMatchObject({ name: 'KVM_EXIT_SHUTDOWN' });
    }
  });

  it('ends itself by the GHCB MSR', () => {
    const { launch, go } = snpGuest((g) => void g.ghcbRequest(0x100));
    launch();
    expect(go()).toMatchObject({ name: 'KVM_EXIT_SYSTEM_EVENT', type: 6, data: [0x100n] });
  });

  it('page-state answers that mean nothing end KVM_RUN; a refusal reaches the guest', () => {
    const write = (g: Parameters<Parameters<typeof snpGuest>[0]>[0]) => g.report(0, g.pageState(DATA, true));
    const first = snpGuest(write);
    first.launch();
    expect(first.go()).toMatchObject({ name: 'KVM_EXIT_HYPERCALL' });
    first.vcpu.answer(22);
    expect(first.go()).toEqual(halted);
    expect(first.world.reports.get(0)).toBe(0x8000_0000n);
    const second = snpGuest(write);
    second.launch();
    second.go();
    second.vcpu.answer(5);
    expect(() => second.go()).toThrow(/EINVAL/);
    const third = snpGuest(write);
    third.vm.enableExitHypercall(0);
    third.launch();
    expect(third.go()).toEqual(halted);
    expect(third.world.reports.get(0)).toBe(0x8000_0000n);
  });
});

describe('an SEV-SNP launch', () => {
  it('measures save areas besides pages', () => {
    const { world, staging, load, vcpu } = snpGuest(nothing);
    expect(load()).toEqual(['ok', 'ok']);
    const zero = { gfn_start: 0x20, len: PAGE, type: TYPE.KVM_SEV_SNP_PAGE_TYPE_ZERO };
    expect(world.snpUpdate(zero)).toEqual({ outcome: 'ok', left: { gfn_start: 0x21, uaddr: 0, len: 0 } });
    const digest = new SnpLaunchDigest()
      .pages(SNP_PAGE.normal, 0, staging.read(0, GHCB_GPA))
      .pages(SNP_PAGE.normal, GHCB_GPA + PAGE, staging.read(GHCB_GPA + PAGE, LOW - GHCB_GPA - PAGE))
      .page(SNP_PAGE.zero, 0x2_0000);
    // The digest of the pages alone is not what the firmware has.
    const block = world.anonymous(2 * PAGE);
    block.write(0, digest.digest);
    const wrong = { id_block_en: 1, id_block_uaddr: block.hva, id_auth_uaddr: block.hva + PAGE };
    expect(world.snpFinish(wrong)).toBe('EIO:11');
    expect(vcpu.x64.raw.getRegs().ok).toBe(false);
  });

  it('without vCPUs the digest is that of the pages, and an identity block is checked against it', () => {
    const finish = (policy: bigint): string => {
      const world = new SevWorld('sev-snp');
      world.init2();
      const file = world.vm.createGuestMemfd(PAGE);
      world.vm.addMemslot({ slot: 0, gpa: 0, size: PAGE, backing: world.anonymous(PAGE), guestMemfd: file });
      world.vm.setPrivate(0, PAGE);
      world.snpStart();
      const source = world.anonymous(PAGE);
      source.write(0, new Uint8Array(PAGE).fill(7));
      world.snpUpdate({ gfn_start: 0, uaddr: source.hva, len: PAGE, type: NORMAL });
      const block = world.anonymous(2 * PAGE);
      block.write(0, new SnpLaunchDigest().page(SNP_PAGE.normal, 0, new Uint8Array(PAGE).fill(7)).digest);
      block.writeU64(0x58, policy);
      return world.snpFinish({ id_block_en: 1, id_block_uaddr: block.hva, id_auth_uaddr: block.hva + PAGE });
    };
    expect([finish(SNP_POLICY), finish(SNP_POLICY | 1n)]).toEqual(['ok', 'EIO:7']);
  });

  it('the checks of START', () => {
    const world = new SevWorld('sev-snp');
    expect(world.snpStart()).toBe('ENOTTY');
    expect(world.init2({ ghcb_version: 1 })).toBe('EINVAL');
    expect(world.init2({ ghcb_version: 2 })).toBe('ok');
    expect(world.init2()).toBe('EPERM');
    expect(world.command(ID.KVM_SEV_LAUNCH_START)).toBe('EPERM');
    expect(world.snpStart({ policy: SNP_POLICY, flags: 1 })).toBe('EINVAL');
    expect(world.snpStart({ policy: 0x1_0000n })).toBe('EINVAL');
    expect(world.snpStart({ policy: SNP_POLICY | (1n << 18n) })).toBe('EINVAL');
    expect(world.snpStart({ policy: SNP_POLICY | (1n << 40n) })).toBe('EINVAL');
    expect(world.snpStart({ policy: SNP_POLICY | 0x200n })).toBe('EIO:7');
    expect(world.command(ID.KVM_SEV_SNP_LAUNCH_START, new Uint8Array(64), -1)).toBe('EINVAL');
    expect(world.snpStart()).toBe('ok');
    expect(world.snpStart()).toBe('EINVAL');
    const stranger = new SevWorld('sev-snp');
    stranger.init2();
    const start = new Uint8Array(64);
    new DataView(start.buffer).setBigUint64(0, SNP_POLICY, true);
    expect(stranger.command(ID.KVM_SEV_SNP_LAUNCH_START, start, stranger.kvm.fd)).toBe('ENOTTY');
  });

  it('commands of plain SEV before INIT2', () => {
    expect(beforeInit(new SevWorld('sev-snp'))).toEqual(BEFORE_INIT);
  });

  it('the checks of UPDATE', () => {
    const { world, vm, staging } = snpGuest(nothing);
    const one = { gfn_start: 0x10, uaddr: staging.hva, len: PAGE, type: NORMAL };
    const outcome = (fields: Parameters<typeof world.snpUpdate>[0]) => world.snpUpdate(fields).outcome;
    for (const wrong of [{ len: 0 }, { len: 100 }, { flags: 1 }, { type: 0 }, { type: 2 }, { type: 7 }, { uaddr: 0 }]) {
      expect([wrong, outcome({ ...one, ...wrong })]).toEqual([wrong, 'EINVAL']);
    }
    expect(outcome({ ...one, uaddr: staging.hva + 8 })).toBe('EINVAL');
    expect(outcome({ ...one, gfn_start: 0x5000 })).toBe('EINVAL');
    // Whatever is wrong with the first page is EIO.
    expect(outcome({ ...one, gfn_start: GHCB_GPA / PAGE })).toBe('EIO');
    expect(outcome({ ...one, uaddr: 0x1000_0000 })).toBe('EIO');
    expect(outcome(one)).toBe('ok');
    expect(outcome(one)).toBe('EIO');
    // A page that is punched can be added again.
    vm.setPrivate(DATA, DATA_PAGES * PAGE);
    const data = { ...one, gfn_start: DATA / PAGE, len: 4 * PAGE };
    expect(world.snpUpdate(data)).toEqual({
      outcome: 'ok',
      left: { gfn_start: DATA / PAGE + 4, uaddr: staging.hva + 4 * PAGE, len: 0 },
    });
  });

  it('an error behind the first page is told at the next try only', () => {
    const { world, vm, staging } = snpGuest(nothing);
    vm.setPrivate(DATA, 2 * PAGE);
    const range = { gfn_start: DATA / PAGE, uaddr: staging.hva, len: 4 * PAGE, type: NORMAL };
    const first = world.snpUpdate(range);
    expect(first).toEqual({
      outcome: 'ok',
      left: { gfn_start: DATA / PAGE + 2, uaddr: staging.hva + 2 * PAGE, len: 2 * PAGE },
    });
    expect(world.snpUpdate({ ...range, ...first.left }).outcome).toBe('EIO');
    vm.setPrivate(DATA + 2 * PAGE, 2 * PAGE);
    expect(world.snpUpdate({ ...range, ...first.left })).toMatchObject({ outcome: 'ok', left: { len: 0 } });
    // The end of the slot is such a place too.
    vm.setPrivate(DATA + 4 * PAGE, 16 * PAGE);
    const end = { gfn_start: DATA / PAGE + DATA_PAGES - 1, uaddr: staging.hva, len: 3 * PAGE, type: NORMAL };
    expect(world.snpUpdate(end)).toMatchObject({ outcome: 'ok', left: { len: 2 * PAGE } });
  });

  it('the code of the firmware is told when the first page fails, and never else', () => {
    const { world, staging } = snpGuest(nothing);
    const before = 0x77;
    const update = (pages: number, type: number) => {
      const area = { gfn_start: 0x40, uaddr: staging.hva, len: pages * PAGE, type };
      return world.told(ID.KVM_SEV_SNP_LAUNCH_UPDATE, kvm_sev_snp_launch_update.encode(area), before);
    };
    const claims = new Uint8Array(PAGE);
    const view = new DataView(claims.buffer);
    view.setUint32(0, 1, true);
    view.setUint32(0x10, 1, true);
    view.setUint32(0x10 + 0x24, 0xffff_ffff, true);
    staging.write(0, claims);
    expect(update(1, TYPE.KVM_SEV_SNP_PAGE_TYPE_CPUID)).toEqual({ outcome: 'EIO:22', error: 22 });
    // The first is right now, and the second is not: the kernel reports success and leaves `error` alone.
    staging.write(PAGE, claims);
    expect(update(2, TYPE.KVM_SEV_SNP_PAGE_TYPE_CPUID)).toEqual({ outcome: 'ok', error: before });
    // KVM refuses the page itself, which it has now: the firmware said nothing.
    expect(update(1, NORMAL)).toEqual({ outcome: 'EIO', error: 0 });
  });

  it('a CPUID page that claims too much comes back corrected', () => {
    const { world, staging } = snpGuest(nothing);
    const page = new Uint8Array(PAGE);
    const view = new DataView(page.buffer);
    view.setUint32(0, 1, true);
    view.setUint32(0x10, 1, true);
    // edx of leaf 1: everything.
    view.setUint32(0x10 + 0x24, 0xffff_ffff, true);
    staging.write(0, page);
    const range = { gfn_start: 0x30, uaddr: staging.hva, len: PAGE, type: TYPE.KVM_SEV_SNP_PAGE_TYPE_CPUID };
    expect(world.snpUpdate(range).outcome).toBe('EIO:22');
    const corrected = staging.readU64(0x10 + 0x20) >> 32n;
    expect([corrected === 0xffff_ffffn, corrected === 0n]).toEqual([false, false]);
    expect(world.snpUpdate(range).outcome).toBe('ok');
  });

  it('order: UPDATE before START, FINISH twice, UPDATE after FINISH, running and pre-faulting too early', () => {
    const { world, vm, vcpu, staging, load, go } = snpGuest(nothing);
    const fresh = new SevWorld('sev-snp');
    fresh.init2();
    expect(fresh.snpUpdate({ gfn_start: 0, uaddr: 0, len: PAGE, type: NORMAL }).outcome).toBe('EINVAL');
    expect(fresh.snpFinish()).toBe('EINVAL');
    expect(vcpu.raw.preFault(0, PAGE)).toMatchObject({ code: 'EOPNOTSUPP' });
    expect(go()).toMatchObject({ name: 'KVM_EXIT_FAIL_ENTRY', hardwareReason: 2n ** 64n - 1n });
    load();
    expect(world.snpFinish({ flags: 1 })).toBe('EINVAL');
    expect(world.snpFinish()).toBe('ok');
    // The vCPU is sealed already; without one, the firmware would have said it.
    expect(world.snpFinish()).toBe('EINVAL');
    vm.setPrivate(DATA, PAGE);
    const late = { gfn_start: DATA / PAGE, uaddr: staging.hva, len: PAGE, type: NORMAL };
    expect(world.snpUpdate(late).outcome).toBe('EIO:2');
    expect(go()).toEqual(halted);
  });

  it('KVM_RUN before INIT2 is EINVAL, INIT2 with vCPUs too', () => {
    const world = new SevWorld('sev-snp');
    const vcpu = world.vm.createVcpu();
    expect(() => vcpu.runSync()).toThrow(/EINVAL/);
    expect(world.init2()).toBe('EINVAL');
  });
});

describe('five mistakes with SEV-SNP', () => {
  it('1. attributes not set before UPDATE: EIO, and nothing says why', () => {
    const { world, staging } = snpGuest(nothing);
    const range = { gfn_start: DATA / PAGE, uaddr: staging.hva, len: PAGE, type: NORMAL };
    expect(world.snpUpdate(range)).toEqual({
      outcome: 'EIO',
      left: { gfn_start: range.gfn_start, uaddr: range.uaddr, len: range.len },
    });
  });

  it('2. taking 0 of UPDATE for done: the rest was never loaded', () => {
    const { world, vm, staging, launch, go } = snpGuest((g) => g.report(0, g.load(DATA + 2 * PAGE)));
    vm.setPrivate(DATA, 2 * PAGE);
    const { outcome, left } = world.snpUpdate({
      gfn_start: DATA / PAGE,
      uaddr: staging.hva,
      len: 4 * PAGE,
      type: NORMAL,
    });
    expect([outcome, left.len]).toEqual(['ok', 2 * PAGE]);
    launch();
    expect(go()).toMatchObject({ name: 'KVM_EXIT_MEMORY_FAULT', private: true, gpa: DATA + 2 * PAGE });
  });

  it('3. EXIT_HYPERCALL not enabled: the guest is refused and the host never hears of it', () => {
    const { vm, launch, go, world } = snpGuest((g) => g.report(0, g.mapGpaRange(DATA, 1, { private: true })));
    vm.enableExitHypercall(0);
    launch();
    expect(go()).toEqual(halted);
    expect(world.reports.get(0)).toBe(0x8000_0000n);
  });

  it('4. using a page before validating it: #VC, and the guest is gone', () => {
    const { vm, launch, go } = snpGuest((g) => g.store(DATA, 1));
    vm.setPrivate(DATA, PAGE);
    launch();
    expect(go()).toMatchObject({ name: 'KVM_EXIT_SHUTDOWN' });
  });

  it('5. punching private memory of a running guest: the page comes back without its validation', () => {
    const { vm, file, launch, go } = snpGuest((g) => {
      g.report(0, g.pvalidate(DATA, true));
      g.store(DATA, 1);
      g.report(1, g.pageState(DATA + PAGE, true));
      g.report(2, g.load(DATA));
    });
    vm.setPrivate(DATA, PAGE);
    launch();
    expect(go()).toMatchObject({ name: 'KVM_EXIT_HYPERCALL' });
    file.punchHole(0, PAGE);
    expect(go()).toMatchObject({ name: 'KVM_EXIT_SHUTDOWN' });
  });
});

describe('what the machine says of SEV', () => {
  it('is not in releases that came before it', () => {
    expect(() => simulate({ release: '6.8', technologies: ['sev-snp'] })).toThrow('came with 6.11');
    expect(() => simulate({ release: '6.12', technologies: ['tdx'] })).toThrow('came with 6.16');
  });

  it('VM types, capabilities and attributes', () => {
    const world = new SevWorld('sev-snp');
    const { vm, kvm } = world;
    expect([kvm.checkExtension(235), vm.checkExtension(81), vm.checkExtension(233), vm.checkExtension(244)]).toEqual([
      ...[0b11_1111, 0, 8, 1],
    ]);
    expect(vm.raw.addMemslot({ slot: 0, gpa: 0, size: PAGE, flags: 2 })).toMatchObject({ code: 'EINVAL' });
    expect(Object.keys(KVM_SEV.value).length).toBeGreaterThan(20);
    // Unknown commands leave the struct alone.
    expect([world.command(99), world.command(200)]).toEqual(['EINVAL', 'EINVAL']);
    expect(world.command(ID.KVM_SEV_LAUNCH_FINISH)).toBe('ENOTTY');
    expect(world.init2({ flags: 1 })).toBe('EINVAL');
    expect(world.init2({ vmsa_features: 1n })).toBe('EINVAL');
    expect(world.init2({ vmsa_features: 0x20n })).toBe('ok');
    expect(world.command(ID.KVM_SEV_INIT2, kvm_sev_init.encode({}))).toBe('EPERM');
  });

  it('keys run out, and come back with the VMs that had them', () => {
    const world = new SevWorld('sev-snp', { technologies: ['sev-snp'], memoryKeys: 1 });
    expect(world.init2()).toBe('ok');
    const second = world.kvm.createVm(4);
    expect(world.command(ID.KVM_SEV_INIT2, kvm_sev_init.encode({}), world.fd, second)).toBe('EBUSY');
    world.vm.close();
    expect(world.command(ID.KVM_SEV_INIT2, kvm_sev_init.encode({}), world.fd, second)).toBe('ok');
  });
});
