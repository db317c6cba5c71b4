/** VMs of SEV in every form on the simulated kernel, and their launch commands one by one. */
import { GHCB_GPA, type GuestTechnology, program, ReportCollector, x64 } from '../../../../lib/guest/index.ts';
import { errnoName } from '../../../../lib/kernel/errno.ts';
import { KernelError } from '../../../../lib/kernel/errors.ts';
import { Sys } from '../../../../lib/kernel/sys.ts';
import type { Exit } from '../../../../lib/kvm/exits.ts';
import { Kvm } from '../../../../lib/kvm/kvm.ts';
import type { Vm } from '../../../../lib/kvm/vm.ts';
import { Mapping } from '../../../../lib/memory/mapping.ts';
import { type SimulatedKernel, type SimulateOptions, simulate } from '../../../../lib/sim/simulate.ts';
import {
  KVM_MEMORY_ENCRYPT_OP,
  KVM_SEV,
  KVM_SEV_SNP_PAGE_TYPE,
  kvm_sev_cmd,
  kvm_sev_init,
  kvm_sev_launch_measure,
  kvm_sev_launch_start,
  kvm_sev_launch_update_data,
  kvm_sev_snp_launch_finish,
  kvm_sev_snp_launch_start,
  kvm_sev_snp_launch_update,
} from '../../../../lib/uapi/index.ts';

export const PAGE = 4096;
/** Programs and their tables; 2 MiB, one slot. */
export const LOW = 0x1_8000;
export const DATA = 0x20_0000;
export const DATA_PAGES = 16;
export const ID = KVM_SEV.value;
export const TYPE = KVM_SEV_SNP_PAGE_TYPE.value;
const VM_TYPE = { sev: 2, 'sev-es': 3, 'sev-snp': 4 } as const;
export const SNP_POLICY = 0x3_0000n;
export const ALL = { technologies: ['sw-protected', 'sev', 'sev-es', 'sev-snp', 'tdx'] } as const;

type Write = Parameters<typeof program<'x64'>>[1];

/** The commands of plain SEV on a VM before its initialisation: three have no handler, and one handler has an errno of its own. */
export function beforeInit(world: SevWorld): [name: string, outcome: Outcome][] {
  const later = new Set<number>([ID.KVM_SEV_INIT, ID.KVM_SEV_ES_INIT, ID.KVM_SEV_INIT2]);
  return Object.entries(ID)
    .filter(([, id]) => id < ID.KVM_SEV_SNP_LAUNCH_START && !later.has(id))
    .map(([name, id]) => [name.replace('KVM_SEV_', ''), world.command(id)]);
}

/** What `beforeInit` must give, by arch/x86/kvm/svm/sev.c of 7.3.4. */
export const BEFORE_INIT: readonly (readonly [string, Outcome])[] = [
  ...['LAUNCH_START', 'LAUNCH_UPDATE_DATA', 'LAUNCH_UPDATE_VMSA', 'LAUNCH_SECRET', 'LAUNCH_MEASURE', 'LAUNCH_FINISH'],
  ...['SEND_START', 'SEND_UPDATE_DATA', 'SEND_UPDATE_VMSA', 'SEND_FINISH'],
  ...['RECEIVE_START', 'RECEIVE_UPDATE_DATA', 'RECEIVE_UPDATE_VMSA', 'RECEIVE_FINISH', 'GUEST_STATUS'],
  ...['DBG_DECRYPT', 'DBG_ENCRYPT', 'CERT_EXPORT', 'GET_ATTESTATION_REPORT', 'SEND_CANCEL'],
].map((name) => [
  name,
  ['SEND_UPDATE_VMSA', 'RECEIVE_UPDATE_VMSA', 'CERT_EXPORT', 'RECEIVE_UPDATE_DATA'].includes(name)
    ? 'EINVAL'
    : 'ENOTTY',
]);

/** What a command came to: `ok`, or the errno, with the firmware's code behind a colon. */
export type Outcome = string;

export class SevWorld {
  readonly kernel: SimulatedKernel;
  readonly sys: Sys;
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly fd: number;
  readonly technology: 'sev' | 'sev-es' | 'sev-snp';
  readonly reports = new Map<number, bigint>();
  readonly #collector = new ReportCollector();

