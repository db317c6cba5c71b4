#!/usr/bin/env node
// Runs the conformance suite on every kernel at hand and writes docs/kernels.md: scenarios by area against kernels. Usage: node scripts/kernels-page.mjs [--out FILE] [--kernels 6.12,7.3] [--report 7.3=FILE]: a run of the suite that was kept (--format json) in place of a new one
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const MAIN = new URL('../dist/cli/main.js', import.meta.url).pathname;
const { values } = parseArgs({
  options: {
    out: { type: 'string', default: new URL('../docs/kernels.md', import.meta.url).pathname },
    kernels: { type: 'string', default: '6.12,7.3' },
    report: { type: 'string', multiple: true, default: [] },
    seed: { type: 'string', default: '20220425' },
  },
});
const SIMULATED = ['6.1', '6.8', '6.12', '6.18', '7.3'];

const suite = (...args) => [process.execPath, MAIN, 'conformance', '--format', 'json', '--seed', values.seed, ...args];

/** The document that a run prints, or the reason why there is none. */
function collect(title, command) {
  process.stderr.write(`${title} …\n`);
  return new Promise((resolve) => {
    const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    child.on('close', (status) => {
      try {
        const report = JSON.parse(text.slice(text.indexOf('{')));
        resolve(report.unsupported ? { title, reason: `${report.missing}: ${report.reason}` } : { title, report });
      } catch {
        resolve({ title, reason: `ended with status ${status}` });
      }
    });
  });
}

const columns = [];
for (const release of SIMULATED)
  columns.push(await collect(`simulated ${release}`, suite('--backend', 'sim', '--release', release)));
if (existsSync('/dev/kvm')) columns.push(await collect('this host', suite('--backend', 'kvm')));
const kept = new Map(values.report.map((given) => given.split('=', 2)));
for (const kernel of values.kernels.split(',').filter(Boolean)) {
  if (kept.has(kernel)) {
    columns.push({ title: `real ${kernel}`, report: JSON.parse(readFileSync(kept.get(kernel), 'utf8')) });
    continue;
  }
  columns.push(
    await collect(`real ${kernel}`, [
      process.execPath,
      MAIN,
      'vm',
      '--kernel',
      kernel,
      '--',
      ...suite('--backend', 'kvm'),
    ]),
  );
}

const run = columns.filter(({ report }) => report !== undefined);
const topicOf = (name) => name.split('/').slice(0, 2).join('/');
const topics = [...new Set(run.flatMap(({ report }) => report.scenarios.map(({ name }) => topicOf(name))))];
const cell = (report, wanted) => {
  const own = report.scenarios.filter(({ name }) => wanted(name));
  const count = (outcome) => own.filter((scenario) => scenario.outcome === outcome).length;
  const [passed, failed, skipped] = ['passed', 'failed', 'skipped'].map(count);
  return [
    passed > 0 || failed + skipped === 0 ? `${passed}` : '',
    failed > 0 ? `**${failed} failed**` : '',
    skipped > 0 ? `${skipped} skipped` : '',
  ]
    .filter(Boolean)
    .join(', ');
};
const row = (cells) => `| ${cells.join(' | ')} |`;
const heading = ({ title, report }) =>
  title === 'this host' ? `this host, ${report.kernel.split('-')[0]}` : `${title} (${report.kernel})`;
const lines = [
  '# Behaviours by kernel',
  '',
  'Written by `npm run kernels-page`: the conformance suite, carried out on each kernel. A number is how many scenarios passed.',
  '',
  row(['topic', ...run.map(heading)]),
  row(['---', ...run.map(() => '---')]),
  ...topics.map((topic) =>
    row([`\`${topic}\``, ...run.map(({ report }) => cell(report, (name) => topicOf(name) === topic))]),
  ),
  row(['all', ...run.map(({ report }) => cell(report, () => true))]),
  '',
  '## Why scenarios were skipped',
  '',
];
for (const { report, ...column } of run) {
  const reasons = new Map();
  for (const { outcome, detail } of report.scenarios)
    if (outcome === 'skipped') {
      // The build's own suffix says nothing about the kernel.
      const reason = detail.replace(/\b(\d+\.\d+\.\d+)-[\w.+-]+/g, '$1');
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
  lines.push(
    `**${heading({ ...column, report })}**`,
    '',
    ...[...reasons].map(([reason, count]) => `- ${count}: ${reason}`),
    ...(reasons.size === 0 ? ['- none'] : []),
    '',
  );
}
const failures = run.flatMap((column) =>
  column.report.scenarios.filter(({ outcome }) => outcome === 'failed').map((scenario) => ({ column, ...scenario })),
);
if (failures.length > 0) {
  lines.push('## What failed', '');
  for (const { column, name, detail } of failures)
    lines.push(`- ${heading(column)}: \`${name}\`: ${detail.replace(/\s+/g, ' ')}`);
  lines.push('');
}
const differing =
  topics.length === 0
    ? []
    : [...new Set(run.flatMap(({ report }) => report.scenarios.map(({ name }) => name)))].filter((name) => {
        const outcomes = run
          .map(({ report }) => report.scenarios.find((scenario) => scenario.name === name)?.outcome)
          .filter((outcome) => outcome !== 'skipped');
        return new Set(outcomes).size > 1;
      });
if (differing.length > 0) lines.push('## Where kernels disagree', '', ...differing.map((name) => `- \`${name}\``), '');
const absent = columns.filter(({ reason }) => reason !== undefined);
if (absent.length > 0) lines.push('## Not run', '', ...absent.map(({ title, reason }) => `- ${title}: ${reason}`), '');
writeFileSync(values.out, `${lines.join('\n').trimEnd()}\n`);
process.stderr.write(`${values.out}\n`);
process.exitCode = failures.length > 0 ? 1 : 0;
