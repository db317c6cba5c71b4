/** The C program: compiled on the spot, because a number from another compiler or C library would compare nothing. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Child } from './child.ts';
import { inPackage } from './host.ts';

export class Reference {
  readonly #folder: string;
  readonly #child: Child;

  private constructor(folder: string, child: Child) {
    this.#folder = folder;
    this.#child = child;
  }

  /** Compiles and starts it. Throws when there is no C compiler, or when it refuses. */
  static async build(): Promise<Reference> {
    const sources = inPackage('test/bench/reference');
    const folder = mkdtempSync(path.join(tmpdir(), 'privmem-bench-'));
    // Also when the run is interrupted: nothing else knows of the folder.
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
    const program = path.join(folder, 'reference');
    const files = readdirSync(sources).filter((file) => file.endsWith('.c'));
    const cc = process.env['CC'] ?? 'cc';
    const args = ['-O2', '-pthread', '-o', program, ...files.map((file) => path.join(sources, file))];
    const { status, stderr, error } = spawnSync(cc, args, { encoding: 'utf8' });
    if (error !== undefined) throw new Error(`C compiler: ${error.message}`);
    if (status !== 0) throw new Error(`C compiler: ${stderr.trim() || `status ${status}`}`);
    return new Reference(folder, await Child.start('C program', program));
  }

  batch(name: string, ops: number, bytes: number): Promise<number> {
    return this.#child.batch(name, ops, bytes);
  }

  async close(): Promise<void> {
    await this.#child.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
