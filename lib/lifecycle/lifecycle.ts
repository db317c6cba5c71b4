/** Carries out one lifecycle: a design, a technology, a kernel, a running guest. */
import { UnsupportedError } from '../kernel/errors.ts';
import type { Sys } from '../kernel/sys.ts';
import { Kvm } from '../kvm/kvm.ts';
import { CallCounter } from './call-counter.ts';
import { DESIGNS, type Design } from './designs/index.ts';
import { Ledger, type StepObserver } from './ledger.ts';
import { playLifecycle } from './script.ts';
import { PAGE, Stage } from './stage.ts';
import { designSupport, pairObstacle, requireSupport, technologySupport } from './support.ts';
import { TECHNOLOGIES, type Technology } from './technologies/index.ts';
import type { LifecycleReport } from './words.ts';

/** Room for the pages that are converted, their neighbours, the guest's own, and those that the host may spoil. */
const LEAST_PAGES = 10;

export interface LifecycleOptions extends StepObserver {
  /** Name of the design. Default `unbound-first` for technology `none`, else `guest-memfd`. */
  readonly design?: string;
  /** Name of the technology. Default `none`. */
  readonly technology?: string;
  /** Bytes of private memory; a multiple of 4096, at least 40 KiB. Default 2 MiB. */
  readonly size?: number;
  /** Keep the rules that only this package keeps. Default true; without them a step that the kernel does not refuse goes through. */
  readonly guards?: boolean;
  /** Ends the lifecycle between steps and interrupts a running guest; everything is closed before it rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Finds a design or technology by name. */
function pick<T extends Design | Technology>(kind: string, name: string, of: readonly T[]): T {
  const found = of.find((item) => item.name === name);
  if (found !== undefined) return found;
  throw new RangeError(`unknown ${kind} ${name}; there are ${of.map((item) => item.name).join(', ')}`);
}

/** Why a kernel cannot carry out this pair; undefined when it can. RangeError for names that are not known at all. */
export function lifecycleObstacle(sys: Sys, options: LifecycleOptions = {}): UnsupportedError | undefined {
  try {
    const kvm = Kvm.open(sys);
    try {
      choose(kvm, options);
      return undefined;
    } finally {
      kvm.close();
    }
  } catch (error) {
    if (error instanceof UnsupportedError) return error;
    throw error;
  }
}

/** The design that fits a technology when none is named. */
export function defaultDesign(technology: string): string {
  if (technology === 'sev' || technology === 'sev-es') return 'guest-memfd-mmap';
  return technology === 'none' || technology === 'pkvm' ? 'unbound-first' : 'guest-memfd';
}

/** Design and technology by name, when the kernel has both and they go together. */
export function choose(kvm: Kvm, options: LifecycleOptions): { design: Design; technology: Technology } {
  const { technology: technologyName = 'none' } = options;
  const { design: designName = defaultDesign(technologyName) } = options;
  const technologies = technologySupport(kvm);
  const designs = designSupport(kvm);
  const technology = pick('technology', technologyName, TECHNOLOGIES);
  const design = pick('design', designName, DESIGNS);
  requireSupport(`technology ${technologyName}`, technologies[technologyName]);
  requireSupport(`design ${designName}`, designs[designName]);
  const obstacle = pairObstacle(kvm, design, technology);
  if (obstacle !== undefined) {
    const suited = DESIGNS.filter(
      (other) => designs[other.name]?.supported === true && pairObstacle(kvm, other, technology) === undefined,
    ).map(({ name }) => name);
    const step = suited.length > 0 ? `use design ${suited.join(' or ')} with it` : 'use another technology';
    throw new UnsupportedError(`design ${designName} with technology ${technologyName}`, obstacle, step);
  }
  return { design, technology };
}

/** RangeError for a name or size that makes no sense, UnsupportedError for what this kernel cannot do. */
export async function runLifecycle(sys: Sys, options: LifecycleOptions = {}): Promise<LifecycleReport> {
  const { size = 512 * PAGE } = options;
  if (!Number.isSafeInteger(size) || size % PAGE !== 0 || size < LEAST_PAGES * PAGE) {
    throw new RangeError(`size must be a multiple of ${PAGE} bytes and at least ${LEAST_PAGES * PAGE}, got ${size}`);
  }
  const counter = new CallCounter(sys.kernel);
  const kvm = Kvm.open(counter.sys);
  try {
    const { design, technology } = choose(kvm, options);
    const { guards = true, signal = new AbortController().signal } = options;
    const stage = new Stage(kvm, design, technology, { size, guards, signal });
    const ledger = new Ledger(counter, { ...options, memory: (error) => stage.memory(stage.placeOf(error)) });
    try {
      await playLifecycle(stage, ledger, signal);
    } finally {
      stage.close();
    }
    const { backend, release, arch } = sys.kernel;
    const { passed, steps } = ledger;
    return { backend, kernel: release, arch, design: design.name, technology: technology.name, size, passed, steps };
  } finally {
    kvm.close();
  }
}
