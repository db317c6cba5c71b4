/** SEV and SEV-ES: the launch, ciphertext, pinned regions, sealed vCPUs. */
import { createCipheriv, createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SevLaunchDigest, sevLaunchMeasurement } from '../../../../lib/measure/index.ts';
import {
  KVM_MEMORY_ENCRYPT_OP,
  KVM_MEMORY_ENCRYPT_REG_REGION,
  KVM_MEMORY_ENCRYPT_UNREG_REGION,
  kvm_enc_region,
  kvm_sev_dbg,
  kvm_sev_guest_status,
  kvm_sev_launch_measure,
  kvm_sev_launch_secret,
} from '../../../../lib/uapi/index.ts';
import { ALL, BEFORE_INIT, beforeInit, DATA, DATA_PAGES, ID, PAGE, SevWorld, sevGuest } from './world.ts';

const halted = expect.objectContaining({ name: 'KVM_EXIT_HLT' });
const nothing = (): void => {};
type Builder = Parameters<Parameters<typeof sevGuest>[1]>[0];

function region(world: SevWorld, request: typeof KVM_MEMORY_ENCRYPT_REG_REGION, addr: number, size: number): string {
  const result = world.sys.raw.ioctl(world.vm.fd, request, kvm_enc_region.encode({ addr, size }));
  return result.ok ? 'ok' : result.code;
}

function status(world: SevWorld): { handle: number; policy: number; state: number } {
  const bytes = new Uint8Array(kvm_sev_guest_status.size);
  expect(world.command(ID.KVM_SEV_GUEST_STATUS, bytes)).toBe('ok');
  return kvm_sev_guest_status.decode(bytes);
}

describe('an SEV guest', () => {
  it('runs from encrypted memory and reports', () => {
    const { inits, launch, go, world } = sevGuest('sev', (g) => {
      g.store(0x1_4000, 41);
      g.report(0, g.load(0x1_4000).add(1));
    });
    expect(inits).toEqual(['ok', 'ok']);
    expect(launch()).toEqual(['ok', 'ok', 'ok', 'ok']);
    expect(go()).toEqual(halted);
    expect(world.reports.get(0)).toBe(42n);
  });

  it('the host sees ciphertext of private pages, and its writes spoil 16 bytes', () => {
    const { data, launch, go, world } = sevGuest('sev', (g) => {
      g.fill(DATA, 64, 0x1111n);
      g.report(0, 0);
      for (const [i, at] of [0, 8, 16, 24].entries()) g.report(1 + i, g.load(DATA + at));
    });
    launch();
    // Up to the first report, of which there is one exit.
    go();
    const cipher = data.read(0, 64);
    expect(cipher.every((byte) => byte === 0)).toBe(false);
    expect(new Set([0, 16, 32, 48].map((at) => cipher.slice(at, at + 16).join())).size).toBe(4);
    expect([1, 2, 3, 4].map((tag) => world.reports.get(tag))).toEqual([0x1111n, 0x1111n, 0x1111n, 0x1111n]);
  });

  it('a host write under a running guest changes what the guest reads', () => {
    const { vcpu, data, launch, world, go } = sevGuest('sev', (g) => {
      g.fill(DATA, 32, 0x1111n);
      g.report(0, 0);
      g.report(1, g.load(DATA));
      g.report(2, g.load(DATA + 8));
      g.report(3, g.load(DATA + 16));
    });
    launch();
    expect(vcpu.runSync()).toMatchObject({ name: 'KVM_EXIT_MMIO' });
    const [first = 0] = data.read(0, 1);
    data.write(0, Uint8Array.of(first ^ 1));
    expect(go()).toEqual(halted);
    expect(world.reports.get(1)).not.toBe(0x1111n);
    expect(world.reports.get(2)).not.toBe(0x1111n);
    expect(world.reports.get(3)).toBe(0x1111n);
  });

  it('without the C-bit both see the same, in both directions', () => {
    const { data, launch, go, world } = sevGuest('sev', (g) => {
      g.report(0, g.load(g.shared(DATA)));
      g.store(g.shared(DATA + 8), 0x99);
    });
    data.writeU64(0, 0x42n);
    launch();
    expect(go()).toEqual(halted);
    expect([world.reports.get(0), data.readU64(8)]).toEqual([0x42n, 0x99n]);
  });

  it('the same bytes at another place are another ciphertext, and one page through both faces is coherent', () => {
    const { data, launch, go, world } = sevGuest('sev', (g) => {
      g.fill(DATA, 2 * PAGE, 7n);
      g.report(0, g.load(g.shared(DATA)));
      g.store(g.shared(DATA + 0x100), 1);
      g.report(1, g.load(DATA));
      g.report(2, g.load(DATA + 0x100));
    });
    launch();
    go();
    const [first, second] = [data.read(0, PAGE), data.read(PAGE, PAGE)];
    expect(Buffer.compare(first, second)).not.toBe(0);
    expect(world.reports.get(0)).toBe(data.readU64(0));
    expect([world.reports.get(1), world.reports.get(2) === 7n]).toEqual([7n, false]);
  });

  it('memory that was not encrypted at the launch is garbage to the guest', () => {
    const { data, launch, go, world } = sevGuest('sev', (g) => g.report(0, g.load(DATA)));
    data.writeU64(0, 0x42n);
    launch();
    go();
    expect(world.reports.get(0)).not.toBe(0x42n);
  });

  it('in-place encryption keeps what is around it; its granule is 16 bytes', () => {
    const { world, data } = sevGuest('sev', nothing);
    data.fill(1, { length: 64 });
    expect(world.updateData(data.hva + 16, 32)).toBe('ok');
    const bytes = data.read(0, 64);
    expect([...bytes.slice(0, 16), ...bytes.slice(48)].every((byte) => byte === 1)).toBe(true);
    expect(bytes.slice(16, 48).every((byte) => byte === 1)).toBe(false);
    expect(world.updateData(data.hva + 8, 16)).toBe('EIO:9');
    expect(world.updateData(data.hva, 24)).toBe('EIO:4');
  });
});