  constructor(technology: 'sev' | 'sev-es' | 'sev-snp', options: SimulateOptions = ALL) {
    this.kernel = simulate(options);
    this.sys = new Sys(this.kernel);
    this.kvm = Kvm.open(this.sys);
    this.technology = technology;
    this.fd = this.sys.open('/dev/sev', 2);
    this.vm = this.kvm.createVm(VM_TYPE[technology]);
  }

  /** One command on the VM; `data` is its struct, which is written back. */
  command(id: number, data: Uint8Array = new Uint8Array(64), fd = this.fd, vm = this.vm): Outcome {
    return this.told(id, data, 0, fd, vm).outcome;
  }

  /** As `command`, with what its `error` held before, and what it holds afterwards. */
  told(id: number, data: Uint8Array, error: number, fd = this.fd, vm = this.vm): { outcome: Outcome; error: number } {
    const bytes = kvm_sev_cmd.encode({ id, sev_fd: fd, error });
    const outcome = this.#attempt(vm, bytes, data);
    return { outcome, error: kvm_sev_cmd.decode(bytes).error };
  }

  #attempt(vm: Vm, bytes: Uint8Array, data: Uint8Array): Outcome {
    try {
      vm.ioctl(KVM_MEMORY_ENCRYPT_OP, bytes, [[8, data]]);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      const code = kvm_sev_cmd.decode(bytes).error;
      return code === 0 ? errnoName(error.errno) : `${errnoName(error.errno)}:${code}`;
    }
    return 'ok';
  }

  init2(fields: Parameters<typeof kvm_sev_init.encode>[0] = {}): Outcome {
    return this.command(ID.KVM_SEV_INIT2, kvm_sev_init.encode(fields));
  }

  /** LAUNCH_START of SEV and SEV-ES. */
  start(policy = this.technology === 'sev-es' ? 4 : 0, fields: { handle?: number } = {}): Outcome {
    return this.command(ID.KVM_SEV_LAUNCH_START, kvm_sev_launch_start.encode({ policy, ...fields }));
  }

  updateData(uaddr: number | bigint, len: number): Outcome {
    return this.command(ID.KVM_SEV_LAUNCH_UPDATE_DATA, kvm_sev_launch_update_data.encode({ uaddr, len }));
  }

  measure(into: Mapping, len = 48): Outcome {
    return this.command(ID.KVM_SEV_LAUNCH_MEASURE, kvm_sev_launch_measure.encode({ uaddr: into.hva, len }));
  }

  finish(): Outcome {
    return this.command(ID.KVM_SEV_LAUNCH_FINISH);
  }

  snpStart(fields: Parameters<typeof kvm_sev_snp_launch_start.encode>[0] = { policy: SNP_POLICY }): Outcome {
    return this.command(ID.KVM_SEV_SNP_LAUNCH_START, kvm_sev_snp_launch_start.encode(fields));
  }

  /** The outcome, and what was left of the range. */
  snpUpdate(fields: Parameters<typeof kvm_sev_snp_launch_update.encode>[0]): {
    outcome: Outcome;
    left: { gfn_start: number; uaddr: number; len: number };
  } {
    const bytes = kvm_sev_snp_launch_update.encode(fields);
    const outcome = this.command(ID.KVM_SEV_SNP_LAUNCH_UPDATE, bytes);
    const { gfn_start, uaddr, len } = kvm_sev_snp_launch_update.decode(bytes);
    return { outcome, left: { gfn_start, uaddr, len } };
  }

  snpFinish(fields: Parameters<typeof kvm_sev_snp_launch_finish.encode>[0] = {}): Outcome {
    return this.command(ID.KVM_SEV_SNP_LAUNCH_FINISH, kvm_sev_snp_launch_finish.encode(fields));
  }

  anonymous(length: number): Mapping {
    return Mapping.anonymous(this.sys, length);
  }

  /** The image of a program, for memory from gpa 0. */
  image(write: Write, technology: GuestTechnology = this.technology): ReturnType<typeof x64.startState> {
    return x64.startState(program({ arch: 'x64', technology }, write));
  }

  /** Runs vCPU `vcpu` to the next exit that is no report. */
  go(vcpu: ReturnType<Vm['createVcpu']>, timeoutMs = 10_000): Exit {
    for (;;) {
      const exit = vcpu.runSync({ timeoutMs });
      const event = exit.name === 'KVM_EXIT_MMIO' ? this.#collector.accept(exit) : undefined;
      if (event === undefined) return exit;
      if (event !== 'pending' && event.kind === 'report') this.reports.set(event.tag, event.value);
    }
  }
}

