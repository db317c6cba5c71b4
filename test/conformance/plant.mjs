#!/usr/bin/env node
// Plants the faults of test/conformance/mutants in a 7.3 kernel, one at a time: builds it, boots it, and runs the scenario that must fail on it.
// Usage: node test/conformance/plant.mjs [--group FILE]... [--only TEXT]... [--every N] [--from N] [--seconds N] [--all-scenarios]
// Needs `npm run build`, a kernel built by `privmem vm --build 7.3`, and about half a minute for each fault. Exit status 1: one was not found.
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { originalFile } from '../../dist/testvm/build/variant.js';
import { failures, foundBy } from './found-by.mjs';

const { values } = parseArgs({
  options: {
    group: { type: 'string', multiple: true, default: [] },
    only: { type: 'string', multiple: true, default: [] },
    every: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    seconds: { type: 'string', default: '1000000' },
    'all-scenarios': { type: 'boolean', default: false },
  },
});
const MAIN = new URL('../../dist/cli/main.js', import.meta.url).pathname;
const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
const work = mkdtempSync(join(tmpdir(), 'privmem-plant-'));

async function load() {
  // The tables are TypeScript without types of their own at run time.
  const out = join(work, 'mutants');
  const tsc = new URL('../../node_modules/.bin/tsc', import.meta.url).pathname;
  const index = new URL('./mutants/index.ts', import.meta.url).pathname;
  execFileSync(tsc, [
    ...['--outDir', out, '--module', 'nodenext', '--target', 'es2022', '--ignoreConfig'],
    ...['--rewriteRelativeImportExtensions', '--types', '', index],
  ]);
  writeFileSync(join(out, 'package.json'), '{"type":"module"}');
  const { MUTANTS } = await import(join(out, 'index.js'));
  return Object.entries(MUTANTS).flatMap(([group, mutants]) => mutants.map((mutant) => ({ ...mutant, group })));
}

/** The fault as a patch against the tree that kernel 7.3 was built from. */
function patchOf({ file, original, replacement }, originalOf) {
  const source = readFileSync(originalOf(file), 'utf8');
  const at = source.indexOf(original);
  if (at < 0 || source.indexOf(original, at + 1) >= 0)
    throw new Error(`${file}: what is to be replaced is not there once`);
  const [a, b] = ['a', 'b'].map((side) => join(work, side));
  writeFileSync(a, source);
  writeFileSync(b, source.slice(0, at) + replacement + source.slice(at + original.length));
  const { stdout } = spawnSync('diff', ['-u', '--label', `a/${file}`, '--label', `b/${file}`, a, b], {
    encoding: 'utf8',
  });
  const patch = join(work, 'fault.patch');
  writeFileSync(patch, stdout);
  return patch;
}

function treeOf() {
  const key = readFileSync(join(cache, 'privmem/kernels/names/7.3.x64'), 'utf8').trim();
  const { tree } = JSON.parse(readFileSync(join(cache, `privmem/kernels/${key}/kernel.json`), 'utf8'));
  return (file) => originalFile(dirname(tree), file, undefined);
}

/** Status and outputs of one of our commands. */
async function privmem(...args) {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [MAIN, 'vm', ...args], { maxBuffer: 2 ** 28 });
    return { status: 0, stdout, stderr: '' };
  } catch (error) {
    return { status: error.code, stdout: error.stdout ?? '', stderr: error.stderr ?? String(error) };
  }
}

/** Builds the kernel with the fault; its image. */
async function build(mutant, name) {
  const patch = patchOf(mutant, originalOf);
  const { status, stdout, stderr } = await privmem('--build', '7.3', '--patch', patch, '--name', name, '--json');
  if (status !== 0) throw new Error(`not built: ${stderr.trim().split('\n').slice(-3).join(' ')}`);
  return JSON.parse(stdout).kernel.image;
}

/** The document of a run of the suite, or of these scenarios only. */
async function suiteOn(kernel, names) {
  const filter = values['all-scenarios'] ? [] : names.flatMap((name) => ['--filter', name]);
  const suite = ['conformance', '--backend', 'kvm', '--format', 'json', '--seed', '7', '--kmsg', ...filter];
  const ran = await privmem('--kernel', kernel, '--json', '--timeout', '10m', '--', process.execPath, MAIN, ...suite);
  return JSON.parse(ran.stdout);
}

/** The scenario that fails on it, or undefined. */
async function noticed(image, mutant) {
  const result = await suiteOn(image, [mutant.expected]);
  return foundBy(result, (name) => !unsound.has(name) && (values['all-scenarios'] || name === mutant.expected));
}

const all = await load();
const picked = all.filter(
  ({ name, group }, i) =>
    i % Number(values.every) === Number(values.from) &&
    (values.group.length === 0 || values.group.includes(group)) &&
    (values.only.length === 0 || values.only.some((text) => name.includes(text))),
);
const originalOf = treeOf();
// Control: what fails on the kernel without a fault finds none.
const unsound = new Set(failures(await suiteOn('7.3', [...new Set(picked.map(({ expected }) => expected))])));
for (const name of unsound) console.log(`fails on the sound kernel: ${name}`);
const end = Date.now() + Number(values.seconds) * 1000;
const counts = { found: 0, missed: 0, unusable: 0 };
const started = performance.now();
// While one kernel runs the next is built.
const begin = (i) => {
  const mutant = Date.now() > end ? undefined : picked[i];
  const built = mutant === undefined ? undefined : build(mutant, `planted-${i % 2}`);
  built?.catch(() => {});
  return { mutant, built };
};
for (let i = 0, now = begin(0); now.mutant !== undefined; i++) {
  const { mutant, built } = now;
  const image = await built.catch((error) => error);
  now = begin(i + 1);
  try {
    if (image instanceof Error) throw image;
    const by = await noticed(image, mutant);
    counts[by === undefined ? 'missed' : 'found']++;
    console.log(`${by === undefined ? 'NOT FOUND' : 'found'}: ${mutant.name}: ${by ?? mutant.expected}`);
  } catch (error) {
    counts.unusable++;
    console.log(`UNUSABLE: ${mutant.name}: ${error.message}`);
  }
  // Nobody wants to boot it again.
  if (!(image instanceof Error)) rmSync(dirname(image), { recursive: true, force: true });
}
rmSync(work, { recursive: true, force: true });
console.log(
  `${counts.found} found, ${counts.missed} not found, ${counts.unusable} unusable, of ${all.length} in all, ${Math.round((performance.now() - started) / 1000)} s`,
);
process.exitCode = counts.missed + counts.unusable > 0 ? 1 : 0;
