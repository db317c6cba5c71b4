/** The measurement of SEV and SEV-ES, written out as the SEV API specification has it (LAUNCH_MEASURE). */
import { createHash, createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SevLaunchDigest, sevLaunchMeasurement } from '../../../lib/measure/index.ts';

const tik = new Uint8Array(16).fill(1);
const nonce = new Uint8Array(16).fill(2);
const version = { apiMajor: 1, apiMinor: 55, build: 21 };

describe('the measurement of SEV', () => {
  it('authenticates version, policy, digest and nonce', () => {
    const digest = new SevLaunchDigest().update(Uint8Array.of(1, 2)).update(Uint8Array.of(3)).digest;
    expect(Buffer.from(digest).toString('hex')).toBe(
      createHash('sha256')
        .update(Buffer.of(1, 2, 3))
        .digest('hex'),
    );
    const text = Buffer.concat([Buffer.of(4, 1, 55, 21, 5, 0, 0, 0), digest, nonce]);
    const expected = createHmac('sha256', tik).update(text).digest('hex');
    const measured = sevLaunchMeasurement({ ...version, tik, digest, policy: 5, nonce });
    expect(Buffer.from(measured).toString('hex')).toBe(expected);
  });

  it('refuses keys, digests and nonces of another length', () => {
    const good = { ...version, tik, digest: new Uint8Array(32), policy: 0, nonce };
    expect(() => sevLaunchMeasurement({ ...good, tik: new Uint8Array(15) })).toThrow('16 bytes');
    expect(() => sevLaunchMeasurement({ ...good, digest: new Uint8Array(48) })).toThrow('32 bytes');
    expect(() => sevLaunchMeasurement({ ...good, nonce: new Uint8Array(0) })).toThrow('16 bytes');
  });
});
