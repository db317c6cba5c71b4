#!/usr/bin/env node
// Plants the faults of test/conformance/mutants in a 7.3 kernel, one at a time: builds it, boots it, and runs the scenario that must fail on it.
// Usage: node test/conformance/plant.mjs [--only TEXT]... [--every N] [--seconds N] [--all-scenarios]
// Needs `npm run build`, a kernel built by `privmem vm --build 7.3`, and about half a minute for each fault. Exit status 1: one was not found.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { originalFile } from '../../dist/testvm/build/variant.js';
import { failures, foundBy } from './found-by.mjs';

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [] },
    every: { type: 'string', default: '1' },
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
  const files = ['guest-memfd', 'memslot', 'private-memory'].map(
    (name) => new URL(`./mutants/${name}.ts`, import.meta.url).pathname,
  );
  execFileSync(tsc, [
    ...['--outDir', out, '--module', 'nodenext', '--target', 'es2022', '--ignoreConfig'],
    ...['--rewriteRelativeImportExtensions', '--types', '', ...files],
  ]);
  writeFileSync(join(out, 'package.json'), '{"type":"module"}');
  const modules = await Promise.all(
    ['guest-memfd', 'memslot', 'private-memory'].map((name) => import(join(out, `${name}.js`))),
  );
  return modules.flatMap((module) => Object.values(module).flat());
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

function plant(mutant, originalOf) {
  const patch = patchOf(mutant, originalOf);
  const built = spawnSync(process.execPath, [MAIN, 'vm', '--build', '7.3', '--patch', patch, '--name', 'planted'], {
    encoding: 'utf8',
  });
  if (built.status !== 0) throw new Error(`not built: ${built.stderr.trim().split('\n').slice(-3).join(' ')}`);
  const result = suiteOn('planted', [mutant.expected]);
  return foundBy(result, (name) => !unsound.has(name) && (values['all-scenarios'] || name === mutant.expected));
}

/** The document of a run of the suite, or of these scenarios only. */
function suiteOn(kernel, names) {
  const filter = values['all-scenarios'] ? [] : names.flatMap((name) => ['--filter', name]);
  const suite = [
    process.execPath,
    MAIN,
    'conformance',
    '--backend',
    'kvm',
    '--format',
    'json',
    '--seed',
    '7',
    '--kmsg',
  ];
  const ran = spawnSync(
    process.execPath,
    [MAIN, 'vm', '--kernel', kernel, '--json', '--timeout', '5m', '--', ...suite, ...filter],
    { encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  return JSON.parse(ran.stdout);
}

const all = await load();
const picked = all.filter(
  ({ name }, i) =>
    i % Number(values.every) === 0 && (values.only.length === 0 || values.only.some((text) => name.includes(text))),
);
const originalOf = treeOf();
// Control: what fails on the kernel without a fault finds none.
const unsound = new Set(failures(suiteOn('7.3', [...new Set(picked.map(({ expected }) => expected))])));
for (const name of unsound) console.log(`fails on the sound kernel: ${name}`);
const end = Date.now() + Number(values.seconds) * 1000;
const counts = { found: 0, missed: 0, unusable: 0 };
for (const mutant of picked) {
  if (Date.now() > end) break;
  try {
    const by = plant(mutant, originalOf);
    counts[by === undefined ? 'missed' : 'found']++;
    console.log(`${by === undefined ? 'NOT FOUND' : 'found'}: ${mutant.name}: ${by ?? mutant.expected}`);
  } catch (error) {
    counts.unusable++;
    console.log(`UNUSABLE: ${mutant.name}: ${error.message}`);
  }
}
rmSync(work, { recursive: true, force: true });
console.log(`${counts.found} found, ${counts.missed} not found, ${counts.unusable} unusable, of ${all.length} in all`);
process.exitCode = counts.missed + counts.unusable > 0 ? 1 : 0;
