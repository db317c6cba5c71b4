/** The pages that a vCPU shares with the process: struct kvm_run, the bytes of port accesses, the ring of coalesced MMIO. */
import { KVM_RUN_EXIT_OFFSET, kvm_run } from '../../uapi/kvm-run.ts';
import { PAGE_SIZE } from '../page.ts';
import { PageStore } from '../page-store.ts';

const AT = kvm_run.offsets;
const PIO_PAGE = 1;
export const PIO_OFFSET = PIO_PAGE * PAGE_SIZE;

const dataView = (page: Uint8Array): DataView => new DataView(page.buffer, page.byteOffset, PAGE_SIZE);

export class RunPage {
  readonly store = new PageStore();
  /** The bytes move when a view is made of them. */
  #generation = -1;
  #run = dataView(this.store.write(0));
  #pio = this.store.write(PIO_PAGE);

  #refresh(): void {
    if (this.#generation === this.store.generation) return;
    this.#run = dataView(this.store.write(0));
    this.#pio = this.store.write(PIO_PAGE);
    this.#generation = this.store.generation;
  }

  /** struct kvm_run. */
  get run(): DataView {
    this.#refresh();
    return this.#run;
  }

  /** The bytes of a port access. */
  get pio(): Uint8Array {
    this.#refresh();
    return this.#pio;
  }

  get immediateExit(): boolean {
    return this.run.getUint8(AT.immediate_exit) !== 0;
  }

  set exitReason(reason: number) {
    this.run.setUint32(AT.exit_reason, reason, true);
  }

  /** `length` bytes of the exit's payload. */
  payload(offset: number, length: number): Uint8Array {
    const { run } = this;
    return new Uint8Array(run.buffer, run.byteOffset + KVM_RUN_EXIT_OFFSET + offset, length);
  }
}
