/** What this process holds of a kernel: for tests that nothing leaks. Of the simulated one it is asked directly. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Sys } from '../../lib/kernel/sys.ts';
import type { Process } from '../../lib/sim/process.ts';

/** The process inside a simulated kernel. */
function simulated({ kernel }: Sys): Process | undefined {
  return 'process' in kernel ? (kernel.process as Process) : undefined;
}

/** Links of the open descriptors that this package can make: everything else comes and goes with the runtime. */
export function ownDescriptors(sys: Sys): string[] {
  const process = simulated(sys);
  if (process !== undefined) return process.fds.list().map(String);
  const links: string[] = [];
  for (const entry of readdirSync('/proc/self/fd')) {
    try {
      const link = readlinkSync(`/proc/self/fd/${entry}`);
      if (/kvm|memfd|secretmem|gmem/.test(link)) links.push(link);
    } catch {
      // The descriptor of the listing itself is gone by now.
    }
  }
  return links.sort();
}

/** Mappings of files that this package maps: lines of /proc/self/maps. */
export function ownMaps(sys: Sys): string[] {
  const process = simulated(sys);
  if (process !== undefined) {
    const all = process.space.vmas.within(0, process.space.endPage);
    return all.filter(({ value }) => value.file !== undefined).map(({ from, to }) => `${from}-${to}`);
  }
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => /kvm|memfd:|secretmem|gmem/.test(line));
}

/** Simulated vCPUs have none. */
export function threadCount(sys: Sys): number {
  if (simulated(sys) !== undefined) return 0;
  return readdirSync('/proc/self/task').length;
}

export interface HostState {
  readonly descriptors: readonly string[];
  readonly maps: number;
}

export const hostState = (sys: Sys): HostState => ({ descriptors: ownDescriptors(sys), maps: ownMaps(sys).length });