describe('an SEV launch', () => {
  it('goes through its states', () => {
    const { world, low } = sevGuest('sev', nothing);
    const into = world.anonymous(PAGE);
    expect(status(world)).toMatchObject({ policy: 0, state: 1 });
    expect(world.finish()).toBe('EIO:2');
    expect(world.updateData(low.hva, PAGE)).toBe('ok');
    expect(world.measure(into)).toBe('ok');
    expect(status(world).state).toBe(2);
    expect([world.measure(into), world.updateData(low.hva, PAGE)]).toEqual(['EIO:2', 'EIO:2']);
    expect(world.finish()).toBe('ok');
    expect(status(world).state).toBe(3);
    expect([world.finish(), world.measure(into)]).toEqual(['EIO:2', 'EIO:2']);
  });

  it('asking for the length of the measurement fails with EIO and tells it', () => {
    const { world } = sevGuest('sev', nothing);
    const ask = kvm_sev_launch_measure.encode({});
    expect(world.command(ID.KVM_SEV_LAUNCH_MEASURE, ask)).toBe('EIO:4');
    expect(kvm_sev_launch_measure.decode(ask).len).toBe(48);
    const into = world.anonymous(PAGE);
    expect([world.measure(into, 47), world.measure(into, 20_000)]).toEqual(['EIO:4', 'EINVAL']);
  });

  it('is measured as the documents say; a secret must be sealed for that measurement', () => {
    const { world, low, data } = sevGuest('sev', nothing);
    const image = low.read(0, 2 * PAGE);
    world.updateData(low.hva, 2 * PAGE);
    const into = world.anonymous(PAGE);
    world.measure(into);
    const [measured, nonce] = [into.read(0, 32), into.read(32, 16)];
    const version = { apiMajor: 1, apiMinor: 55, build: 21, policy: 0 };
    const tik = new Uint8Array(16);
    const digest = new SevLaunchDigest().update(image).digest;
    expect(measured).toEqual(sevLaunchMeasurement({ ...version, tik, digest, nonce }));

    const plain = new TextEncoder().encode('sixteen bytes ok');
    const iv = new Uint8Array(16).fill(3);
    const packet = new Uint8Array(createCipheriv('aes-128-ctr', tik, iv).update(plain));
    const header = new Uint8Array(52);
    header.set(iv, 4);
    const lengths = Buffer.alloc(8);
    lengths.writeUInt32LE(16, 0);
    lengths.writeUInt32LE(16, 4);
    const mac = createHmac('sha256', tik).update(Uint8Array.of(1)).update(header.subarray(0, 20));
    header.set(mac.update(lengths).update(packet).update(measured).digest(), 20);
    into.write(0x100, header);
    into.write(0x200, packet);
    const secret = (guest_uaddr: number, guest_len: number): string =>
      world.command(
        ID.KVM_SEV_LAUNCH_SECRET,
        kvm_sev_launch_secret.encode({
          ...{ hdr_uaddr: into.hva + 0x100, hdr_len: 52, guest_uaddr, guest_len },
          ...{ trans_uaddr: into.hva + 0x200, trans_len: 16 },
        }),
      );
    expect(secret(data.hva, 2 * PAGE)).toBe('EINVAL');
    expect(secret(data.hva, 16)).toBe('ok');
    const out = world.anonymous(PAGE);
    const decrypt = kvm_sev_dbg.encode({ src_uaddr: data.hva, dst_uaddr: out.hva, len: 16 });
    expect(world.command(ID.KVM_SEV_DBG_DECRYPT, decrypt)).toBe('ok');
    expect(out.read(0, 16)).toEqual(plain);
    into.write(0x200, new Uint8Array(1));
    expect(secret(data.hva, 16)).toBe('EIO:11');
  });

  it('debug commands take any length and place, if the policy lets them', () => {
    const { world, data } = sevGuest('sev', nothing);
    const out = world.anonymous(PAGE);
    const text = Uint8Array.from({ length: 200 }, (_, i) => i);
    world.updateData(data.hva, 2 * PAGE);
    out.write(0, text);
    const crypt = (id: number, src_uaddr: number, dst_uaddr: number, len: number): string =>
      world.command(id, kvm_sev_dbg.encode({ src_uaddr, dst_uaddr, len }));
    for (const [at, length] of [
      [3, 1],
      [4090, 100],
      [16, 16],
      [17, 200],
    ] as const) {
      expect(crypt(ID.KVM_SEV_DBG_ENCRYPT, out.hva, data.hva + at, length)).toBe('ok');
      expect(crypt(ID.KVM_SEV_DBG_DECRYPT, data.hva + at, out.hva + 0x800, length)).toBe('ok');
      expect(out.read(0x800, length)).toEqual(text.subarray(0, length));
    }
    expect(crypt(ID.KVM_SEV_DBG_DECRYPT, data.hva, out.hva, 0)).toBe('EINVAL');
    expect(crypt(ID.KVM_SEV_DBG_DECRYPT, 0x10_0000, out.hva, 16)).toBe('ENOMEM');
    const closed = new SevWorld('sev');
    closed.init2();
    closed.start(1);
    const memory = closed.anonymous(PAGE);
    const debug = kvm_sev_dbg.encode({ src_uaddr: memory.hva, dst_uaddr: memory.hva, len: 16 });
    expect(closed.command(ID.KVM_SEV_DBG_DECRYPT, debug)).toBe('EIO:7');
  });

  it('commands before INIT2', () => {
    expect(beforeInit(new SevWorld('sev'))).toEqual(BEFORE_INIT);
  });

  it('the checks of INIT2, START and UPDATE_DATA', () => {
    const world = new SevWorld('sev');
    const memory = world.anonymous(PAGE);
    expect([world.start(), world.updateData(memory.hva, 16), world.finish()]).toEqual(['ENOTTY', 'ENOTTY', 'ENOTTY']);
    expect([world.init2({ ghcb_version: 2 }), world.init2({ vmsa_features: 0x20n })]).toEqual(['EINVAL', 'EINVAL']);
    expect([world.init2(), world.init2()]).toEqual(['ok', 'EINVAL']);
    // Before START no descriptor is known to issue through.
    expect(world.updateData(memory.hva, 16)).toBe('EBADF');
    expect(world.command(ID.KVM_SEV_LAUNCH_START, new Uint8Array(40), -1)).toBe('EBADF');
    expect(world.command(ID.KVM_SEV_LAUNCH_START, new Uint8Array(40), world.kvm.fd)).toBe('EBADF');
    expect(world.start(4)).toBe('EIO:13');
    expect(world.start(0x00ff_0000)).toBe('EIO:7');
    expect(world.start(0, { handle: 99 })).toBe('EIO:16');
    expect(world.start()).toBe('ok');
    expect(world.start()).toBe('EIO:12');
    expect([world.updateData(memory.hva, 0), world.updateData(2n ** 64n - 16n, 64)]).toEqual(['EINVAL', 'EINVAL']);
    expect(world.updateData(0x10_0000, 16)).toBe('ENOMEM');
    expect(world.command(ID.KVM_SEV_LAUNCH_UPDATE_VMSA)).toBe('ENOTTY');
    expect(world.snpStart()).toBe('ENOTTY');
    expect(world.command(ID.KVM_SEV_SEND_START)).toBe('EIO:21');
    world.sys.close(world.fd);
    expect(world.updateData(memory.hva, 16)).toBe('EBADF');
  });

  it('a null pointer asks whether there is SEV; other technologies and vCPUs have no commands', () => {
    const world = new SevWorld('sev');
    const raw = (fd: number, arg: number | Uint8Array): string => {
      const result = world.sys.raw.ioctl(fd, KVM_MEMORY_ENCRYPT_OP, arg);
      return result.ok ? 'ok' : result.code;
    };
    const protectedVm = world.kvm.createVm(1);
    expect([raw(world.vm.fd, 0), raw(protectedVm.fd, 0)]).toEqual(['ok', 'ENOTTY']);
    expect(raw(world.vm.fd, 0x10)).toBe('EFAULT');
    expect(raw(world.vm.createVcpu().fd, 0)).toBe('EINVAL');
    const plain = new SevWorld('sev', { technologies: ['sev'] });
    expect(plain.sys.raw.ioctl(plain.vm.createVcpu().fd, KVM_MEMORY_ENCRYPT_OP, 0)).toMatchObject({ code: 'ENOTTY' });
  });

  it('default VMs can be made SEV in the old way, and their vCPUs keep answering', () => {
    const world = new SevWorld('sev');
    const vm = world.kvm.createVm(0);
    expect(world.command(ID.KVM_SEV_INIT2, new Uint8Array(48), world.fd, vm)).toBe('EINVAL');
    expect(world.command(ID.KVM_SEV_ES_INIT, new Uint8Array(48), world.fd, vm)).toBe('ok');
    const start = new Uint8Array(40);
    start[4] = 4;
    expect(world.command(ID.KVM_SEV_LAUNCH_START, start, world.fd, vm)).toBe('ok');
    const vcpu = vm.createVcpu();
    expect(world.command(ID.KVM_SEV_LAUNCH_UPDATE_VMSA, new Uint8Array(0), world.fd, vm)).toBe('ok');
    expect(vcpu.x64.raw.getRegs().ok).toBe(true);
    expect(world.command(ID.KVM_SEV_INIT)).toBe('EINVAL');
  });
});

