/**
 * The kernels for tests: the real one and a simulation of it, each opened once for each test process. What one lacks makes a test skip with the
 * reason in its title and on stderr, never pass.
 */
import { describe, it } from 'vitest';
import { UnsupportedError } from '../../lib/kernel/errors.ts';
import { openKernel } from '../../lib/kernel/select.ts';
import { Sys } from '../../lib/kernel/sys.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { simulate } from '../../lib/sim/simulate.ts';
import { KVM_CAP } from '../../lib/uapi/index.ts';
import { openHost } from '../differential/pair.ts';

export interface Host {
  readonly sys: Sys;
  readonly kvm: Kvm;
}

export type CapName = keyof typeof KVM_CAP.value;

/** What a test needs of the host. All of it must be there. */
export interface Needs {
  /** Why it is for the real kernel only, as when it reads /proc. */
  readonly real?: string;
  /** The addon and its system calls, without KVM. */
  readonly kvm?: false;
  readonly arch?: 'x64' | 'arm64';
  /** Capabilities at system scope, by name: the bits that the answer must have, or the least answer with `atLeast`. */
  readonly caps?: Readonly<Partial<Record<CapName, number>>>;
  /** The same, asked of a default VM. */
  readonly vmCaps?: Readonly<Partial<Record<CapName, number>>>;
  /** First release that behaves so, as `[major, minor]`. */
  readonly release?: readonly [major: number, minor: number];
  /** First release that behaves otherwise. */
  readonly before?: readonly [major: number, minor: number];
  /** A further condition: a reason when it does not hold. */
  readonly also?: (host: { readonly sys: Sys; readonly kvm: Kvm | undefined }) => string | undefined;
}

/** A kernel that tests run on. */
interface AtHand {
  readonly name: string;
  readonly isReal: boolean;
  open(): Sys;
  sys?: Sys;
  kvm?: Kvm;
}

const REAL: AtHand = { name: 'real', isReal: true, open: openKernel };

/** This host in simulation; where there is no real kernel, the newest release. */
function openTwin(): Sys {
  const host = openHost();
  return new Sys(typeof host === 'string' ? simulate() : host.simulate());
}

/** The same tests run on both, from the same files. */
const KERNELS: readonly AtHand[] = [REAL, { name: 'simulated', isReal: false, open: openTwin }];

/** The one whose tests are being collected. */
let current: AtHand = REAL;

function reasonOf(error: unknown): string {
  if (error instanceof UnsupportedError) return `${error.missing}: ${error.reason}`;
  throw error;
}

function openSys(): string | undefined {
  try {
    current.sys ??= current.open();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

function openKvm(from: Sys): string | undefined {
  try {
    current.kvm ??= Kvm.open(from);
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

/** The release of the running kernel as numbers. */
export function releaseOf(text: string): readonly [major: number, minor: number] {
  const [major = 0, minor = 0] = text.split('.').map((part) => Number.parseInt(part, 10));
  return [major, minor];
}

export function isAtLeast(text: string, [wantMajor, wantMinor]: readonly [number, number]): boolean {
  const [major, minor] = releaseOf(text);
  return major > wantMajor || (major === wantMajor && minor >= wantMinor);
}

function lacking(ask: (cap: number) => number, caps: Needs['caps'], scope: string): string | undefined {
  for (const [name, bits] of Object.entries(caps ?? {})) {
    const have = ask(KVM_CAP.value[name as CapName]);
    if ((have & bits) !== bits) return `${name} is ${have} on the ${scope}, ${bits} is needed`;
  }
  return undefined;
}

/** Why `needs` are not met on this host; undefined when they are. */
export function missing(needs: Needs = {}): string | undefined {
  if (needs.real !== undefined && !current.isReal) return `for the real kernel only: ${needs.real}`;
  const noSys = openSys();
  const { sys } = current;
  if (sys === undefined) return noSys ?? 'no kernel';
  const { arch, release } = sys.kernel;
  if (needs.arch !== undefined && arch !== needs.arch) return `needs ${needs.arch}, this is ${arch}`;
  if (needs.release !== undefined && !isAtLeast(release, needs.release)) {
    return `needs Linux ${needs.release.join('.')}, this is ${release}`;
  }
  if (needs.before !== undefined && isAtLeast(release, needs.before)) {
    return `needs Linux before ${needs.before.join('.')}, this is ${release}`;
  }
  if (needs.kvm !== false) {
    const noKvm = openKvm(sys);
    const { kvm } = current;
    if (kvm === undefined) return noKvm ?? 'no KVM';
    const system = kvm;
    const short = lacking((cap) => system.checkExtension(cap), needs.caps, 'system');
    if (short !== undefined) return short;
    if (needs.vmCaps !== undefined) {
      using vm = kvm.createVm();
      const shortVm = lacking((cap) => vm.checkExtension(cap), needs.vmCaps, 'VM');
      if (shortVm !== undefined) return shortVm;
    }
  }
  return needs.also?.({ sys, kvm: current.kvm });
}

function loudly(title: string, reason: string): string {
  console.warn(`SKIPPED ${title}: ${reason}`);
  return `${title} [SKIPPED: ${reason}]`;
}

/** `suite` once for each kernel, skipped with the reason where it lacks what is needed. */
function describeEach(title: string, needs: Needs, suite: (kernel: AtHand) => void | Promise<void>): void {
  describe.each(KERNELS.map((kernel) => [kernel.name, kernel] as const))(`${title}, %s`, async (_, kernel) => {
    current = kernel;
    try {
      const reason = missing(needs);
      if (reason === undefined) await suite(kernel);
      else it.skip(loudly(`${title}, ${kernel.name}`, reason), () => {});
    } finally {
      current = REAL;
    }
  });
}

/** A suite on every KVM at hand: the real one and the simulated one. */
export function describeKvm(title: string, suite: (host: Host) => void | Promise<void>, needs: Needs = {}): void {
  describeEach(title, needs, ({ sys, kvm }) => {
    if (sys === undefined || kvm === undefined) throw new Error('KVM is not open');
    return suite({ sys, kvm });
  });
}

/** A suite on every kernel at hand that needs no KVM. */
export function describeKernel(title: string, suite: (sys: Sys) => void, needs: Omit<Needs, 'kvm'> = {}): void {
  describeEach(title, { ...needs, kvm: false }, ({ sys }) => {
    if (sys === undefined) throw new Error('the kernel is not open');
    suite(sys);
  });
}

/** One test with needs of its own: `requires({ vmCaps: { … } })('title', () => { … })`. */
export function requires(needs: Needs): (title: string, test: () => void | Promise<void>) => void {
  const reason = missing(needs);
  return (title, test) => {
    if (reason === undefined) it(title, test);
    else it.skip(loudly(title, reason), test);
  };
}

/** A default VM whose guest_memfds can be mapped and start shared: what most tests of guest memory need. */
export const SHARED_GMEM: Needs = { vmCaps: { KVM_CAP_GUEST_MEMFD_FLAGS: 3 } };
