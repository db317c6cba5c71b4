/** Trust domains on the simulated kernel, step by step. */
import { program, ReportCollector, x64 } from '../../../../lib/guest/index.ts';
import { errnoName } from '../../../../lib/kernel/errno.ts';
import { KernelError } from '../../../../lib/kernel/errors.ts';
import { Sys } from '../../../../lib/kernel/sys.ts';
import type { Exit } from '../../../../lib/kvm/exits.ts';
import { Kvm } from '../../../../lib/kvm/kvm.ts';
import type { Vcpu } from '../../../../lib/kvm/vcpu.ts';
import { Mapping } from '../../../../lib/memory/mapping.ts';
import { type SimulateOptions, simulate } from '../../../../lib/sim/simulate.ts';
import {
  KVM_MEMORY_ENCRYPT_OP,
  KVM_TDX,
  type kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_tdx_capabilities,
  kvm_tdx_cmd,
  kvm_tdx_init_mem_region,
  kvm_tdx_init_vm,
} from '../../../../lib/uapi/index.ts';

export const PAGE = 4096;
export const DATA = 0x20_0000;
export const DATA_PAGES = 16;
export const LOW = 0x1_8000;
export const RESET = 0xffff_f000;
export const ID = KVM_TDX.value;
const TDX = 5;
const SPLIT_IRQCHIP = 121;
export const VE_DISABLE = 1n << 28n;

type Write = Parameters<typeof program<'x64'>>[1];
type Entry = NonNullable<Parameters<typeof kvm_cpuid_entry2.encode>[0]>;

export class TdxWorld {
  readonly kernel;
  readonly sys: Sys;
  readonly kvm: Kvm;
  readonly vm;
  readonly reports = new Map<number, bigint>();
  readonly #collector = new ReportCollector();

  constructor(options: SimulateOptions = { technologies: ['tdx'] }) {
    this.kernel = simulate(options);
    this.sys = new Sys(this.kernel);
    this.kvm = Kvm.open(this.sys);
    this.vm = this.kvm.createVm(TDX);
  }

  /** `ok`, or the errno with the module's code behind a colon. `data` is a struct, or a bare value. */
  command(
    id: number,
    data: Uint8Array | bigint,
    on: { ioctl: Vcpu['ioctl'] } = this.vm,
    flags = 0,
    hwError = 0n,
  ): string {
    const isValue = typeof data === 'bigint';
    const bytes = kvm_tdx_cmd.encode({ id, flags, hw_error: hwError, data: isValue ? data : 0n });
    try {
      on.ioctl(KVM_MEMORY_ENCRYPT_OP, bytes, isValue ? undefined : [[8, data]]);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      const code = kvm_tdx_cmd.decode(bytes).hw_error;
      return code === hwError ? errnoName(error.errno) : `${errnoName(error.errno)}:0x${code.toString(16)}`;
    }
    return 'ok';
  }

  capabilities(room = 16): { outcome: string; count: number } {
    const bytes = kvm_tdx_capabilities.encode({ cpuid: { nent: room } }, room);
    const outcome = this.command(ID.KVM_TDX_CAPABILITIES, bytes);
    return { outcome, count: kvm_tdx_capabilities.decode(bytes).cpuid.nent };
  }

  initVm(
    fields: Partial<Parameters<typeof kvm_tdx_init_vm.encode>[0]> = {},
    entries: readonly Entry[] = [{ function: 0x8000_0008, eax: 48 << 16 }],
  ): string {
    const values = { ...fields, cpuid: { nent: entries.length } };
    return this.command(ID.KVM_TDX_INIT_VM, kvm_tdx_init_vm.encode(values, entries));
  }

  splitIrqchip(): string {
    const result = this.vm.raw.enableCap(SPLIT_IRQCHIP, [24]);
    return result.ok ? 'ok' : result.code;
  }

  /** SET_CPUID2 from GET_CPUID, as a VMM does, and INIT_VCPU. */
  initVcpu(vcpu: Vcpu): string {
    const bytes = kvm_cpuid2.encode({ nent: 64 }, 64);
    const got = this.command(ID.KVM_TDX_GET_CPUID, bytes, vcpu);
    if (got !== 'ok') return got;
    vcpu.x64.setCpuid(kvm_cpuid2.decodeElements(bytes));
    return this.command(ID.KVM_TDX_INIT_VCPU, 0n, vcpu);
  }

  memRegion(
    vcpu: Vcpu,
    region: Parameters<typeof kvm_tdx_init_mem_region.encode>[0],
    measure = true,
  ): { outcome: string; left: { source_addr: number; gpa: number; nr_pages: number } } {
    const bytes = kvm_tdx_init_mem_region.encode(region);
    const outcome = this.command(ID.KVM_TDX_INIT_MEM_REGION, bytes, vcpu, measure ? 1 : 0);
    return { outcome, left: kvm_tdx_init_mem_region.decode(bytes) };
  }

  finalise(): string {
    return this.command(ID.KVM_TDX_FINALIZE_VM, 0n);
  }

  anonymous(length: number): Mapping {
    return Mapping.anonymous(this.sys, length);
  }

  go(vcpu: Vcpu, timeoutMs = 10_000): Exit {
    for (;;) {
      const exit = vcpu.runSync({ timeoutMs });
      const event = exit.name === 'KVM_EXIT_MMIO' ? this.#collector.accept(exit) : undefined;
      if (event === undefined) return exit;
      if (event !== 'pending' && event.kind === 'report') this.reports.set(event.tag, event.value);
    }
  }
}

/** A trust domain with its slots, a ready vCPU and an image that is not loaded yet. Pages from DATA on are shared. */
export function tdxGuest(write: Write, attributes = 0n) {
  const world = new TdxWorld();
  const { vm } = world;
  vm.enableExitHypercall(1 << 12);
  const inits = [world.splitIrqchip(), world.initVm({ attributes })];
  const vcpu = vm.createVcpu();
  inits.push(world.initVcpu(vcpu));
  const lowFile = vm.createGuestMemfd(DATA);
  const file = vm.createGuestMemfd(DATA_PAGES * PAGE);
  const resetFile = vm.createGuestMemfd(PAGE);
  const shared = world.anonymous(DATA_PAGES * PAGE);
  vm.addMemslot({ slot: 0, gpa: 0, size: DATA, backing: world.anonymous(DATA), guestMemfd: lowFile });
  const slot = vm.addMemslot({ slot: 1, gpa: DATA, size: DATA_PAGES * PAGE, backing: shared, guestMemfd: file });
  vm.addMemslot({ slot: 2, gpa: RESET, size: PAGE, backing: world.anonymous(PAGE), guestMemfd: resetFile });
  vm.setPrivate(0, DATA);
  vm.setPrivate(RESET, PAGE);
  const staging = world.anonymous(DATA);
  const reset = world.anonymous(PAGE);
  for (const { gpa, bytes } of x64.startState(program({ arch: 'x64', technology: 'tdx' }, write)).memory) {
    if (gpa === RESET) reset.write(0, bytes);
    else staging.write(gpa, bytes);
  }
  const load = (): string[] => [
    world.memRegion(vcpu, { source_addr: staging.hva, gpa: 0, nr_pages: LOW / PAGE }).outcome,
    world.memRegion(vcpu, { source_addr: reset.hva, gpa: RESET, nr_pages: 1 }).outcome,
  ];
  const launch = (): string[] => [...load(), world.finalise()];
  return {
    world,
    vm,
    vcpu,
    lowFile,
    file,
    slot,
    shared,
    staging,
    reset,
    inits,
    load,
    launch,
    go: () => world.go(vcpu),
  };
}