describe('encrypted regions', () => {
  it('pin their pages, count as locked memory and end with the VM', () => {
    const world = new SevWorld('sev', { ...ALL, memlockLimit: 4 * PAGE });
    const memory = world.anonymous(8 * PAGE);
    const [REG, UNREG] = [KVM_MEMORY_ENCRYPT_REG_REGION, KVM_MEMORY_ENCRYPT_UNREG_REGION];
    expect(region(world, REG, memory.hva, PAGE)).toBe('ENOTTY');
    world.init2();
    world.start();
    expect(region(world, REG, memory.hva, 0)).toBe('EINVAL');
    expect(region(world, REG, memory.hva, 5 * PAGE)).toBe('ENOMEM');
    expect(region(world, REG, memory.hva, 3 * PAGE)).toBe('ok');
    expect(region(world, REG, memory.hva + 3 * PAGE, 2 * PAGE)).toBe('ENOMEM');
    expect(world.updateData(memory.hva + 4 * PAGE, 2 * PAGE)).toBe('ENOMEM');
    expect(world.updateData(memory.hva + 4 * PAGE, PAGE)).toBe('ok');
    expect(region(world, UNREG, memory.hva, 2 * PAGE)).toBe('EINVAL');
    expect(region(world, UNREG, memory.hva, 3 * PAGE)).toBe('ok');
    expect(region(world, UNREG, memory.hva, 3 * PAGE)).toBe('EINVAL');
    expect(region(world, REG, 0x10_0000, PAGE)).toBe('ENOMEM');
  });
});

