/** The kernel under test, opened once for each test process. PRIVMEM_BACKEND (auto, kvm, sim) and PRIVMEM_RELEASE choose it. */
import { Environment } from '../conformance/needs.ts';
import { UnsupportedError } from '../kernel/errors.ts';
import { type Backend, SIM_RELEASES, type SimRelease, selectKernel } from '../kernel/select.ts';
import type { Sys } from '../kernel/sys.ts';
import { Kvm } from '../kvm/kvm.ts';

const BACKENDS: readonly string[] = ['auto', 'kvm', 'sim'] satisfies Backend[];

function chosen(): { readonly backend: Backend; readonly release: SimRelease | undefined } {
  const { PRIVMEM_BACKEND: backend = 'auto', PRIVMEM_RELEASE: release } = process.env;
  if (!BACKENDS.includes(backend))
    throw new RangeError(`PRIVMEM_BACKEND must be one of ${BACKENDS.join(', ')}, got ${backend}`);
  const releases: readonly string[] = SIM_RELEASES;
  if (release !== undefined && !releases.includes(release))
    throw new RangeError(`PRIVMEM_RELEASE must be one of ${releases.join(', ')}, got ${release}`);
  return { backend: backend as Backend, release: release as SimRelease | undefined };
}

function obstacle(sys: Sys): UnsupportedError | undefined {
  try {
    Kvm.open(sys).close();
    return undefined;
  } catch (error) {
    if (error instanceof UnsupportedError) return error;
    throw error;
  }
}

let environment: Environment | undefined;

/** RangeError for a wrong PRIVMEM_BACKEND or PRIVMEM_RELEASE; UnsupportedError where the kernel asked for is not to be had. */
export function environmentUnderTest(): Environment {
  if (environment === undefined) {
    const { backend, release } = chosen();
    const { sys, why } = selectKernel({ backend, obstacle, simulate: release === undefined ? {} : { release } });
    console.info(`privmem: Linux ${sys.kernel.release}, ${sys.kernel.arch}: ${why}`);
    environment = new Environment(sys);
  }
  return environment;
}
