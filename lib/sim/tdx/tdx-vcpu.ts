/** The commands of a trust domain's vCPUs, and the state in which one starts. arch/x86/kvm/vmx/tdx.c, tdx_vcpu_* */
import {
  KVM_TDX,
  KVM_TDX_CMD_FLAG,
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_tdx_cmd,
  kvm_tdx_init_mem_region,
} from '../../uapi/index.ts';
import { E2BIG, EFAULT, EINVAL, EIO } from '../errno.ts';
import type { X64Vcpu as Vcpu } from '../kvm/x64/vcpu.ts';
import { isAligned, PAGE_SIZE, pageOf } from '../page.ts';
import { userPage } from '../physical.ts';
import type { Process } from '../process.ts';
import type { Secure } from '../x64/secure.ts';
import { domainCpuid, hasX2Apic } from './platform.ts';
import { VE_VECTOR } from './tdx-bus.ts';
import type { TdxVm } from './tdx-vm.ts';

const ID = KVM_TDX.value;
const MEASURE = KVM_TDX_CMD_FLAG.value.KVM_TDX_MEASURE_MEMORY_REGION;
const REGION = kvm_tdx_init_mem_region.offsets;
const WRAP = 1n << 64n;
const EFER = 0xc000_0080;

const SEALED: Secure = {
  instructions: new Set(['tdcall']),
  vector: VE_VECTOR,
  reflects: new Map([
    ['in', -1],
    ['out', -1],
    ['hlt', -1],
    ['rdmsr', -1],
    ['wrmsr', -1],
  ]),
  refuses: new Set(['hypercall']),
  msrs: new Set([EFER, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0xc000_0081, 0xc000_0082, 0xc000_0084, 0x277]),
};

export function createVcpu({ cpu }: Vcpu): void {
  cpu.secure(SEALED);
}

/** tdx_vcpu_unlocked_ioctl, and behind it tdx_vcpu_ioctl. */
export function runVcpuCommand(domain: TdxVm, vcpu: Vcpu, arg: bigint): number {
  const bytes = domain.vm.process.user.read(arg, kvm_tdx_cmd.size);
  if (bytes === undefined) return -EFAULT;
  const { id, flags, data, hw_error } = kvm_tdx_cmd.decode(bytes);
  if (hw_error !== 0n || domain.state !== 'initialised') return -EINVAL;
  switch (id) {
    case ID.KVM_TDX_INIT_VCPU:
      return initVcpu(domain, vcpu, flags, data);
    case ID.KVM_TDX_INIT_MEM_REGION:
      return initMemRegion(domain, vcpu, flags, data);
    case ID.KVM_TDX_GET_CPUID:
      return getCpuid(domain, data);
    default:
      return -EINVAL;
  }
}

function initVcpu(domain: TdxVm, vcpu: Vcpu, flags: number, rcx: bigint): number {
  if (flags !== 0 || domain.ready.has(vcpu)) return -EINVAL;
  // The APIC must be in x2APIC mode, which the vCPU's CPUID has to allow.
  if (!hasX2Apic(vcpu.cpu.getCpuid())) return -EINVAL;
  start(domain, vcpu, rcx);
  domain.ready.add(vcpu);
  return 0;
}

const RESET_VECTOR = 0xffff_fff0n;
const CR0_INITIAL = 0x21n;
const CR4_INITIAL = 0x40n;
const EFER_INITIAL = 0x901n;

/** Intel TDX Module Base Architecture Specification, initial state of a vCPU: 32-bit protected mode without paging, at the reset vector. */
function start({ width, ready }: TdxVm, { cpu }: Vcpu, rcx: bigint): void {
  const sregs = cpu.getSregs();
  const flat = {
    base: 0n,
    limit: 0xffff_ffff,
    selector: 0,
    type: 3,
    present: 1,
    dpl: 0,
    db: 1,
    s: 1,
    l: 0,
    g: 1,
    avl: 0,
  };
  const data = { ...flat, unusable: 0, padding: 0 };
  cpu.setSregs({
    ...sregs,
    ...{ cs: { ...data, type: 11 }, ds: data, es: data, fs: data, gs: data, ss: data },
    ...{ cr0: CR0_INITIAL, cr3: 0n, cr4: CR4_INITIAL, efer: EFER_INITIAL },
    ...{ gdt: { ...sregs.gdt, base: 0n, limit: 0xffff }, idt: { ...sregs.idt, base: 0n, limit: 0 } },
  });
  const regs = cpu.getRegs();
  const index = BigInt(ready.size);
  cpu.setRegs({ ...regs, rip: RESET_VECTOR, rflags: 2n, rcx, r8: rcx, rbx: BigInt(width), rsi: index, rdx: 0n });
}

