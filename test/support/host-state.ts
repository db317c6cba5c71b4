/** What this process holds of the kernel: for tests that nothing leaks. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Links of the open descriptors that this package can make: everything else comes and goes with the runtime. */
export function ownDescriptors(): string[] {
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

/** Lines of /proc/self/maps of files that this package maps. */
export function ownMaps(): string[] {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => /kvm|memfd:|secretmem|gmem/.test(line));
}

export function threadCount(): number {
  return readdirSync('/proc/self/task').length;
}

export interface HostState {
  readonly descriptors: readonly string[];
  readonly maps: number;
}

export const hostState = (): HostState => ({ descriptors: ownDescriptors(), maps: ownMaps().length });
