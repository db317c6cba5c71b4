/** Carries out a recording on another kernel, and says of every call whether it met the same outcome. */
import { setImmediate as nextTask, setTimeout as sleep } from 'node:timers/promises';
import type { Kernel } from '../kernel/kernel.ts';
import type { Ioctl } from '../uapi/registry.ts';
import { madeBy, TRACED } from './calls.ts';
import { Guard } from './guard.ts';
import { Holdings } from './holdings.ts';
import { FdKinds, madeInArguments } from './kinds.ts';
import { compareOutcomes, onlyProcessor } from './outcome.ts';
import { planOf, type Step } from './plan.ts';
import { numberOf, type RecordedCall, type RecordedOutcome, type Recording } from './recording.ts';
import type { ReplayedCall, ReplayOptions, ReplayReport, SkippedCall } from './replay-report.ts';
import { type Run, Runs } from './runs.ts';
import { NotMade, Translator } from './translate.ts';
import { ValueMap } from './values.ts';

type AnyCall = (...args: unknown[]) => unknown;

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0x800;
const EAGAIN = 11;
const EINTR = 4;
/** Calls between two looks at the event loop: Ctrl-C must get through. */
const AT_A_TIME = 32;
const DEFAULT_LIMIT_MS = 10_000;
/** However long a recording says that a run took. */
const LONGEST_LIMIT_MS = 3_600_000;
/** The longest that a kick waits because it did so in the recording. */
const LONGEST_DELAY_MS = 5_000;

class Replayer {
  readonly #recording: Recording;
  readonly #kernel: Kernel;
  readonly #options: ReplayOptions;
  readonly #map = new ValueMap();
  readonly #kinds: FdKinds;
  readonly #guard: Guard;
  readonly #holdings: Holdings;
  readonly #translator: Translator;
  readonly #runs: Runs;
  /** By the recorded call. */
  readonly #started = new Map<RecordedCall, { readonly handle: number; readonly run: Run } | NotMade>();
  readonly #different: ReplayedCall[] = [];
  readonly #processor: ReplayedCall[] = [];
  readonly #skipped: SkippedCall[] = [];
  readonly #opened: { path: string; flags: number; result: number }[] = [];
  #same = 0;

  constructor(recording: Recording, kernel: Kernel, options: ReplayOptions) {
    this.#recording = recording;
    this.#kernel = kernel;
    this.#options = options;
    this.#kinds = new FdKinds(recording);
    this.#guard = new Guard(kernel, options);
    this.#holdings = new Holdings(kernel);
    this.#translator = new Translator(kernel, this.#map, this.#holdings);
    this.#runs = new Runs(kernel);
  }

  async play(): Promise<ReplayReport> {
    const { signal } = this.#options;
    try {
      let made = 0;
      for (const step of planOf(this.#recording)) {
        if (made++ % AT_A_TIME === 0) await nextTask();
        if (signal?.aborted) break;
        await this.#step(step);
      }
    } finally {
      this.#holdings.close();
    }
    const { backend, arch, release } = this.#kernel;
    const { kernel: recorded, calls } = this.#recording;
    return {
      recorded,
      on: { backend, arch, release },
      calls: calls.length,
      same: this.#same,
      different: this.#different,
      processor: this.#processor,
      skipped: this.#skipped,
      opened: this.#opened,
      unwatched: calls.filter(({ unwatched }) => unwatched),
      interrupted: signal?.aborted ?? false,
    };
  }

  async #step(step: Step): Promise<void> {
    const { call } = step;
    const ioctl = this.#kinds.ioctl(call);
    try {
      if (step.kind === 'start') this.#start(call);
      else if (step.kind === 'end') await this.#end(call);
      else if (call.call === 'vcpuRun') {
        this.#start(call);
        await this.#end(call);
      } else {
        if (step.kind === 'kick') await this.#beforeKick(step.during);
        else await this.#beforeCall(call);
        await this.#keepTime(call);
        const objection = this.#guard.objection(call, ioctl, this.#kinds);
        if (objection !== undefined) throw new NotMade(objection);
        this.#make(call, ioctl);
      }
    } catch (error) {
      // The addon throws for what it does not let anybody do: an argument out of range, memory of others.
      if (!(error instanceof NotMade || error instanceof RangeError || error instanceof TypeError)) throw error;
      this.#skip(call, ioctl, error.message);
    }
    if (step.kind !== 'start') this.#kinds.follow(call);
  }