/** Ordinary memory at gpa 0 and at DATA, a program in it, and a vCPU at its start: SEV and SEV-ES up to LAUNCH_START. */
export function sevGuest(technology: 'sev' | 'sev-es', write: Write, options: SimulateOptions = ALL) {
  const world = new SevWorld(technology, options);
  const { vm } = world;
  const inits = [world.init2()];
  const low = world.anonymous(DATA);
  const data = world.anonymous(DATA_PAGES * PAGE);
  vm.addMemslot({ slot: 0, gpa: 0, size: DATA, backing: low });
  vm.addMemslot({ slot: 1, gpa: DATA, size: DATA_PAGES * PAGE, backing: data });
  const image = world.image(write);
  for (const { gpa, bytes } of image.memory) low.write(gpa, bytes);
  const vcpu = vm.createVcpu();
  vcpu.x64.updateSregs(image.sregs);
  vcpu.x64.setRegs(image.regs);
  inits.push(world.start());
  /** Encrypts what the guest needs, measures and finishes. */
  const launch = (): Outcome[] => {
    const into = world.anonymous(PAGE);
    const steps = [
      world.updateData(low.hva, GHCB_GPA),
      world.updateData(low.hva + GHCB_GPA + PAGE, LOW - GHCB_GPA - PAGE),
    ];
    if (technology === 'sev-es') steps.push(world.command(ID.KVM_SEV_LAUNCH_UPDATE_VMSA));
    return [...steps, world.measure(into), world.finish()];
  };
  return { world, vm, vcpu, low, data, inits, launch, go: () => world.go(vcpu) };
}

/** A VM with both sides of memory, its image loaded but not finished. Everything is private but the GHCB and the pages from DATA on. */
export function snpGuest(write: Write, options: SimulateOptions = ALL) {
  const world = new SevWorld('sev-snp', options);
  const { vm } = world;
  const inits = [world.init2()];
  vm.enableExitHypercall(1 << 12);
  const low = world.anonymous(DATA);
  const shared = world.anonymous(DATA_PAGES * PAGE);
  const lowFile = vm.createGuestMemfd(DATA);
  const file = vm.createGuestMemfd(DATA_PAGES * PAGE);
  vm.addMemslot({ slot: 0, gpa: 0, size: DATA, backing: low, guestMemfd: lowFile });
  const slot = vm.addMemslot({ slot: 1, gpa: DATA, size: DATA_PAGES * PAGE, backing: shared, guestMemfd: file });
  vm.setPrivate(0, GHCB_GPA);
  vm.setPrivate(GHCB_GPA + PAGE, DATA - GHCB_GPA - PAGE);
  const image = world.image(write);
  const staging = world.anonymous(DATA);
  for (const { gpa, bytes } of image.memory) staging.write(gpa, bytes);
  const vcpu = vm.createVcpu();
  vcpu.x64.updateSregs(image.sregs);
  vcpu.x64.setRegs(image.regs);
  inits.push(world.snpStart());
  /** Loads the low memory, all normal pages. */
  const load = (): Outcome[] =>
    (
      [
        [0, GHCB_GPA],
        [GHCB_GPA + PAGE, LOW],
      ] as const
    ).map(
      ([from, to]) =>
        world.snpUpdate({
          gfn_start: from / PAGE,
          uaddr: staging.hva + from,
          len: to - from,
          type: TYPE.KVM_SEV_SNP_PAGE_TYPE_NORMAL,
        }).outcome,
    );
  const launch = (): Outcome[] => [...load(), world.snpFinish()];
  return { world, vm, vcpu, low, shared, lowFile, file, slot, staging, inits, load, launch, go: () => world.go(vcpu) };
}
