#!/usr/bin/env node
/**
 * Compares every number, size and offset of the tables in lib/uapi with real kernel headers, through a C compiler.
 * What the headers lack is listed and never counts as agreement. Run `npm run build` first.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { factsOf, reasonForAbsence, unknownNames } from './uapi/facts.mjs';
import { fromDebian, fromInclude, fromSystem, fromTree } from './uapi/headers.mjs';
import { evaluate, findCompiler, macrosOf } from './uapi/probe.mjs';

const USAGE = `usage: node scripts/check-uapi.mjs [options]
  (no option)         the newest linux-libc-dev that Debian offers, downloaded to a temporary directory; the system's
                      own headers when that cannot be had
  --require-newest    fail instead of falling back to the system's headers
  --tree DIR          a kernel source tree
  --include DIR       a directory that contains linux/kvm.h and asm/kvm.h
  --system            the system's own headers
  --mirror URL        Debian's mirror (default http://deb.debian.org/debian)
  --suite NAME        a suite to look in, may be repeated (default sid, testing, stable-backports)
  --declare FILE      a module whose default export is called with the tables first, to declare what a patched kernel has
  --dist DIR          the compiled package (default dist)
  --json              one JSON document on stdout
exit status: 0 all facts found agree; 1 a fact differs, or the newest headers lack one without a known reason; 2 wrong usage
`;

function options() {
  try {
    return parseArgs({
      options: {
        'require-newest': { type: 'boolean', default: false },
        tree: { type: 'string' },
        include: { type: 'string' },
        system: { type: 'boolean', default: false },
        mirror: { type: 'string', default: 'http://deb.debian.org/debian' },
        suite: { type: 'string', multiple: true, default: ['sid', 'testing', 'stable-backports'] },
        declare: { type: 'string' },
        dist: { type: 'string', default: join(dirname(fileURLToPath(import.meta.url)), '../dist') },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values;
  } catch (error) {
    process.stderr.write(`${error.message}\n${USAGE}`);
    process.exit(2);
  }
}

const log = (text) => process.stderr.write(`uapi: ${text}\n`);

async function findHeaders(opts, work) {
  if (opts.tree !== undefined) return fromTree(opts.tree, work, log);
  if (opts.include !== undefined) return fromInclude(opts.include);
  if (opts.system) return fromSystem();
  try {
    return await fromDebian(work, { mirror: opts.mirror, suites: opts.suite, dist: opts.dist });
  } catch (error) {
    const reason = error.message.split('\n').slice(0, 3).join(' ');
    if (opts['require-newest']) throw new Error(`the newest headers cannot be had: ${reason}`);
    log(`the newest headers cannot be had: ${reason}`);
    log("falling back to the system's own headers, which may be older than the tables");
    return fromSystem();
  }
}

/** One verdict per fact over all architectures: a difference on one of them is a difference. */
function judge(facts, headers, work) {
  const verdicts = facts.map(() => ({ agree: [], differ: [], absent: [], unchecked: true }));
  const unknown = new Set();
  const compilers = {};
  for (const [arch, place] of Object.entries(headers.arches)) {
    const compiler = findCompiler(arch);
    if (compiler === undefined) throw new Error('no C compiler: cc, gcc or clang is needed');
    compilers[arch] = `${compiler.command} (${compiler.machine})`;
    const setup = { ...place, work };
    const indices = [...facts.keys()].filter((i) => facts[i].arch === undefined || facts[i].arch === arch);
    const values = evaluate(
      compiler,
      indices.map((i) => facts[i]),
      setup,
    );
    indices.forEach((factIndex, i) => {
      const verdict = verdicts[factIndex];
      const actual = values[i];
      verdict.unchecked = false;
      if (actual === undefined || actual === facts[factIndex].absentValue) verdict.absent.push(arch);
      else if (actual === BigInt.asUintN(64, facts[factIndex].value)) verdict.agree.push(arch);
      else verdict.differ.push({ arch, actual });
    });
    for (const name of unknownNames(headers.uapi, macrosOf(compiler, setup))) unknown.add(name);
  }
  return { verdicts, unknown: [...unknown].sort(), compilers };
}

const hex = (value) => (value < 4096n ? value.toString() : `0x${value.toString(16)}`);