  #skip(call: RecordedCall, ioctl: Ioctl | undefined, reason: string): void {
    this.#skipped.push({ call, reason });
    this.#link(call, ioctl, undefined);
  }

  /** What the host wrote through views before the call. */
  #writeViews(call: RecordedCall): void {
    for (const [hva, bytes] of call.writes) this.#kernel.copyIn(this.#translator.hva(hva), bytes);
  }

  #start(call: RecordedCall): void {
    try {
      this.#writeViews(call);
      const handle = this.#translator.vcpu(Number(call.args[0]));
      this.#started.set(call, { handle, run: this.#runs.start(handle) });
    } catch (error) {
      if (!(error instanceof NotMade || error instanceof RangeError)) throw error;
      this.#started.set(call, error instanceof NotMade ? error : new NotMade(error.message));
    }
  }

  #limitOf(call: RecordedCall): number {
    const usual = Math.min(Math.max(DEFAULT_LIMIT_MS, (call.micros / 1000) * 20), LONGEST_LIMIT_MS);
    return this.#options.runLimitMs ?? usual;
  }

  async #end(call: RecordedCall): Promise<void> {
    const started = this.#started.get(call);
    if (started === undefined || started instanceof NotMade) throw started ?? new NotMade('it was never started');
    const timeout = call.call === 'vcpuRun' ? Number(call.args[1]) : 0;
    const limit = timeout > 0 ? timeout : this.#limitOf(call);
    const { handle, run } = started;
    this.#started.delete(call);
    const interrupted = await this.#runs.wait(handle, run, limit, this.#options.signal);
    if (this.#options.signal?.aborted) return;
    const outcome = run.outcome ?? (await run.over);
    if (interrupted && timeout <= 0) {
      const recorded = call.result === -EINTR ? 'it was interrupted' : 'it ended';
      const got = `it ran for ${Math.round(limit)} ms and was interrupted`;
      this.#different.push({ call, differences: [{ what: 'end of the run', expected: recorded, got }] });
    } else this.#judge(call, outcome, undefined);
  }

  /** A kick that found a run under way finds it so again; one that came too late comes too late. */
  async #beforeKick(during: RecordedCall | undefined): Promise<void> {
    const started = during === undefined ? undefined : this.#started.get(during);
    if (during === undefined || started === undefined || started instanceof NotMade) return;
    // What ends a run by a kick keeps its time like every call during a run.
    if (during.result !== -EINTR)
      await this.#runs.wait(started.handle, started.run, this.#limitOf(during), this.#options.signal);
  }

  /** While a guest runs, what the host does comes when it came in the recording: the guest may be waiting for it, or not yet. */
  async #keepTime(call: RecordedCall): Promise<void> {
    let began: { readonly at: number; readonly here: number } | undefined;
    for (const [{ at }, started] of this.#started) {
      if (!(started instanceof NotMade) && started.run.outcome === undefined) began = { at, here: started.run.began };
    }
    if (began === undefined) return;
    const delay = (call.at - began.at) / 1000 - (performance.now() - began.here);
    if (delay >= 1) await sleep(Math.min(delay, LONGEST_DELAY_MS), undefined, this.#options).catch(() => {});
  }

  /** A request on a vCPU that runs waits in the kernel, and nobody could stop the vCPU meanwhile. */
  async #beforeCall(call: RecordedCall): Promise<void> {
    if (call.call !== 'ioctl' || this.#kinds.of(Number(call.args[0])) !== 'vcpu') return;
    for (const [recorded, started] of this.#started) {
      if (started instanceof NotMade || started.run.outcome !== undefined) continue;
      await this.#runs.wait(started.handle, started.run, this.#limitOf(recorded), this.#options.signal);
    }
  }

  #make(call: RecordedCall, ioctl: Ioctl | undefined): void {
    this.#writeViews(call);
    const { args, out, finish } = this.#translator.prepare(call, ioctl);
    if (call.call === 'mmap') {
      const objection = this.#holdings.tooMuch(Number(args[1]));
      if (objection !== undefined) throw new NotMade(objection);
    }
    const method = this.#kernel[call.call as 'close'] as AnyCall;
    const value = this.#unblocked(call, args, () => method.apply(this.#kernel, [...args]));
    if (value instanceof ArrayBuffer) this.#translator.addView(Number(args[0]), value);
    const outcome: RecordedOutcome = { result: typeof value === 'number' ? value : 0, out, pointed: finish() };
    if (call.call === 'open') {
      this.#opened.push({ path: String(args[0]), flags: Number(call.args[1]), result: outcome.result });
    }
    this.#hold(call, ioctl, args, outcome);
    this.#judge(call, outcome, ioctl);
    this.#link(call, ioctl, outcome);
  }

  /** Where a call could wait for ever, it does not: EAGAIN then says that it would have. */
  #unblocked(call: RecordedCall, args: readonly unknown[], make: () => unknown): unknown {
    const fd = Number(args[0]);
    if (!TRACED[call.call]?.waits) return make();
    const flags = this.#kernel.fcntl(fd, F_GETFL, 0);
    if (flags < 0 || (flags & O_NONBLOCK) !== 0) return make();
    this.#kernel.fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    try {
      const value = make();
      if (value === -EAGAIN) throw new NotMade('it would wait, perhaps for ever');
      return value;
    } finally {
      this.#kernel.fcntl(fd, F_SETFL, flags);
    }
  }

  #judge(call: RecordedCall, outcome: RecordedOutcome, ioctl: Ioctl | undefined): void {
    const differences = compareOutcomes(call, outcome, ioctl, this.#map);
    if (differences.length === 0) this.#same++;
    else if (onlyProcessor(differences)) this.#processor.push({ call, differences });
    else this.#different.push({ call, differences });
  }

  /** What the call made here, or ended here: to be given back. */
  #hold(call: RecordedCall, ioctl: Ioctl | undefined, args: readonly unknown[], outcome: RecordedOutcome): void {
    const { result } = outcome;
    if (result < 0) return;
    const [first, second] = [numberOf(args[0]), numberOf(args[1])];
    const makes = madeBy(call.call, call.args, ioctl);
    if (makes === 'fd') this.#holdings.addFd(result);
    else if (makes === 'mapping') this.#holdings.addRange(result, second);
    else if (makes === 'vcpu') {
      this.#holdings.addVcpu(result);
      this.#runs.attached(result, second);
    }
    for (const made of madeInArguments(call.call, ioctl, outcome.out)) this.#holdings.addFd(made);
    if (call.call === 'close') this.#holdings.dropFd(first);
    else if (call.call === 'munmap') this.#holdings.dropRange(first, second);
    else if (call.call === 'vcpuDetach') {
      this.#holdings.dropVcpu(first);
      this.#runs.detached(first);
    } else if (ioctl?.name.startsWith('KVM_SET_USER_MEMORY_REGION')) this.#holdSlot(ioctl, outcome.out.get(2));
    if (call.result < 0 && makes !== undefined) this.#giveBack(makes, result, second);
  }

  #holdSlot(ioctl: Ioctl, bytes: Uint8Array | undefined): void {
    if (ioctl.arg.kind !== 'struct' || bytes === undefined) return;
    const { layout } = ioctl.arg;
    const [address, length] = ['userspace_addr', 'memory_size'].map((name) => Number(layout.get(bytes, name)));
    if (address && length) this.#holdings.addSlot(address, length);
  }

  /** The recorded call failed, so nothing in the recording will end what it made here. */
  #giveBack(makes: 'fd' | 'mapping' | 'vcpu', result: number, length: number): void {
    if (makes === 'fd') {
      this.#kernel.adopt(result);
      this.#kernel.close(result);
      this.#holdings.dropFd(result);
    } else if (makes === 'mapping') {
      this.#kernel.munmap(result, length);
      this.#holdings.dropRange(result, length);
    } else {
      this.#kernel.vcpuDetach(result);
      this.#holdings.dropVcpu(result);
    }
  }

  /** What the recorded call made or ended stands for what it made here, or for nothing (`outcome` undefined: it was not made). */
  #link(call: RecordedCall, ioctl: Ioctl | undefined, outcome: RecordedOutcome | undefined): void {
    const { n, result } = call;
    if (result < 0) return;
    const map = this.#map;
    const [first, second] = [numberOf(call.args[0]), numberOf(call.args[1])];
    const to = outcome === undefined || outcome.result < 0 ? undefined : outcome.result;
    const makes = madeBy(call.call, call.args, ioctl);
    if (makes === 'fd') map.fds.link(result, to, n);
    else if (makes === 'mapping') map.linkRange(result, second, to, n);
    else if (makes === 'vcpu') map.vcpus.link(result, to, n);
    const here = madeInArguments(call.call, ioctl, outcome?.out);
    for (const [i, made] of madeInArguments(call.call, ioctl, call.out).entries()) map.fds.link(made, here[i], n);
    // What uses it later cannot be made either.
    if (call.call === 'adopt' && map.fds.of(first).kind === 'unknown') map.fds.link(first, undefined, n);
    if (call.call === 'close') {
      map.fds.end(first);
      map.forgetIdentities();
    } else if (call.call === 'munmap') map.endRange(first, second);
    else if (call.call === 'vcpuDetach') map.vcpus.end(first);
  }
}

/**
 * Makes the calls of `recording` on `kernel`, in their order, and compares what comes of each. Descriptors and addresses are translated;
 * everything that was made is given back, also when the recording does not. Never throws for what a recording contains: a call that
 * cannot or must not be made is in `skipped`, with the reason. RangeError when the guests are of another architecture.
 */
export function replayTrace(recording: Recording, kernel: Kernel, options: ReplayOptions = {}): Promise<ReplayReport> {
  const { arch } = recording.kernel;
  if (arch !== kernel.arch) {
    return Promise.reject(new RangeError(`the trace was recorded on ${arch}, this kernel runs ${kernel.arch} guests`));
  }
  return new Replayer(recording, kernel, options).play();
}
