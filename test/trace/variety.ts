/** A program that uses nearly every call of the waist, in ways that succeed, fail and fault: to be recorded, repeated and exported. */
import type { Kernel } from '../../lib/kernel/kernel.ts';
import { Sys } from '../../lib/kernel/sys.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { Mapping } from '../../lib/memory/mapping.ts';
import { Memfd } from '../../lib/memory/memfd.ts';
import { F, F_SEAL, FALLOC_FL, KVM_MEM, MADV, PROT } from '../../lib/uapi/index.ts';
import { Guest } from '../support/guest.ts';

const PAGE = 4096;
const FLAG = 0x10_0000;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function files(sys: Sys): void {
  const file = Memfd.create(sys, { name: 'odd "name" \\ ?? */ %s', size: 4 * PAGE });
  file.pwrite(new Uint8Array([1, 2, 3]), PAGE);
  const three = new Uint8Array(5);
  file.pread(three, PAGE - 1);
  file.write(new TextEncoder().encode('at the file position'));
  file.read(new Uint8Array(8));
  file.seek('hole', 0);
  file.seek('data', 2);
  file.stat();
  file.chmod(0o600);
  file.fallocate(FALLOC_FL.value.FALLOC_FL_KEEP_SIZE, 0, 2 * PAGE);
  file.punchHole(0, PAGE);
  file.raw.fallocate(0x4000_0000, 0, PAGE);
  file.raw.fallocate(0, -1n, PAGE);
  file.addSeals(F_SEAL.value.F_SEAL_GROW);
  file.raw.truncate(1n << 40n);
  file.raw.truncate(1n << 62n);
  const copy = sys.fcntl(file.fd, F.value.F_DUPFD_CLOEXEC, 100);
  sys.fcntl(copy, F.value.F_GETFL, 0);
  sys.close(copy);
  sys.raw.fstat(copy);
  const event = sys.eventfd(3, 0);
  sys.read(event, new Uint8Array(8));
  sys.write(event, new Uint8Array([5, 0, 0, 0, 0, 0, 0, 0]));
  sys.raw.read(event, new Uint8Array(2));
  sys.close(event);
  memory(sys, file);
  file.close();
}

/** System calls on buffers that alias memory: a shared page, and a private one that nobody may touch. */
export function playAliased(kernel: Kernel): void {
  using kvm = Kvm.open(new Sys(kernel));
  using vm = kvm.createVm();
  using hidden = vm.createGuestMemfd(PAGE, { mmap: true });
  using open = vm.createGuestMemfd(PAGE, { mmap: true, initShared: true });
  using file = Memfd.create(kvm.sys, { size: PAGE });
  for (const memory_ of [hidden, open]) {
    const mapping = memory_.map();
    const view = mapping.unsafeView();
    file.raw.pwrite(view.subarray(8, 40), 0);
    file.raw.pread(view.subarray(16, 24), 0);
    mapping.raw.read(0, 32);
    mapping.close();
  }
}

function memory(sys: Sys, file: Memfd): void {
  const mapping = file.map();
  mapping.write(
    10,
    new Uint8Array(300).map((_, i) => i),
  );
  mapping.firstDifference(
    10,
    new Uint8Array(300).map((_, i) => (i === 200 ? 0 : i)),
  );
  mapping.fill(7, { offset: 2 * PAGE, length: 100 });
  mapping.read(0, 3 * PAGE);
  mapping.protect(PROT.value.PROT_READ, { length: PAGE });
  mapping.raw.write(PAGE - 4, new Uint8Array(8));
  mapping.raw.write(4, new Uint8Array(8));
  mapping.protect(PROT.value.PROT_NONE, { length: PAGE });
  mapping.raw.read(100, 8);
  mapping.advise(MADV.value.MADV_DONTNEED, { offset: PAGE, length: PAGE });
  mapping.raw.advise(0x7777);
  // Written without a call: a trace must see it all the same.
  const view = mapping.unsafeView({ offset: PAGE, length: PAGE });
  view.set([0xaa, 0xbb], 17);
  view[PAGE - 1] = 0xcc;
  file.pread(new Uint8Array(4), PAGE + 16);
  mapping.unmap();
  file.raw.map({ length: PAGE, offset: 1 });
  const private_ = Mapping.anonymous(sys, 2 * PAGE, { shared: false });
  private_.writeU64(8, 0x1234_5678_9abc_def0n);
  private_.readU64(8);
  private_.close();
}

async function guests(kvm: Kvm, { logsDirty }: { readonly logsDirty: boolean }): Promise<void> {
  const guest = new Guest(kvm);
  // Kicked while it spins, before it starts, and ended by a limit.
  guest.load((g) => {
    g.whileEqual(FLAG, 0);
    g.report(0, g.load(FLAG));
  });
  const vcpu = guest.vcpu();
  const run = vcpu.run();
  await sleep(20);
  vcpu.kick();
  await run;
  vcpu.kick();
  await vcpu.run();
  vcpu.runSync({ timeoutMs: 20 });
  // What the host writes while it runs lets it go on.
  const last = vcpu.run();
  await sleep(10);
  guest.memory.writeU64(FLAG, 77);
  await last;
  // A port and MMIO read, answered through the run page.
  guest.load((g) => {
    g.report(1, g.load(0xd000_0000));
  });
  const exit = vcpu.runSync({ timeoutMs: 5000 });
  if (exit.name === 'KVM_EXIT_MMIO' && !exit.isWrite) vcpu.answer(0x1122_3344_5566_7788n);
  vcpu.runSync({ timeoutMs: 5000 });
  vcpu.x64.getRegs();
  vcpu.x64.getMsrs([0xc000_0080, 0xc000_0081, 0x7777_7777]);
  vcpu.x64.setMsrs([{ index: 0xc000_0081, data: 0x23_0008_0000_0000n }]);
  vcpu.x64.getMpState();
  vcpu.raw.preFault(0, PAGE);
  guest.vm.raw.setMemoryAttributes(0, PAGE, 8);
  guest.vm.raw.createGuestMemfd(1);
  guest.vm.raw.setUserMemoryRegion({
    slot: 7,
    guest_phys_addr: 1,
    memory_size: PAGE,
    userspace_addr: guest.memory.hva,
  });
  guest.vm.raw.setUserMemoryRegion({ slot: 0, guest_phys_addr: 0, memory_size: 0x8000, userspace_addr: 0x7000_0000 });
  if (logsDirty) dirtyLog(kvm, guest);
  guest.close();
}

function dirtyLog(kvm: Kvm, guest: Guest): void {
  const memory_ = Mapping.anonymous(kvm.sys, 64 * PAGE);
  const flags = KVM_MEM.value.KVM_MEM_LOG_DIRTY_PAGES;
  const slot = guest.vm.addMemslot({ slot: 3, gpa: 0x4000_0000, size: 64 * PAGE, backing: memory_, flags });
  guest.load((g) => {
    g.store(0x4000_3000, 1);
    g.store(0x4000_9000, 2);
    g.halt();
  });
  guest.vcpu().runSync({ timeoutMs: 5000 });
  slot.dirtyLog();
  slot.close();
  memory_.close();
}

/** Carries it out on `kernel`, which is traced by whoever calls. */
export async function playVariety(kernel: Kernel, options = { logsDirty: true }): Promise<void> {
  const sys = new Sys(kernel);
  files(sys);
  using kvm = Kvm.open(sys);
  await guests(kvm, options);
}
