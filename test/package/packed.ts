/** Packs a copy of the repository, with a fresh build, and installs the tarball where there is no compiler. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ChildResult, runCommand } from '../support/child.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const LEFT_OUT = new Set(['.git', 'node_modules', 'build', 'build-asan', 'dist', 'prebuilds', 'coverage']);
const PROGRAMS = ['node', 'npm', 'npx', 'sh', 'env'];
const LIMIT_MS = 240_000;

export interface Installed {
  /** The project that depends on the package. */
  readonly project: string;
  /** The package as installed. */
  readonly home: string;
  /** Paths in the tarball. */
  readonly files: readonly string[];
  /** Runs a program in the project, with few programs in reach. */
  run(command: string, ...args: string[]): Promise<ChildResult>;
}

/** Works in `folder`, which the caller removes. */
export async function packAndInstall(folder: string): Promise<Installed> {
  const stage = path.join(folder, 'stage');
  fs.cpSync(ROOT, stage, { recursive: true, filter: (from) => !LEFT_OUT.has(path.relative(ROOT, from)) });
  fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(stage, 'node_modules'));
  await npm(stage, 'run', 'build');
  await npm(stage, 'run', 'prebuilds', '--', '--out', stage);
  const packed = await npm(stage, 'pack', '--ignore-scripts', '--json', '--pack-destination', folder);
  const { filename, files } = packReport(packed);

  const project = path.join(folder, 'project');
  fs.mkdirSync(project);
  fs.writeFileSync(path.join(project, 'package.json'), '{ "name": "uses-privmem", "private": true }\n');
  const bin = linkPrograms(folder);
  const run = (command: string, ...args: string[]): Promise<ChildResult> =>
    runCommand(command, args, { cwd: project, env: plainEnvironment(bin), onlyEnv: true, limitMs: LIMIT_MS });
  succeeded(await run('npm', 'install', path.join(folder, filename)));
  return { project, home: path.join(project, 'node_modules', 'privmem'), files, run };
}

/** The result, which must be of a program that came to a good end. */
export function succeeded(result: ChildResult): ChildResult {
  if (result.status === 0) return result;
  throw new Error(`status ${result.status}, signal ${result.signal}\n${result.stdout}\n${result.stderr}`);
}

async function npm(cwd: string, ...args: string[]): Promise<string> {
  return succeeded(await runCommand('npm', args, { cwd, limitMs: LIMIT_MS })).stdout;
}

function packReport(json: string): { filename: string; files: string[] } {
  const [report] = JSON.parse(json) as { filename: string; files: { path: string }[] }[];
  if (report === undefined) throw new Error('npm pack told nothing');
  return { filename: report.filename, files: report.files.map((file) => file.path) };
}

/** A folder for PATH with node and npm, but neither compiler nor make nor python. */
function linkPrograms(folder: string): string {
  const bin = path.join(folder, 'bin');
  fs.mkdirSync(bin);
  for (const program of PROGRAMS) fs.symlinkSync(found(program), path.join(bin, program));
  return bin;
}

function found(program: string): string {
  if (program === 'node') return process.execPath;
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    const candidate = path.join(folder, program);
    if (fs.existsSync(candidate)) return fs.realpathSync(candidate);
  }
  throw new Error(`${program} is not in PATH`);
}

/** This environment without what npm adds for scripts, and without a compiler named in it. */
function plainEnvironment(bin: string): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value === undefined || /^(npm_|VITEST|NODE_ENV$|NODE_OPTIONS$|PRIVMEM_|CC$|CXX$|INIT_CWD$)/i.test(name))
      continue;
    env[name] = value;
  }
  return { ...env, PATH: bin };
}