describe('an SEV-ES guest', () => {
  it('runs, reports through its GHCB, and hides its registers', () => {
    const { vcpu, launch, go, world } = sevGuest('sev-es', (g) => {
      g.store(DATA, 5);
      g.report(0, g.load(DATA));
    });
    expect(vcpu.x64.raw.getRegs().ok).toBe(true);
    expect(launch()).toEqual(['ok', 'ok', 'ok', 'ok', 'ok']);
    expect(vcpu.x64.raw.getRegs()).toMatchObject({ code: 'EINVAL' });
    expect(vcpu.x64.raw.getSregs()).toMatchObject({ code: 'EINVAL' });
    expect(go()).toEqual(halted);
    expect(world.reports.get(0)).toBe(5n);
  });

  it('page state and pvalidate are not for it', () => {
    const asked = sevGuest('sev-es', (g: Builder) => void g.ghcbRequest(0x14));
    asked.launch();
    expect(asked.go()).toMatchObject({ name: 'KVM_EXIT_SYSTEM_EVENT', type: 6, data: [0x14n] });
    const tried = sevGuest('sev-es', (g: Builder) => void g.pvalidate(DATA, true));
    tried.launch();
    expect(tried.go()).toMatchObject({ name: 'KVM_EXIT_SHUTDOWN' });
    const told = sevGuest('sev-es', (g: Builder) => g.report(0, g.ghcbRequest(2)));
    told.launch();
    expect(told.go()).toEqual(halted);
    // Versions 2 and 1, C-bit 51.
    expect(told.world.reports.get(0)).toBe((2n << 48n) | (1n << 32n) | (51n << 24n) | 1n);
  });

  it('has no read-only slots', () => {
    const { vm, low } = sevGuest('sev-es', nothing);
    const slot = { slot: 9, gpa: 0x1000_0000, size: PAGE, backing: low, flags: 2 };
    expect(vm.raw.addMemslot(slot)).toMatchObject({ code: 'EINVAL' });
  });
});

