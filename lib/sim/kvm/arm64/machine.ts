/** KVM on arm64, without an interrupt controller; with `pkvm` in its protected mode. arch/arm64/kvm */
import { KVM_CAP } from '../../../uapi/kvm-caps.ts';
import { EFAULT, EINVAL, EPERM } from '../../errno.ts';
import type { Process } from '../../process.ts';
import type { Profile } from '../../profile.ts';
import { GMEM_INIT_SHARED, GMEM_MMAP } from '../capabilities.ts';
import { KvmMachine, type MachineLimits, type MachineOptions, type SlotChange, type SlotPlan } from '../machine.ts';
import { KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY } from '../slot.ts';
import type { Vm } from '../vm.ts';
import { arm64Extension, isAllowed } from './capabilities.ts';
import { Arm64Vcpu } from './vcpu.ts';
import { Arm64Vm } from './vm.ts';
import { vmRequest } from './vm-requests.ts';

const PROTECTED = 2 ** 31;
const IPA_BITS_MASK = 0xff;
const DEFAULT_IPA_BITS = 40;
const LEAST_IPA_BITS = 32;
/** KVM_VM_TYPE_ARM_MASK. */
const KNOWN_TYPE_BITS = 0x8000_00ffn;

/** No in-kernel interrupt controller bounds the number of vCPUs; KVM keeps no slots for itself. */
const LIMITS: MachineLimits = { memslots: 32767, vcpus: 512, vcpuIds: 512, runPages: 2 };

export class Arm64Machine extends KvmMachine {
  override readonly limits = LIMITS;
  /** TASK_SIZE_MAX of 48 bits of virtual addresses. */
  override readonly userLimit = 1n << 48n;
  override readonly memoryAttributes = false;
  override readonly guestMemfd: boolean;

  constructor(profile: Profile, options: MachineOptions = {}) {
    super(profile, options.technologies ?? [], options);
    const foreign = [...this.technologies].filter((technology) => technology !== 'pkvm');
    if (foreign.length > 0)
      throw new RangeError(`${foreign.join(', ')}: on arm64 there is pkvm, the rest is of x86-64`);
    if (profile.patches.size > 0) throw new RangeError('patches are simulated on x86-64 only');
    if (profile.release !== '7.3') throw new RangeError('arm64 is simulated as of Linux 7.3 only');
    if (options.emulatesGuests || options.twoDimensionalPaging === false) {
      throw new RangeError('guests of arm64 always run on the processor, with page tables of their own');
    }
    if (this.physicalBits < LEAST_IPA_BITS || this.physicalBits > 52) {
      throw new RangeError(`an arm64 processor has 32 to 52 physical address bits, not ${this.physicalBits}`);
    }
    this.guestMemfd = profile.guestMemfdMmap;
  }

  /** kvm-arm.mode=protected. */
  get protects(): boolean {
    return this.technologies.has('pkvm');
  }

  isProtected(type: number): boolean {
    return this.protects && type >= PROTECTED;
  }

  /** kvm_init_ipa_range: under pKVM always all that there are. */
  ipaBits(type: number): number {
    if (this.protects) return this.physicalBits;
    return (type & IPA_BITS_MASK) === 0 ? DEFAULT_IPA_BITS : type & IPA_BITS_MASK;
  }

  /** kvm_arch_init_vm: unknown bits, the size of the IPA space, protection. */
  override judgeType(type: bigint): number {
    if ((type & ~KNOWN_TYPE_BITS) !== 0n) return -EINVAL;
    const bits = this.ipaBits(Number(type));
    if (bits > this.physicalBits || bits < LEAST_IPA_BITS) return -EINVAL;
    return type >= BigInt(PROTECTED) && !this.protects ? -EINVAL : 0;
  }

  override hasPrivateMemory(): boolean {
    return false;
  }

  override addressSpaces(): number {
    return 1;
  }

  override takesGuestMemfd(): boolean {
    return this.guestMemfd;
  }

  override guestMemfdFlags(): number {
    return this.guestMemfd ? GMEM_MMAP | GMEM_INIT_SHARED : 0;
  }

  override extension(capability: number, type: number | undefined): number {
    return arm64Extension(this, capability, type);
  }

  override deviceRequest(): undefined {
    return undefined;
  }

  override vmRequest(vm: Vm, request: number, arg: bigint): number {
    return vmRequest(this, own(vm), request, arg);
  }

  override enableCapability(vm: Vm, capability: number): number {
    const C = KVM_CAP.value;
    if (!isAllowed(this, capability, vm.type)) return -EINVAL;
    if (capability === C.KVM_CAP_ARM_NISV_TO_USER) own(vm).tellsUndescribed = true;
    else if (capability === C.KVM_CAP_ARM_SYSTEM_SUSPEND) own(vm).suspends = true;
    else return -EINVAL;
    return 0;
  }

  override prepareSlot(vm: Vm, change: SlotChange, { gfn, pages, flags, mappable }: SlotPlan): number {
    if (this.isProtected(vm.type)) {
      if (own(vm).hasHypervisorVm && (change === 'delete' || change === 'move')) return -EPERM;
      if (change !== 'delete' && (flags & (KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)) !== 0) return -EPERM;
    }
    if (change === 'delete') return 0;
    if (gfn + pages > 2 ** (this.ipaBits(vm.type) - 12)) return -EFAULT;
    return mappable === false ? -EINVAL : 0;
  }

  override createVm(process: Process, type: number): Arm64Vm {
    return new Arm64Vm(this, process, type);
  }

  override createVcpu(vm: Vm, id: number): Arm64Vcpu {
    return new Arm64Vcpu(this, own(vm), id);
  }
}

/** VMs of this machine are made by it. */
function own(vm: Vm): Arm64Vm {
  if (!(vm instanceof Arm64Vm)) throw new TypeError('a VM of another architecture');
  return vm;
}
