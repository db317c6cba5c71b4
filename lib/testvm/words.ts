/** What a run in a test kernel is asked for, and what it answers. */

export type TestArch = 'x64' | 'arm64';
export type Accelerator = 'kvm' | 'tcg';

/**
 * How a run ended. The first that applies, in this order:
 * - `failed-to-boot`: the command never started;
 * - `panicked`: the kernel said so, at boot or later;
 * - `died`: the machine ended without a word (reset, triple fault, power off) while the command ran;
 * - `oopsed`: the kernel reported damage (BUG, Oops, KASAN, …), however the command ended;
 * - `timed-out`: the command ran longer than it was given;
 * - `failed`: the command ended with a status other than 0;
 * - `warned`: the command ended with 0, but the kernel warned (WARN, lockdep, RCU, …);
 * - `passed`: the command ended with 0 and the kernel had nothing to say.
 */
export type Outcome = 'failed-to-boot' | 'panicked' | 'died' | 'oopsed' | 'timed-out' | 'failed' | 'warned' | 'passed';

export type SplatKind = 'oops' | 'kasan' | 'bug' | 'ubsan' | 'lockdep' | 'warn' | 'rcu' | 'hung' | 'lockup';

/** One report of the kernel about itself. */
export interface Splat {
  readonly kind: SplatKind;
  /** `oopsed` for damage, `warned` for what the kernel survived. */
  readonly severity: 'oopsed' | 'warned';
  /** The line that names it, without the time: `BUG: KASAN: slab-use-after-free in …`. */
  readonly title: string;
  /** The console from there to the report's end, at most 200 lines. */
  readonly text: string;
}

export interface VmOptions {
  /** A kernel image, or the name of one that was built (`7.3`). */
  readonly kernel: string;
  /** Default: what the image is for. */
  readonly arch?: TestArch | undefined;
  /** Bytes of guest memory. Default 2 GiB. */
  readonly memory?: number | undefined;
  /** Virtual processors. Default 2. */
  readonly cpus?: number | undefined;
  /** Milliseconds for the command. Default: no limit. */
  readonly timeout?: number | undefined;
  /** Milliseconds from the start of QEMU until the command runs. Default 60 000. */
  readonly bootTimeout?: number | undefined;
  /** `auto` (default): KVM where it gives nested SVM or VMX, else emulation with SVM. */
  readonly accelerator?: Accelerator | 'auto' | undefined;
  /** QEMU's -cpu. Default: `host` under KVM, the largest with SVM under emulation. */
  readonly cpuModel?: string | undefined;
  /** Added to the kernel's command line. */
  readonly append?: string | undefined;
  /** Further arguments for QEMU. */
  readonly qemuArgs?: readonly string[] | undefined;
  /** The directory that the guest sees as `/`, read-only with a writable layer over it. Default `/`. */
  readonly root?: string | undefined;
  /** Directories whose files lie over those of `root`, the uppermost first: programs for another architecture, patched libraries. */
  readonly layers?: readonly string[] | undefined;
  /** Directories that the guest may write to; they keep their paths. Default: none. */
  readonly shares?: readonly string[] | undefined;
  /** Current directory of the command. Default: this process's. */
  readonly cwd?: string | undefined;
  /**
   * The command's whole environment. Default: `guestEnvironment()`. In a kernel of another architecture whose programs are in the cache
   * (`fetchPrograms`) they are put first in PATH, and PREBUILDS_ONLY=1 is set.
   */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** The command's input. Default: none. */
  readonly stdin?: NodeJS.ReadableStream | Uint8Array | string | undefined;
  readonly onStdout?: ((bytes: Buffer) => void) | undefined;
  readonly onStderr?: ((bytes: Buffer) => void) | undefined;
  /** The guest's console, as it comes. */
  readonly onConsole?: ((bytes: Buffer) => void) | undefined;
  /** Words on the way: which accelerator, when the command starts, what the guest's init has to remark. */
  readonly onNote?: ((text: string) => void) | undefined;
  /** Ends the machine; the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Bytes of each output that the result keeps; the callbacks get all. Default 16 MiB. */
  readonly keep?: number | undefined;
}

export interface VmTimings {
  /** Milliseconds from the start of QEMU until the command started; undefined when it never did. */
  readonly boot?: number;
  /** Milliseconds of the command; undefined when it did not end. */
  readonly command?: number;
  /** Milliseconds altogether. */
  readonly total: number;
}

export interface VmResult {
  readonly outcome: Outcome;
  /** The command's exit status as a shell counts it (128 + n for signal n), or null when it did not end. */
  readonly status: number | null;
  /** One sentence: why the outcome is what it is. */
  readonly reason: string;
  /** True when the command was started. */
  readonly booted: boolean;
  /** True when the command was ended by its time limit. */
  readonly timedOut: boolean;
  readonly kernel: {
    readonly image: string;
    readonly arch: TestArch;
    /** uname -r, as the guest's init read it. */
    readonly release?: string;
  };
  readonly accelerator: Accelerator;
  /** Why this accelerator. */
  readonly acceleratorReason: string;
  readonly panic?: { readonly message: string; readonly phase: 'boot' | 'command'; readonly text: string };
  readonly splats: readonly Splat[];
  readonly timings: VmTimings;
  readonly stdout: string;
  readonly stderr: string;
  /** True when an output was longer than `keep`. */
  readonly truncated: boolean;
  /** The guest's console, its end if it is long. */
  readonly console: string;
}
