/** A fault planted in a kernel, and the scenario that must notice it. */
export interface Mutant {
  /** What is wrong. */
  readonly name: string;
  /** In the kernel's source tree. */
  readonly file: string;
  /** A piece of the file that occurs once. */
  readonly original: string;
  /** What stands there in the faulty kernel. */
  readonly replacement: string;
  /** Name of a scenario that fails on it. */
  readonly expected: string;
}
