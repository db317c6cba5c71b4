/**
 * The real kernel for tests: opened once for each test process. What it lacks makes a test skip with the reason in its title and on
 * stderr, never pass.
 */
import { describe, it } from 'vitest';
import { UnsupportedError } from '../../lib/kernel/errors.ts';
import { openKernel } from '../../lib/kernel/select.ts';
import type { Sys } from '../../lib/kernel/sys.ts';
import { Kvm } from '../../lib/kvm/kvm.ts';
import { KVM_CAP } from '../../lib/uapi/index.ts';

export interface Host {
  readonly sys: Sys;
  readonly kvm: Kvm;
}

export type CapName = keyof typeof KVM_CAP.value;

/** What a test needs of the host. All of it must be there. */
export interface Needs {
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

let sys: Sys | undefined;
let kvm: Kvm | undefined;

function reasonOf(error: unknown): string {
  if (error instanceof UnsupportedError) return `${error.missing}: ${error.reason}`;
  throw error;
}

function openSys(): string | undefined {
  try {
    sys ??= openKernel();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

function openKvm(from: Sys): string | undefined {
  try {
    kvm ??= Kvm.open(from);
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
  const noSys = openSys();
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
  return needs.also?.({ sys, kvm });
}

function loudly(title: string, reason: string): string {
  console.warn(`SKIPPED ${title}: ${reason}`);
  return `${title} [SKIPPED: ${reason}]`;
}

/** The kernel, for tests that need no KVM. Only to be called where {@link missing} said nothing. */
export function theSys(): Sys {
  if (sys === undefined) throw new Error('the kernel is not open: guard the test by requires() or describeKvm()');
  return sys;
}

export function theHost(): Host {
  if (kvm === undefined) throw new Error('KVM is not open: guard the test by requires() or describeKvm()');
  return { sys: theSys(), kvm };
}

/** A suite on the real KVM. */
export function describeKvm(title: string, suite: (host: Host) => void | Promise<void>, needs: Needs = {}): void {
  const reason = missing(needs);
  if (reason === undefined) describe(title, () => suite(theHost()));
  else describe(title, () => it.skip(loudly(title, reason), () => {}));
}

/** A suite on the real kernel that needs no KVM. */
export function describeKernel(title: string, suite: (sys: Sys) => void, needs: Omit<Needs, 'kvm'> = {}): void {
  const reason = missing({ ...needs, kvm: false });
  if (reason === undefined) describe(title, () => suite(theSys()));
  else describe(title, () => it.skip(loudly(title, reason), () => {}));
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
