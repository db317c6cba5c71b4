/** Where vCPUs wait while a machine is paused. */
export class Gate {
  #opened: Promise<void> | undefined;
  #open: (() => void) | undefined;

  get closed(): boolean {
    return this.#opened !== undefined;
  }

  close(): void {
    if (this.#opened !== undefined) return;
    this.#opened = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(): void {
    this.#opened = undefined;
    this.#open?.();
  }

  /** Resolves once the gate is open. */
  async passed(): Promise<void> {
    while (this.#opened !== undefined) await this.#opened;
  }
}
