/** SEV-SNP: the launch, who owns pages, what the guest must do before it uses them. */
import { describe, expect, it } from 'vitest';
import { DATA, DATA_PAGES, PAGE, snpGuest } from './world.ts';

const halted = expect.objectContaining({ name: 'KVM_EXIT_HLT' });

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

  it('converts pages by PSC and PVALIDATE; nothing survives', () => {
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
});
