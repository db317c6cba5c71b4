/** Where the run takes place, and where the package lies. */
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

export interface Host {
  readonly kernel: string;
  readonly cpu: string;
  readonly cpus: number;
  readonly arch: string;
  readonly node: string;
}

export function describeHost(): Host {
  const cpus = os.cpus();
  return {
    kernel: os.release(),
    cpu: cpus[0]?.model.trim() || 'unknown CPU',
    cpus: cpus.length,
    arch: process.arch,
    node: process.version,
  };
}

export const hostLine = ({ kernel, cpu, cpus, arch, node }: Host): string =>
  `Linux ${kernel} ${arch}, ${cpu} (${cpus} CPUs), Node ${node}`;

/** A file of the package. What is compiled lies elsewhere than its source, so the package is asked, not the path of this file. */
export function inPackage(file: string): string {
  return path.join(path.dirname(createRequire(import.meta.url).resolve('privmem/package.json')), file);
}
