/** GNU as and objdump for AArch64 as a second opinion. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PREFIX = 'aarch64-linux-gnu-';

/** Why they cannot serve here, or undefined when they can. */
export function binutilsMissing(): string | undefined {
  const missing = ['as', 'objcopy', 'objdump'].filter(
    (tool) => spawnSync(PREFIX + tool, ['--version']).error !== undefined,
  );
  return missing.length === 0 ? undefined : `${missing.map((tool) => PREFIX + tool).join(', ')} not installed`;
}

function inFolder<T>(use: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'privmem-a64-'));
  try {
    return use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(tool: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(PREFIX + tool, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`${PREFIX}${tool} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** The words that GNU as makes of one instruction per line; each line stands at address 0, so that targets are distances. */
export function assemble(lines: readonly string[]): Uint32Array {
  return inFolder((folder) => {
    const [source, object, binary] = ['s.s', 's.o', 's.bin'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(source, `.arch armv8-a\n${lines.join('\n')}\n`);
    run('as', ['-o', object, source]);
    run('objcopy', ['-O', 'binary', '-j', '.text', object, binary]);
    const bytes = readFileSync(binary);
    return new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  });
}

/** What GNU objdump calls each word. */
export function objdump(words: Uint32Array): string[] {
  return inFolder((folder) => {
    const file = join(folder, 'code.bin');
    writeFileSync(file, new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
    const text = run('objdump', ['-D', '-z', '-w', '-b', 'binary', '-m', 'aarch64', '-M', 'no-aliases', file]);
    return [...text.matchAll(/^\s*[0-9a-f]+:\t[0-9a-f]{8} \t(.*)$/gm)].map(([, line = '']) =>
      line
        .replace(/\t/g, ' ')
        .replace(/\s*\/\/.*$/, '')
        .trim(),
    );
  });
}