function summarize(facts, { verdicts, unknown, compilers }, headers) {
  const differ = [];
  const absent = [];
  const unchecked = [];
  let agree = 0;
  verdicts.forEach((verdict, i) => {
    const { subject, value } = facts[i];
    if (verdict.unchecked) unchecked.push(subject);
    else if (verdict.differ.length > 0) {
      for (const { arch, actual } of verdict.differ) {
        differ.push({ subject, arch, tables: hex(BigInt.asUintN(64, value)), headers: hex(actual) });
      }
    } else if (verdict.agree.length > 0) agree++;
    else absent.push({ subject, reason: reasonForAbsence(subject) ?? null });
  });
  const unexplained = headers.newest
    ? absent.filter(({ reason }) => reason === null).map(({ subject }) => subject)
    : [];
  return {
    headers: headers.origin,
    version: headers.version,
    newest: headers.newest,
    compilers,
    facts: facts.length,
    agree,
    differ,
    absent,
    unexplained,
    unchecked,
    unknown,
    passed: differ.length === 0 && unexplained.length === 0,
  };
}

/** One line for a struct that is missing as a whole. */
function grouped(absent) {
  const whole = new Set(
    absent
      .filter(({ subject }) => subject.endsWith(' size') && !subject.endsWith('[] size'))
      .map(({ subject }) => subject.slice(0, -5)),
  );
  const ownerOf = (subject) =>
    [...whole].find((name) => subject.startsWith(`${name} `) || subject.startsWith(`${name}.`));
  const counts = new Map();
  const rest = [];
  for (const item of absent) {
    const owner = ownerOf(item.subject);
    if (owner === undefined) rest.push(item);
    else counts.set(owner, (counts.get(owner) ?? 0) + 1);
  }
  const structs = [...counts].map(([name, count]) =>
    count === 1 ? { subject: `${name} size`, reason: null } : { subject: `${name}, ${count} facts`, reason: null },
  );
  return [...structs, ...rest];
}

function print(report) {
  const say = (text) => process.stdout.write(`${text}\n`);
  say(`headers: ${report.headers}, Linux ${report.version}`);
  for (const [arch, compiler] of Object.entries(report.compilers)) say(`${arch}: ${compiler}`);
  for (const { subject, arch, tables, headers } of report.differ) {
    say(`DIFFERS (${arch}): ${subject} is ${tables} in the tables, ${headers} in the headers`);
  }
  for (const { subject, reason } of grouped(report.absent)) {
    say(`not in these headers: ${subject}${reason === null ? '' : ` (${reason})`}`);
  }
  for (const subject of report.unexplained) say(`ERROR: the newest headers lack ${subject}, and no reason is known`);
  if (report.unchecked.length > 0) {
    say(`not checked, no headers of their architecture: ${report.unchecked.length} facts`);
  }
  if (report.unknown.length > 0) {
    say(`in these headers, not in the tables (${report.unknown.length}): ${report.unknown.join(' ')}`);
  }
  const counts = [
    `${report.agree} facts agree`,
    `${report.differ.length} differ`,
    `${report.absent.length} not in these headers`,
  ];
  if (report.unchecked.length > 0) counts.push(`${report.unchecked.length} not checked`);
  say(`uapi: ${counts.join(', ')} (Linux ${report.version})`);
}

process.stdout.on('error', () => {}); // a reader that closed the pipe: the exit status still says how it went
const opts = options();
if (opts.help) {
  process.stdout.write(USAGE);
  process.exit(0);
}
const entry = resolve(opts.dist, 'uapi/index.js');
if (!existsSync(entry)) {
  log(`${entry} is missing: run npm run build first`);
  process.exit(2);
}
const uapi = await import(pathToFileURL(entry).href);
if (opts.declare !== undefined) {
  const { default: declare } = await import(pathToFileURL(resolve(opts.declare)).href);
  await declare(uapi);
}
const work = mkdtempSync(join(tmpdir(), 'privmem-uapi-'));
try {
  const headers = { ...(await findHeaders(opts, work)), uapi };
  const facts = factsOf(uapi);
  const report = summarize(facts, judge(facts, headers, work), headers);
  if (opts.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else print(report);
  process.exitCode = report.passed ? 0 : 1;
} catch (error) {
  log(error.message);
  process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}
