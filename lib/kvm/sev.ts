/**
 * The launch commands of SEV, SEV-ES and SEV-SNP on one VM, with the descriptor of the firmware that they go through. Refusals are KernelErrors
 * whose hint names the firmware's code. Documentation/virt/kvm/x86/amd-memory-encryption.rst
 */
import { Descriptor } from '../kernel/descriptor.ts';
import { KernelError } from '../kernel/errors.ts';
import {
  KVM_MEMORY_ENCRYPT_OP,
  KVM_MEMORY_ENCRYPT_REG_REGION,
  KVM_MEMORY_ENCRYPT_UNREG_REGION,
  KVM_SEV,
  KVM_SEV_SNP_PAGE_TYPE,
  kvm_enc_region,
  kvm_sev_cmd,
  kvm_sev_guest_status,
  kvm_sev_init,
  kvm_sev_launch_measure,
  kvm_sev_launch_start,
  kvm_sev_launch_update_data,
  kvm_sev_snp_launch_finish,
  kvm_sev_snp_launch_start,
  kvm_sev_snp_launch_update,
  SEV_RET,
} from '../uapi/index.ts';
import { sevHint } from './sev-hints.ts';
import type { Vm } from './vm.ts';

const ID = KVM_SEV.value;
const DATA = kvm_sev_cmd.offsets.data;
const O_RDWR = 2;
type SnpUpdate = Parameters<typeof kvm_sev_snp_launch_update.encode>[0];

export class Sev extends Descriptor {
  readonly vm: Vm;

  private constructor(vm: Vm, fd: number) {
    super(vm.sys, vm, 'file', fd);
    this.vm = vm;
  }

  /** Opens /dev/sev for the commands of a VM; closed with the VM at the latest. ENOENT without the firmware's driver, EACCES without the right. */
  static open(vm: Vm): Sev {
    return new Sev(vm, vm.sys.open('/dev/sev', O_RDWR));
  }

  /** KVM_MEMORY_ENCRYPT_OP: one command by its id; `data` is its struct, and comes back. */
  command(id: number, data?: Uint8Array): void {
    const bytes = kvm_sev_cmd.encode({ id, sev_fd: this.fd });
    try {
      this.vm.ioctl(KVM_MEMORY_ENCRYPT_OP, bytes, data === undefined ? undefined : [[DATA, data]]);
    } catch (error) {
      throw error instanceof KernelError ? explained(error, id, kvm_sev_cmd.get(bytes, 'error')) : error;
    }
  }

  /** KVM_SEV_INIT2, before the first vCPU. EINVAL when done already or not for this VM type, EBUSY when no ASID is left. */
  init2(fields: Parameters<typeof kvm_sev_init.encode>[0] = {}): void {
    this.command(ID.KVM_SEV_INIT2, kvm_sev_init.encode(fields));
  }

  /** KVM_SEV_LAUNCH_START. `policy`: bit 0 no debugging, bit 2 SEV-ES needed. The firmware's handle of the guest. */
  launchStart(policy: number): number {
    const bytes = kvm_sev_launch_start.encode({ policy });
    this.command(ID.KVM_SEV_LAUNCH_START, bytes);
    return kvm_sev_launch_start.get(bytes, 'handle');
  }

  /** KVM_SEV_LAUNCH_UPDATE_DATA: encrypts `length` bytes at `hva` where they lie. Multiples of 16. */
  launchUpdateData(hva: number | bigint, length: number): void {
    this.command(ID.KVM_SEV_LAUNCH_UPDATE_DATA, kvm_sev_launch_update_data.encode({ uaddr: hva, len: length }));
  }

  /** KVM_SEV_LAUNCH_UPDATE_VMSA, SEV-ES: encrypts and seals the registers of every vCPU. */
  launchUpdateVmsa(): void {
    this.command(ID.KVM_SEV_LAUNCH_UPDATE_VMSA);
  }

