/** Keeps a stream's bytes up to a limit: its beginning or its end. */

export class Keep {
  readonly #limit: number;
  readonly #end: boolean;
  #parts: Buffer[] = [];
  #kept = 0;
  /** Bytes that came, kept or not. */
  total = 0;

  constructor(limit: number, which: 'beginning' | 'end') {
    this.#limit = limit;
    this.#end = which === 'end';
  }

  push(bytes: Buffer): void {
    this.total += bytes.length;
    if (!this.#end) {
      const part = bytes.subarray(0, Math.max(0, this.#limit - this.#kept));
      if (part.length > 0) this.#parts.push(part);
      this.#kept += part.length;
      return;
    }
    this.#parts.push(bytes);
    this.#kept += bytes.length;
    while (this.#kept - (this.#parts[0]?.length ?? 0) >= this.#limit) this.#kept -= this.#parts.shift()?.length ?? 0;
  }

  get truncated(): boolean {
    return this.total > this.#limit;
  }

  text(): string {
    const all = Buffer.concat(this.#parts);
    this.#parts = [all];
    return (this.#end ? all.subarray(Math.max(0, all.length - this.#limit)) : all).toString('utf8');
  }
}
