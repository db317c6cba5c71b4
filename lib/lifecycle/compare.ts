/** The same intents under every design and technology: each pair is carried out on the best kernel that has it, or says why none has. */
import type { KernelCandidate } from '../kernel/candidates.ts';
import { UnsupportedError } from '../kernel/errors.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { Sys } from '../kernel/sys.ts';
import { lifecycleObstacle, runLifecycle } from './lifecycle.ts';
import { DESIGN_NAMES, needOf, TECHNOLOGY_NAMES } from './pairs.ts';
import type { Step } from './words.ts';

/** One design with one technology. */
export interface Cell {
  readonly design: string;
  readonly technology: string;
  /** Where it was carried out; absent when no kernel does. */
  readonly backend?: 'kvm' | 'sim';
  /** Release of that kernel, as `uname -r` gives it. */
  readonly kernel?: string;
  readonly arch?: string;
  /** Whether a kernel carries the pair out. */
  readonly supported: boolean;
  /** Not supported: what is missing, of each kernel that was asked. Supported, but not by the first: why not by that. */
  readonly reason?: string;
  /** Every step came out as the design and the technology promise. Absent when nothing was carried out. */
  readonly passed?: boolean;
  /** Empty when nothing was carried out. */
  readonly steps: readonly Step[];
}

export interface Comparison {
  /** Design by design, in the order of the designs; within one in the order of the technologies. */
  readonly cells: readonly Cell[];
}

export interface CompareOptions {
  /** The best first: `defaultCandidates()` of the kernel layer. Each is opened when a pair needs it, and never before. */
  readonly kernels: readonly KernelCandidate[];
  /** Default: all six. */
  readonly designs?: readonly string[];
  /** Default: all seven. */
  readonly technologies?: readonly string[];
  /** Bytes of private memory; a multiple of 4096, at least 40 KiB. Default 64 KiB. */
  readonly size?: number;
  /** Ends it between steps; rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Told of each cell as soon as it is there. */
  readonly onCell?: (cell: Cell) => void;
}

const DEFAULT_SIZE = 0x10000;

interface Found {
  readonly sys?: Sys;
  /** Why the candidates before it could not. */
  readonly reasons: readonly string[];
}

/** The first kernel that carries the pair out. */
function find(kernels: readonly KernelCandidate[], design: string, technology: string): Found {
  const reasons: string[] = [];
  for (const candidate of kernels) {
    try {
      const sys = candidate.open(needOf(design, technology));
      const obstacle = lifecycleObstacle(sys, { design, technology });
      if (obstacle === undefined) return { sys, reasons };
      reasons.push(`${candidate.name}: ${obstacle.missing}: ${obstacle.reason}`);
    } catch (error) {
      if (!(error instanceof UnsupportedError)) throw error;
      reasons.push(`${candidate.name}: ${error.missing}: ${error.reason}`);
    }
  }
  return { reasons };
}

async function carryOut(design: string, technology: string, options: CompareOptions): Promise<Cell> {
  const { sys, reasons } = find(options.kernels, design, technology);
  const reason = reasons.length === 0 ? {} : { reason: reasons.join('; ') };
  if (sys === undefined) return { design, technology, supported: false, ...reason, steps: [] };
  const { size = DEFAULT_SIZE, signal } = options;
  const { backend, kernel, arch, passed, steps } = await runLifecycle(sys, {
    design,
    technology,
    size,
    ...(signal === undefined ? {} : { signal }),
  });
  return {
    design,
    technology,
    backend,
    kernel,
    arch: arch as Kernel['arch'],
    supported: true,
    ...reason,
    passed,
    steps,
  };
}

/** RangeError for a name or a size that makes no sense. No cell is written down: each is carried out, or refused by the kernels that were asked. */
export async function compare(options: CompareOptions): Promise<Comparison> {
  const { designs = DESIGN_NAMES, technologies = TECHNOLOGY_NAMES, signal, onCell } = options;
  const cells: Cell[] = [];
  for (const design of designs) {
    for (const technology of technologies) {
      signal?.throwIfAborted();
      const cell = await carryOut(design, technology, options);
      cells.push(cell);
      onCell?.(cell);
    }
  }
  return { cells };
}