  /** KVM_SEV_LAUNCH_MEASURE into `length` bytes (48 are what there is) at `hva`. Closes the measurement. */
  launchMeasure(hva: number | bigint, length = 48): void {
    this.command(ID.KVM_SEV_LAUNCH_MEASURE, kvm_sev_launch_measure.encode({ uaddr: hva, len: length }));
  }

  launchFinish(): void {
    this.command(ID.KVM_SEV_LAUNCH_FINISH);
  }

  guestStatus(): { readonly handle: number; readonly policy: number; readonly state: number } {
    const bytes = kvm_sev_guest_status.encode();
    this.command(ID.KVM_SEV_GUEST_STATUS, bytes);
    return kvm_sev_guest_status.decode(bytes);
  }

  /** KVM_MEMORY_ENCRYPT_REG_REGION: pins memory that the guest may encrypt, so that it is never moved. ENOMEM over RLIMIT_MEMLOCK. */
  registerRegion(hva: number, size: number): void {
    this.vm.ioctl(KVM_MEMORY_ENCRYPT_REG_REGION, kvm_enc_region.encode({ addr: hva, size }));
  }

  /** KVM_MEMORY_ENCRYPT_UNREG_REGION: EINVAL unless it is exactly a range that was registered. */
  unregisterRegion(hva: number, size: number): void {
    this.vm.ioctl(KVM_MEMORY_ENCRYPT_UNREG_REGION, kvm_enc_region.encode({ addr: hva, size }));
  }

  /** KVM_SEV_SNP_LAUNCH_START. `policy`: bit 17 must be set. */
  snpLaunchStart(policy: bigint): void {
    this.command(ID.KVM_SEV_SNP_LAUNCH_START, kvm_sev_snp_launch_start.encode({ policy }));
  }

  /** One KVM_SEV_SNP_LAUNCH_UPDATE: what is left of the range. It may do a part and say 0: an error behind the first page is told at the next try. */
  snpLaunchUpdate(fields: SnpUpdate): { readonly gfn_start: number; readonly uaddr: number; readonly len: number } {
    const bytes = kvm_sev_snp_launch_update.encode(fields);
    this.command(ID.KVM_SEV_SNP_LAUNCH_UPDATE, bytes);
    return kvm_sev_snp_launch_update.decode(bytes);
  }

  /**
   * Adds a whole range: SNP_LAUNCH_UPDATE until nothing is left. Normal pages from `hva` (0, with in-place conversion: they lie in the file).
   * All bytes count; every refusal is EIO.
   */
  snpLaunchUpdateAll(gpa: number, hva: number, length: number): void {
    const type = KVM_SEV_SNP_PAGE_TYPE.value.KVM_SEV_SNP_PAGE_TYPE_NORMAL;
    let left = { gfn_start: gpa / 4096, uaddr: hva, len: length };
    while (left.len > 0) left = this.snpLaunchUpdate({ ...left, type });
  }

  /** KVM_SEV_SNP_LAUNCH_FINISH: measures and seals the vCPUs. */
  snpLaunchFinish(fields: Parameters<typeof kvm_sev_snp_launch_finish.encode>[0] = {}): void {
    this.command(ID.KVM_SEV_SNP_LAUNCH_FINISH, kvm_sev_snp_launch_finish.encode(fields));
  }
}

const nameOf = (set: { readonly entries: ReadonlyMap<string, bigint> }, value: number): string =>
  [...set.entries].find(([, entry]) => entry === BigInt(value))?.[0] ?? String(value);

/** The same refusal, with the command's name and what the firmware said. */
function explained(error: KernelError, id: number, code: number): KernelError {
  const command = nameOf(KVM_SEV, id);
  const firmware = code === 0 ? '' : `the firmware says ${nameOf(SEV_RET, code)} (${code}); `;
  const { errno, syscall, args } = error;
  const hint = `${firmware}${sevHint(command, error.code, code) ?? error.hint ?? ''}`;
  return new KernelError({ errno, syscall, args, request: `${error.request ?? syscall}(${command})`, hint });
}