describe('five mistakes with SEV', () => {
  it('1. the image is written after LAUNCH_UPDATE_DATA: the guest executes noise', () => {
    const { low, launch, go } = sevGuest('sev', (g) => g.report(0, 1));
    const image = low.read(0x1_0000, 64);
    launch();
    low.write(0x1_0000, image);
    expect(['KVM_EXIT_SHUTDOWN', 'KVM_EXIT_INTERNAL_ERROR']).toContain(go().name);
  });

  it('2. KVM_RUN without INIT2: EINVAL', () => {
    const world = new SevWorld('sev');
    expect(() => world.vm.createVcpu().runSync()).toThrow(/EINVAL/);
  });

  it('3. memory that the guest encrypts is not registered: a move destroys it, a pinned page stays', () => {
    const moved = (registers: boolean): bigint | undefined => {
      const { world, vcpu, data, launch, go } = sevGuest('sev', (g) => {
        g.store(DATA, 0x1111);
        g.report(0, 0);
        g.report(1, g.load(DATA));
      });
      launch();
      if (registers) region(world, KVM_MEMORY_ENCRYPT_REG_REGION, data.hva, DATA_PAGES * PAGE);
      vcpu.runSync();
      world.kernel.migratePages(data.hva, DATA_PAGES * PAGE);
      go();
      return world.reports.get(1);
    };
    expect(moved(true)).toBe(0x1111n);
    expect(moved(false)).not.toBe(0x1111n);
  });

  it('4. LAUNCH_MEASURE comes before the last UPDATE_DATA: the firmware refuses', () => {
    const { world, low } = sevGuest('sev', nothing);
    world.measure(world.anonymous(PAGE));
    expect(world.updateData(low.hva, PAGE)).toBe('EIO:2');
  });

  it('5. SEV-ES without LAUNCH_UPDATE_VMSA, or with registers set after it', () => {
    const { world, vcpu, launch, go } = sevGuest('sev-es', nothing);
    expect(go()).toMatchObject({ name: 'KVM_EXIT_FAIL_ENTRY' });
    launch();
    expect(vcpu.x64.raw.updateRegs({ rip: 0n })).toMatchObject({ code: 'EINVAL' });
    expect(world.command(ID.KVM_SEV_LAUNCH_UPDATE_VMSA)).toBe('EINVAL');
  });
});
