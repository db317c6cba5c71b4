/**
 * The secure processor's part in SEV-SNP: the guest context and its launch. A model after the SEV-SNP Firmware ABI (AMD 56860), chapter 8.
 * Signatures of identity blocks are not checked, only what they say. Results are firmware codes.
 */
import { SNP_PAGE, SnpLaunchDigest, type SnpPageType, VMSA_GPA } from '../../measure/snp.ts';
import { SEV_RET } from '../../uapi/sev.ts';
import { correctCpuidPage } from './cpuid-page.ts';
import { FIRMWARE } from './platform.ts';

const RET = SEV_RET.value;
const DIGEST = 48;
const ID_BLOCK_POLICY = 0x58;

export class SnpContext {
  readonly policy: bigint;
  readonly #digest = new SnpLaunchDigest();
  state: 'launch' | 'running' = 'launch';

  private constructor(policy: bigint) {
    this.policy = policy;
  }

  /** SNP_LAUNCH_START, or its code: the policy's lowest version of the interface must be there. */
  static start(policy: bigint): SnpContext | number {
    const wanted = Number((policy >> 8n) & 0xffn) * 256 + Number(policy & 0xffn);
    if (wanted > FIRMWARE.apiMajor * 256 + FIRMWARE.apiMinor) return RET.SEV_RET_POLICY_FAILURE;
    return new SnpContext(policy);
  }

  /** 48 bytes. */
  get digest(): Uint8Array {
    return this.#digest.digest;
  }

  /**
   * SNP_LAUNCH_UPDATE of a page that KVM has just given to the guest. `contents` is what it holds, and what it shall hold afterwards; a CPUID
   * page that is refused is put right in place. `supported` is the CPUID of the machine.
   */
  update(type: SnpPageType, gpa: number, contents: Uint8Array, supported: Uint8Array): number {
    if (this.state !== 'launch') return RET.SEV_RET_INVALID_GUEST_STATE;
    if (type === SNP_PAGE.cpuid && !correctCpuidPage(contents, supported)) return RET.SEV_RET_INVALID_PARAM;
    if (type === SNP_PAGE.zero) contents.fill(0);
    if (type === SNP_PAGE.secrets) writeSecrets(contents);
    this.#digest.page(type, type === SNP_PAGE.vmsa ? VMSA_GPA : gpa, contents);
    return RET.SEV_RET_SUCCESS;
  }

  /** SNP_LAUNCH_FINISH; `idBlock` is what the owner expects. */
  finish(idBlock: Uint8Array | undefined): number {
    if (this.state !== 'launch') return RET.SEV_RET_INVALID_GUEST_STATE;
    if (idBlock !== undefined) {
      const view = new DataView(idBlock.buffer, idBlock.byteOffset, idBlock.byteLength);
      if (this.digest.some((byte, i) => byte !== idBlock[i])) return RET.SEV_RET_BAD_MEASUREMENT;
      if (view.getBigUint64(ID_BLOCK_POLICY, true) !== this.policy) return RET.SEV_RET_POLICY_FAILURE;
    }
    this.state = 'running';
    return RET.SEV_RET_SUCCESS;
  }
}

const SECRETS_VERSION = 3;
/** version, flags, family and model, reserved, workarounds; then four keys of 32 bytes. */
const KEYS_AT = 0x20;
const KEYS = 4 * 32;

/** The page in which the firmware gives the guest keys for talking to it. There are no messages here, so the keys are a pattern. */
function writeSecrets(page: Uint8Array): void {
  page.fill(0);
  new DataView(page.buffer, page.byteOffset).setUint32(0, SECRETS_VERSION, true);
  for (let i = 0; i < KEYS; i++) page[KEYS_AT + i] = (i * 37 + DIGEST) & 0xff;
}
