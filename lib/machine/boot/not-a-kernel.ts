/** A file that cannot be booted, and why. */
export class NotBootableError extends Error {
  constructor(why: string) {
    super(`not a kernel that can be booted: ${why}`);
    this.name = 'NotBootableError';
  }
}

export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
