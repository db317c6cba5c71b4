/** Contents for guest memory at one address. */
export interface MemoryImage {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}
