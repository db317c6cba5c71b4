/**
 * The secure processor's part in SEV and SEV-ES: states of a guest and what each command asks of them. A model after the SEV API
 * specification (AMD 55766), chapter 6; no certificates, so a session's keys are all zeros and every owner can check a measurement.
 * Results are firmware codes.
 */
import { createCipheriv, createHmac, randomBytes } from 'node:crypto';
import { SevLaunchDigest, sevLaunchMeasurement } from '../../measure/sev.ts';
import { SEV_GUEST_STATE, SEV_RET } from '../../uapi/sev.ts';
import { FIRMWARE, type SevPlatform } from './platform.ts';

const RET = SEV_RET.value;
const STATE = SEV_GUEST_STATE;
export const POLICY = { noDebug: 1, es: 4 } as const;
const MEASUREMENT = 48;
const SECRET_HEADER = 52;
/** Transport keys of a launch without a session: see the head of this file. */
const ZERO_KEY = new Uint8Array(16);

export class SevGuest {
  readonly handle: number;
  readonly policy: number;
  readonly #digest = new SevLaunchDigest();
  #measurement: Uint8Array | undefined;
  state: number = STATE.launchUpdate;
  asid: number | undefined;

  private constructor(handle: number, policy: number) {
    this.handle = handle;
    this.policy = policy;
  }

  /** LAUNCH_START: the new guest, or a code. `share` is the handle of a guest whose key it gets; 0 for a key of its own. */
  static start(platform: SevPlatform, share: number, policy: number): SevGuest | number {
    if (share !== 0 && !platform.guests.has(share)) return RET.SEV_RET_INVALID_GUEST;
    // The lowest version of the interface that the owner trusts.
    const wanted = ((policy >>> 16) & 0xff) * 256 + (policy >>> 24);
    if (wanted > FIRMWARE.apiMajor * 256 + FIRMWARE.apiMinor) return RET.SEV_RET_POLICY_FAILURE;
    const guest = new SevGuest(platform.nextHandle(), policy);
    platform.guests.set(guest.handle, guest);
    return guest;
  }

  /** ACTIVATE: the guest's key is put behind an address-space id. */
  activate(platform: SevPlatform, asid: number, es: boolean): number {
    for (const other of platform.guests.values()) if (other.asid === asid) return RET.SEV_RET_ASID_OWNED;
    if (((this.policy & POLICY.es) !== 0) !== es) return RET.SEV_RET_INVALID_ASID;
    this.asid = asid;
    return RET.SEV_RET_SUCCESS;
  }

  /** Whether LAUNCH_UPDATE_DATA takes a piece. `encrypt` is called when it does. */
  updateData(address: number, bytes: Uint8Array, encrypt: () => void): number {
    if (this.state !== STATE.launchUpdate) return RET.SEV_RET_INVALID_GUEST_STATE;
    if (address % 16 !== 0) return RET.SEV_RET_INVALID_ADDRESS;
    if (bytes.length % 16 !== 0) return RET.SEV_RET_INVALID_LEN;
    this.#digest.update(bytes);
    encrypt();
    return RET.SEV_RET_SUCCESS;
  }

  updateVmsa(page: Uint8Array): number {
    if (this.state !== STATE.launchUpdate) return RET.SEV_RET_INVALID_GUEST_STATE;
    if ((this.policy & POLICY.es) === 0) return RET.SEV_RET_POLICY_FAILURE;
    this.#digest.update(page);
    return RET.SEV_RET_SUCCESS;
  }

  /** LAUNCH_MEASURE into `into`, which is absent when only the length is asked for. */
  measure(into: Uint8Array | undefined): { readonly code: number; readonly length: number } {
    if (this.state !== STATE.launchUpdate) return { code: RET.SEV_RET_INVALID_GUEST_STATE, length: into?.length ?? 0 };
    if (into === undefined || into.length < MEASUREMENT) return { code: RET.SEV_RET_INVALID_LEN, length: MEASUREMENT };
    const nonce = new Uint8Array(randomBytes(16));
    const { policy } = this;
    const { digest } = this.#digest;
    this.#measurement = sevLaunchMeasurement({ ...FIRMWARE, tik: ZERO_KEY, digest, policy, nonce });
    into.set(this.#measurement);
    into.set(nonce, this.#measurement.length);
    this.state = STATE.launchSecret;
    return { code: RET.SEV_RET_SUCCESS, length: MEASUREMENT };
  }

  /** LAUNCH_SECRET: the plaintext to put into memory, or a code. */
  secret(header: Uint8Array, packet: Uint8Array, length: number): Uint8Array | number {
    if (this.state !== STATE.launchSecret || this.#measurement === undefined) return RET.SEV_RET_INVALID_GUEST_STATE;
    if (header.length !== SECRET_HEADER || length % 16 !== 0 || packet.length < length) return RET.SEV_RET_INVALID_LEN;
    const lengths = new Uint8Array(8);
    const view = new DataView(lengths.buffer);
    view.setUint32(0, length, true);
    view.setUint32(4, packet.length, true);
    const mac = createHmac('sha256', ZERO_KEY)
      .update(Uint8Array.of(0x01))
      .update(header.subarray(0, 20))
      .update(lengths)
      .update(packet)
      .update(this.#measurement)
      .digest();
    if (mac.compare(header.subarray(20)) !== 0) return RET.SEV_RET_BAD_MEASUREMENT;
    const plain = createCipheriv('aes-128-ctr', ZERO_KEY, header.subarray(4, 20)).update(packet.subarray(0, length));
    return new Uint8Array(plain);
  }

  finish(): number {
    if (this.state !== STATE.launchSecret) return RET.SEV_RET_INVALID_GUEST_STATE;
    this.state = STATE.running;
    return RET.SEV_RET_SUCCESS;
  }

  /** Whether DBG_DECRYPT and DBG_ENCRYPT may. */
  debug(): number {
    return (this.policy & POLICY.noDebug) === 0 ? RET.SEV_RET_SUCCESS : RET.SEV_RET_POLICY_FAILURE;
  }

  /** DECOMMISSION. */
  end(platform: SevPlatform): void {
    platform.guests.delete(this.handle);
  }
}
