/** A vCPU: run on the caller's thread or on its own, kicked, its exits decoded. */
import { Descriptor } from '../kernel/descriptor.ts';
import { errnoName } from '../kernel/errno.ts';
import { StateError } from '../kernel/errors.ts';
import type { Int, Kernel, PointerPatch } from '../kernel/kernel.ts';
import { KVM_PRE_FAULT_MEMORY, KVM_RUN, kvm_pre_fault_memory, kvm_run } from '../uapi/index.ts';
import { MAP, PROT } from '../uapi/mman.ts';
import type { Ioctl } from '../uapi/registry.ts';
import { Arm64State } from './arm64-state.ts';
import { answerPlace, decodeExit, decodeMemoryFault, type Exit, interrupted } from './exits.ts';
import type { Vm } from './vm.ts';
import { X64State } from './x64-state.ts';

const EINTR = 4;
/** The errnos with which KVM_RUN reports a memory fault. */
const FAULT_ERRNOS: ReadonlySet<number> = new Set([14, 133, 12]);

export interface RunOptions {
  /** Ends the run early: the vCPU is kicked, and the promise rejects with the signal's reason once the vCPU has stopped. */
  readonly signal?: AbortSignal;
}

function detacher(kernel: Kernel, handle: number, page: number, length: number): () => void {
  return () => {
    kernel.vcpuDetach(handle);
    kernel.munmap(page, length);
  };
}

export class Vcpu extends Descriptor {
  readonly vm: Vm;
  readonly id: number;
  /** Registers and the rest of the state of an x86-64 vCPU. */
  readonly x64: X64State;
  /** The state of an arm64 vCPU. */
  readonly arm64: Arm64State;
  readonly #handle: number;
  readonly #page: DataView;
  #running = false;
  #last: Exit | undefined;
  /** An abort kicked a run that ended otherwise: the kick is still pending, and nobody waits for it. */
  #leftover = false;

  /** Not for users: see {@link Vm.createVcpu}. */
  constructor(vm: Vm, fd: number, id: number, mmapSize: number) {
    const { sys } = vm;
    let page = 0;
    let handle: number;
    try {
      page = sys.mmap(0, mmapSize, PROT.value.PROT_READ | PROT.value.PROT_WRITE, MAP.value.MAP_SHARED, fd, 0);
      handle = sys.vcpuAttach(fd, page);
    } catch (error) {
      if (page !== 0) sys.kernel.munmap(page, mmapSize);
      sys.kernel.close(fd);
      throw error;
    }
    super(sys, vm, 'vcpu', fd, detacher(sys.kernel, handle, page, mmapSize));
    this.vm = vm;
    this.id = id;
    this.#handle = handle;
    this.#page = new DataView(sys.view(page, mmapSize));
    this.x64 = new X64State(this);
    this.arm64 = new Arm64State(this);
  }

  /** True while `run` is under way. */
  get running(): boolean {
    return this.#running;
  }

  /**
   * struct kvm_run and what follows it, not a copy. Detached when the vCPU is closed. While the vCPU runs, the kernel writes it.
   * Include/uapi/linux/kvm.h; layout `kvm_run`.
   */
  get runPage(): DataView {
    this.assertOpen();
    return this.#page;
  }

  /** The exit that the last run ended with. */
  get lastExit(): Exit | undefined {
    return this.#last;
  }

  #assertIdle(what: string): void {
    this.assertOpen();
    // The kernel would make the caller wait for the vCPU, and with it the event loop, perhaps for ever.
    if (this.#running) throw new StateError(`${what}: the vCPU runs; kick it and wait for its exit first`);
  }

  override ioctl(request: Ioctl | number, arg: Int | Uint8Array = 0, pointers?: readonly PointerPatch[]): number {
    this.#assertIdle(typeof request === 'number' ? 'ioctl' : request.name);
    return super.ioctl(request, arg, pointers);
  }

