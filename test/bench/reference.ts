/** The C program: compiled on the spot, because a number from another compiler or C library would compare nothing. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Child } from './child.ts';
import { inPackage } from './host.ts';

export class Reference {
  readonly #child: Child;

  private constructor(child: Child) {
    this.#child = child;
  }

  /** Compiles and starts it. Throws when there is no C compiler, or when it refuses. */
  static async build(): Promise<Reference> {
    const folder = mkdtempSync(path.join(tmpdir(), 'privmem-bench-'));
    try {
      return new Reference(await Child.start('C program', compile(folder)));
    } finally {
      // It runs on without its file; so nothing is left behind, however the run ends.
      rmSync(folder, { recursive: true, force: true });
    }
  }

  batch(name: string, ops: number, bytes: number): Promise<number> {
    return this.#child.batch(name, ops, bytes);
  }

  close(): Promise<void> {
    return this.#child.close();
  }
}

/** The path of the program, in `folder`. */
function compile(folder: string): string {
  const sources = inPackage('test/bench/reference');
  const files = readdirSync(sources).filter((file) => file.endsWith('.c'));
  const program = path.join(folder, 'reference');
  const args = ['-O2', '-pthread', '-o', program, ...files.map((file) => path.join(sources, file))];
  const { status, stderr, error } = spawnSync(process.env.CC ?? 'cc', args, { encoding: 'utf8' });
  if (error !== undefined) throw new Error(`C compiler: ${error.message}`);
  if (status !== 0) throw new Error(`C compiler: ${stderr.trim() || `status ${status}`}`);
  return program;
}
