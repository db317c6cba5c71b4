/**
 * What LAUNCH_MEASURE of SEV and SEV-ES answers: the SHA-256 of everything that was encrypted at the launch, under a key that only the guest's
 * owner and the firmware know. Secure Encrypted Virtualization API (AMD 55766), LAUNCH_MEASURE.
 */
import { createHash, createHmac } from 'node:crypto';

/** The first byte of what is authenticated. */
const CONTEXT = 0x04;

export interface SevMeasurementInput {
  /** Transport integrity key: 16 bytes that the owner put into the launch session. */
  readonly tik: Uint8Array;
  /** Digest of the launch, see {@link SevLaunchDigest}: 32 bytes. */
  readonly digest: Uint8Array;
  /** Of LAUNCH_START. */
  readonly policy: number;
  /** Version of the firmware's interface, and its build. */
  readonly apiMajor: number;
  readonly apiMinor: number;
  readonly build: number;
  /** The nonce that follows the measurement: 16 bytes. */
  readonly nonce: Uint8Array;
}

const ofLength = (what: string, bytes: Uint8Array, length: number): Uint8Array => {
  if (bytes.length !== length) throw new RangeError(`${what} has ${length} bytes, got ${bytes.length}`);
  return bytes;
};

/** HMAC-SHA-256, 32 bytes. The blob of KVM_SEV_LAUNCH_MEASURE is this and the nonce: 48 bytes. */
export function sevLaunchMeasurement(input: SevMeasurementInput): Uint8Array {
  const head = new Uint8Array(8);
  const view = new DataView(head.buffer);
  [CONTEXT, input.apiMajor, input.apiMinor, input.build].forEach((byte, i) => {
    view.setUint8(i, byte);
  });
  view.setUint32(4, input.policy, true);
  const hmac = createHmac('sha256', ofLength('the transport integrity key', input.tik, 16));
  hmac
    .update(head)
    .update(ofLength('the launch digest', input.digest, 32))
    .update(ofLength('the nonce', input.nonce, 16));
  return new Uint8Array(hmac.digest());
}

/** Follows a launch: the plaintext of LAUNCH_UPDATE_DATA and the pages of LAUNCH_UPDATE_VMSA, in their order. */
export class SevLaunchDigest {
  readonly #hash = createHash('sha256');

  update(bytes: Uint8Array): this {
    this.#hash.update(bytes);
    return this;
  }

  /** 32 bytes, of what there is so far. */
  get digest(): Uint8Array {
    return new Uint8Array(this.#hash.copy().digest());
  }
}