function initMemRegion(domain: TdxVm, vcpu: Vcpu, flags: number, address: bigint): number {
  const { user } = domain.vm.process;
  if (!domain.ready.has(vcpu)) return -EINVAL;
  if ((flags & ~MEASURE) !== 0) return -EINVAL;
  const bytes = user.read(address, kvm_tdx_init_mem_region.size);
  if (bytes === undefined) return -EFAULT;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let source = view.getBigUint64(REGION.source_addr, true);
  let gpa = view.getBigUint64(REGION.gpa, true);
  let pages = view.getBigUint64(REGION.nr_pages, true);
  const size = BigInt.asUintN(64, pages << 12n);
  // Since 7.0 the source must start a page.
  const { machine } = domain.vm;
  // A series under review adds what the file has.
  const inPlace = machine.convertsInPlace && source === 0n;
  if (!inPlace && (source === 0n || (!isAligned(source) && machine.since('7.0')))) return -EINVAL;
  if (!isAligned(gpa) || pages === 0n || size === 0n || gpa + size >= WRAP) return -EINVAL;
  if (isShared(domain, gpa) || isShared(domain, gpa + size - 1n)) return -EINVAL;
  let result = 0;
  while (pages > 0n) {
    result = addPage(domain, pageOf(gpa), inPlace ? undefined : source, (flags & MEASURE) !== 0);
    if (result !== 0) break;
    if (!inPlace) source += BigInt(PAGE_SIZE);
    gpa += BigInt(PAGE_SIZE);
    pages--;
  }
  // What is left is told also after an error, which is not swallowed either.
  view.setBigUint64(REGION.source_addr, source, true);
  view.setBigUint64(REGION.gpa, gpa, true);
  view.setBigUint64(REGION.nr_pages, pages, true);
  return user.write(address, bytes) ? result : -EFAULT;
}

const isShared = ({ width }: TdxVm, gpa: bigint): boolean => ((gpa >> BigInt(width - 1)) & 1n) === 1n;

/** A page's worth of the process's memory, which must be such that pages of it can be pinned. */
function readSource({ space, user }: Process, source: bigint): Uint8Array | undefined {
  for (const at of [source, source + BigInt(PAGE_SIZE - 1)]) {
    if (userPage(space, Number(at >> 12n), false) === undefined) return undefined;
  }
  return user.read(source, PAGE_SIZE);
}

/** kvm_gmem_populate for one page, with TDH.MEM.PAGE.ADD and TDH.MR.EXTEND. */
function addPage({ vm, sept, mrtd }: TdxVm, gfn: number, source: bigint | undefined, measure: boolean): number {
  const { memory, process } = vm;
  const slot = memory.slotAt(gfn);
  if (slot?.hasFile !== true) return -EINVAL;
  const { file } = slot;
  if (file === undefined) return -EFAULT;
  const given = source === undefined ? undefined : readSource(process, source);
  if (source !== undefined && given === undefined) return -EFAULT;
  const page = slot.filePage + gfn - slot.gfn;
  const raw = file.page(page, true);
  if (raw === undefined) return -EFAULT;
  if (!memory.isPrivate(gfn)) return -EINVAL;
  if (sept.get(gfn) !== undefined) return -EIO;
  const contents = given ?? raw.slice();
  raw.set(contents);
  sept.set(gfn, { frame: { store: file.pages, page }, state: 'mapped' });
  if (measure) mrtd.region(gfn * PAGE_SIZE, contents);
  else mrtd.addPage(gfn * PAGE_SIZE);
  return 0;
}

function getCpuid({ vm, width }: TdxVm, address: bigint): number {
  const { user } = vm.process;
  const head = user.read(address, kvm_cpuid2.size);
  if (head === undefined) return -EFAULT;
  const room = kvm_cpuid2.decode(head).nent;
  const entries = domainCpuid(vm.machine, width);
  kvm_cpuid2.set(head, 'nent', entries.length);
  if (!user.write(address, head)) return -EFAULT;
  // The number that it takes is told in any case.
  if (room < entries.length) return -E2BIG;
  const bytes = new Uint8Array(entries.length * kvm_cpuid_entry2.size);
  entries.forEach((entry, i) => {
    bytes.set(kvm_cpuid_entry2.encode(entry), i * kvm_cpuid_entry2.size);
  });
  return user.write(address + BigInt(kvm_cpuid2.size), bytes) ? 0 : -EFAULT;
}
