/**
 * An SEV-SNP launch in the order of Cloud Hypervisor: VM, INIT2, private RAM, LAUNCH_START, the loader's pages each with its type, FINISH, run. The
 * guest then takes further memory by page state changes, which the machine carries out.
 *
 *     node examples/cloud-hypervisor-snp.mjs [kvm|sim]
 */
import assert from 'node:assert/strict';
import { Kvm, Mapping, openKernel, Sev } from 'privmem';
import { GHCB_GPA, program, x64 } from 'privmem/guest';
import { GuestMemory, GuestPrograms, Machine } from 'privmem/machine';
import { KVM_SEV_SNP_PAGE_TYPE, KVM_VM_TYPE } from 'privmem/uapi';

const PAGE = 4096;
const RAM = 4 * 2 ** 20;
const LOADED = 0x2_0000; // page tables and program lie below
const CPUID_PAGE = 0x3_0000;
const SECRETS_PAGE = 0x3_1000;
const BOUNCE = 2 * 2 ** 20;
const POLICY = 0x3_0000n; // SMT allowed, and the bit that is always 1
const TYPE = KVM_SEV_SNP_PAGE_TYPE.value;

const sys = openKernel({
  backend: process.argv[2] === 'kvm' ? 'kvm' : 'sim',
  simulate: { technologies: ['sev-snp'] },
});
const kvm = Kvm.open(sys);
const vm = kvm.createVm(KVM_VM_TYPE.value.KVM_X86_SNP_VM);
const sev = Sev.open(vm);
sev.init2();
vm.enableExitHypercall(1 << 12);
const memory = new GuestMemory(vm);
memory.addRam({ name: 'ram', gpa: 0, size: RAM, shared: 'memfd', private: true, initial: 'private' });

// The loader: what a kernel image is to Cloud Hypervisor's IGVM file is a program here.
const code = program({ arch: 'x64', technology: 'sev-snp' }, (g) => {
  g.touch(SECRETS_PAGE, PAGE);
  g.report(0, g.load(SECRETS_PAGE, { size: 4 })); // the firmware put its version there
  g.report(1, g.pvalidate(BOUNCE - PAGE, true).or(g.pvalidate(BOUNCE, true))); // accepted, as all memory must be
  g.store(BOUNCE - PAGE, 0x5ec2e7);
  g.report(2, g.mapGpaRange(BOUNCE, 1, { private: false })); // a window for I/O
  g.store(g.shared(BOUNCE), 42);
});
const image = x64.startState(code);
const staging = Mapping.anonymous(sys, LOADED);
for (const { gpa, bytes } of image.memory) staging.write(gpa, bytes);
const vcpu = vm.createVcpu();
vcpu.x64.setCpuid(kvm.supportedCpuid());
vcpu.x64.updateSregs(image.sregs);
vcpu.x64.setRegs(image.regs);

memory.convert({ gpa: GHCB_GPA, size: PAGE }, 'shared'); // how the guest talks to us
sev.snpLaunchStart(POLICY);
sev.snpLaunchUpdateAll(0, staging.hva, GHCB_GPA);
sev.snpLaunchUpdateAll(GHCB_GPA + PAGE, staging.hva + GHCB_GPA + PAGE, LOADED - GHCB_GPA - PAGE);
staging.fill(0);
const one = { uaddr: staging.hva, len: PAGE };
sev.snpLaunchUpdate({ ...one, gfn_start: CPUID_PAGE / PAGE, type: TYPE.KVM_SEV_SNP_PAGE_TYPE_CPUID });
sev.snpLaunchUpdate({ ...one, gfn_start: SECRETS_PAGE / PAGE, type: TYPE.KVM_SEV_SNP_PAGE_TYPE_SECRETS });
sev.snpLaunchFinish();

const guest = new GuestPrograms(new Machine({ vm, vcpus: [vcpu], memory }));
guest.machine.on('conversion', ({ gpa, to }) => console.log(`page state change: 0x${gpa.toString(16)} to ${to}`));
guest.expect(code);
const reports = await guest.run();
assert.equal(reports.get(0), 3n);
assert.deepEqual([reports.get(1), reports.get(2)], [0n, 0n]);
assert.equal(memory.read(BOUNCE, 1)[0], 42);
assert.throws(() => memory.read(BOUNCE - PAGE, 8), { kind: 'private-unreachable' });
console.log('shared after the launch:', memory.ledger.bytes('shared') / PAGE, 'pages of', RAM / PAGE);
staging.close();
memory.close();
kvm.close();