  /**
   * KVM_RUN on the calling thread, which it blocks: for scripts and tests. `timeoutMs` kicks the vCPU after so many milliseconds
   * (exit KVM_EXIT_INTR); without it a guest that never exits never returns. Throws KernelError for an errno that carries no exit.
   */
  runSync({ timeoutMs = 0 }: { readonly timeoutMs?: number } = {}): Exit {
    this.#assertIdle('runSync');
    // What is left until a deadline may be negative; to the kernel below that would mean no limit at all.
    if (timeoutMs < 0) throw new RangeError(`timeoutMs must be at least 0, got ${timeoutMs}`);
    let result = this.sys.kernel.vcpuRun(this.#handle, timeoutMs);
    if (result === -EINTR && this.#takeLeftover()) result = this.sys.kernel.vcpuRun(this.#handle, timeoutMs);
    return this.#finish(result);
  }

  #takeLeftover(): boolean {
    const had = this.#leftover;
    this.#leftover = false;
    return had;
  }

  /**
   * KVM_RUN on the vCPU's own thread; the event loop goes on. Throws what `runSync` throws, as a rejection; DisposedError when the vCPU is
   * closed meanwhile.
   */
  run({ signal }: RunOptions = {}): Promise<Exit> {
    try {
      this.#assertIdle('run');
      signal?.throwIfAborted();
    } catch (error) {
      return Promise.reject(error);
    }
    return new Promise((resolve, reject) => {
      const { kernel } = this.sys;
      const abort = (): void => this.kick();
      const done = (result: number): void => {
        if (result === -EINTR && !signal?.aborted && !this.closed && this.#takeLeftover()) {
          if (kernel.vcpuStart(this.#handle, done) >= 0) return;
        }
        this.#running = false;
        signal?.removeEventListener('abort', abort);
        try {
          // What the page held went with it, and an exit that ended the run at that moment as well.
          this.assertOpen();
          const exit = this.#finish(result);
          // A real exit that came at the same moment must not get lost.
          if (signal?.aborted && exit.name === 'KVM_EXIT_INTR') reject(signal.reason);
          else {
            this.#leftover = signal?.aborted === true;
            resolve(exit);
          }
        } catch (error) {
          reject(error);
        }
      };
      const started = kernel.vcpuStart(this.#handle, done);
      if (started < 0) {
        reject(this.sys.error('vcpuStart', -started, [this.#handle]));
        return;
      }
      this.#running = true;
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** Makes the run under way, or else the next one, end with KVM_EXIT_INTR. From any place in the program; kicks do not add up. */
  kick(): void {
    this.#leftover = false;
    if (!this.closed) this.sys.kernel.vcpuKick(this.#handle);
  }

  /**
   * Finishes what the last exit left open (the answer to an I/O, MMIO or hypercall exit) without executing the guest further, so that the
   * registers can be read or saved. KVM_EXIT_INTR when all is finished. Any other exit is the next part of the same instruction (an access
   * over a page boundary, string I/O): deal with it and call again.
   */
  completeIo(): Exit {
    this.kick();
    return this.runSync();
  }

  /**
   * Answers the last exit before the next run: the bytes of an I/O or MMIO read, or the return value of a hypercall. StateError when it
   * takes no answer, RangeError for more bytes than it takes.
   */
  answer(value: Int | Uint8Array): void {
    this.#assertIdle('answer');
    const place = this.#last === undefined ? undefined : answerPlace(this.#page, this.#last);
    if (place === undefined) throw new StateError(`the last exit (${this.#last?.name ?? 'none'}) takes no answer`);
    const bytes = value instanceof Uint8Array ? value : wordBytes(value, place.length);
    if (bytes.length > place.length) throw new RangeError(`the exit takes ${place.length} bytes, got ${bytes.length}`);
    new Uint8Array(this.#page.buffer, this.#page.byteOffset + place.offset, place.length).fill(0).set(bytes);
  }

  /** Runs again and again and gives every exit. Ends when `signal` is aborted or the loop is left; errors end it too. */
  async *exits({ signal }: RunOptions = {}): AsyncGenerator<Exit, void, void> {
    while (!signal?.aborted) {
      try {
        yield await this.run(signal === undefined ? {} : { signal });
      } catch (error) {
        if (signal?.aborted && error === signal.reason) return;
        throw error;
      }
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<Exit, void, void> {
    return this.exits();
  }

  /**
   * KVM_PRE_FAULT_MEMORY, Linux 6.11: maps guest memory before the guest touches it. One call does a part; returns what is left, in
   * bytes. EOPNOTSUPP without two-dimensional paging, ENOENT without a slot, EINVAL unaligned, EAGAIN while the slot is deleted.
   */
  preFault(gpa: Int, size: Int, flags: Int = 0): { gpa: number; size: number } {
    const range = kvm_pre_fault_memory.encode({ gpa, size, flags });
    this.ioctl(KVM_PRE_FAULT_MEMORY, range);
    return { gpa: kvm_pre_fault_memory.get(range, 'gpa'), size: kvm_pre_fault_memory.get(range, 'size') };
  }

  #finish(result: number): Exit {
    this.#last = undefined;
    const exit = this.#decode(result);
    this.#last = exit;
    return exit;
  }

  #decode(result: number): Exit {
    if (result === 0) return decodeExit(this.#page);
    if (result === -EINTR) return interrupted();
    const fault = FAULT_ERRNOS.has(-result) ? decodeMemoryFault(this.#page, errnoName(-result)) : undefined;
    if (fault === undefined) throw this.sys.error('ioctl', -result, [this.fd, KVM_RUN.request, 0], KVM_RUN);
    // A later KVM_RUN can fail before it sets exit_reason: a fault left in the page would be taken for a new one.
    this.#page.setUint32(kvm_run.offsets.exit_reason, 0, true);
    return fault;
  }
}

function wordBytes(value: Int, length: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return bytes.subarray(0, Math.min(length, 8));
}
