/** `privmem lifecycle`: carries out one lifecycle with a running guest. */
import { type Command, Option } from 'commander';
import { simulationOf } from '../../kernel/candidates.ts';
import { type Backend, SIM_ARCHES, SIM_RELEASES, type SimArch, type SimRelease } from '../../kernel/select.ts';
import { DESIGNS } from '../../lifecycle/designs/index.ts';
import { defaultDesign, lifecycleObstacle, runLifecycle } from '../../lifecycle/lifecycle.ts';
import { needOf } from '../../lifecycle/pairs.ts';
import { TECHNOLOGIES } from '../../lifecycle/technologies/index.ts';
import { type LifecycleReport, type Step, verdictText } from '../../lifecycle/words.ts';
import { microsText, outcomeOf } from '../../report/findings.ts';
import { reportPage } from '../../report/page.ts';
import { runOfLifecycle } from '../../report/run.ts';
import { EXIT } from '../exit-status.ts';
import { CallLines, commandLine, ReportFile } from '../report-file.ts';
import { type CommonOptions, runInSession, type Session } from '../session.ts';
import { formatTable } from '../table.ts';
import { parseSize } from '../units.ts';

interface LifecycleCommandOptions extends CommonOptions {
  readonly design?: string;
  readonly technology: string;
  readonly backend: Backend;
  readonly size: number;
  readonly release?: SimRelease;
  readonly arch?: SimArch;
  readonly report?: string;
}

function outcomeText(session: Session, step: Step): string {
  const { paint } = session.style;
  const text = outcomeOf(step);
  if (!step.expected) return paint('red', `${text} !`);
  return paint(step.outcome === 'ok' ? 'green' : 'yellow', text);
}

function show(session: Session, report: LifecycleReport, why: string): void {
  const { paint } = session.style;
  const { design, technology, backend, kernel, arch, steps } = report;
  session.say(
    `${paint('bold', 'lifecycle')}  design ${design}, technology ${technology}, backend ${backend} (Linux ${kernel}, ${arch}; ${why})`,
  );
  session.say();
  const rows = steps.map((step) => [
    step.name,
    step.from === step.to ? step.to : `${step.from} → ${step.to}`,
    outcomeText(session, step),
    step.enforcedBy,
    String(step.calls),
    microsText(step.micros),
    [
      step.detail,
      ...Object.entries(step.reported ?? {}).map(([name, value]) => `${name} ${paint('cyan', value)}`),
    ].join('; '),
  ]);
  const columns = [
    { title: 'step' },
    { title: 'state' },
    { title: 'outcome' },
    { title: 'enforced by' },
    { title: 'calls', align: 'right' as const },
    { title: 'cost', align: 'right' as const },
    { title: 'detail' },
  ];
  const [head = '', ...lines] = formatTable(columns, rows);
  session.say(paint('dim', head));
  for (const line of lines) session.say(line);
  session.say();
  const counts = (['kernel', 'library', 'nobody'] as const).map(
    (who) => `${who} ${steps.filter((step) => step.enforcedBy === who).length}`,
  );
  const failed = steps.filter((step) => !step.expected);
  session.say(`enforced by: ${counts.join(', ')}`);
  session.say(
    report.passed
      ? paint('green', verdictText(steps))
      : paint('red', `failed: ${failed.map((step) => step.name).join(', ')}`),
  );
}

async function carryOut(session: Session, options: LifecycleCommandOptions): Promise<number> {
  const { backend, technology, release, arch } = options;
  const page = options.report === undefined ? undefined : new ReportFile(options.report);
  const calls = page === undefined ? undefined : new CallLines();
  const design = options.design ?? defaultDesign(technology);
  const need = needOf(design, technology);
  const { sys, why } = await session.selectKernel({
    backend,
    obstacle: (real) => lifecycleObstacle(real, { design, technology }),
    arch: arch ?? (technology === 'pkvm' ? need.arch : undefined),
    simulate: simulationOf(need, release),
    watch: calls?.sink,
  });
  const progress = process.stderr.isTTY === true && !session.json;
  const report = await runLifecycle(sys, {
    design,
    technology,
    size: options.size,
    signal: session.interrupt,
    onStepStart: (name) => {
      calls?.nextStep();
      if (progress) process.stderr.write(`\r\u001b[K${name} …`);
    },
    onStep: (step) => calls?.endStep(step),
  }).finally(() => {
    if (progress) process.stderr.write('\r\u001b[K');
  });
  if (page !== undefined) {
    const title = `Lifecycle: design ${report.design}, technology ${report.technology}`;
    page.write(reportPage({ title, runs: [runOfLifecycle(report, calls?.lines)], command: commandLine() }));
    process.stderr.write(`report: ${page.path}\n`);
  }
  if (session.json) session.document(report);
  else show(session, report, why);
  return report.passed ? EXIT.done : EXIT.failed;
}

export function addLifecycle(program: Command): void {
  program
    .command('lifecycle')
    .description(
      'carry out one lifecycle of guest private memory, with a running guest; every step says its state, outcome, enforcer and cost',
    )
    .option(
      '--design <name>',
      `${DESIGNS.map(({ name }) => name).join(', ')}; default: the one that fits the technology`,
    )
    .option('--technology <name>', TECHNOLOGIES.map(({ name }) => name).join(', '), 'none')
    .addOption(new Option('--backend <kind>', 'the kernel to run on').choices(['auto', 'kvm', 'sim']).default('auto'))
    .addOption(new Option('--release <version>', 'the kernel that a simulation imitates').choices(SIM_RELEASES))
    .addOption(new Option('--arch <name>', 'the architecture of the kernel: default any').choices(SIM_ARCHES))
    .option('--size <bytes>', 'private memory, a multiple of 4096; K, M and G are understood', parseSize, 2 ** 21)
    .option('--report <file>', 'a page of HTML: the memory over time, with steps and calls')
    .option('--json', 'one JSON document on stdout, everything else on stderr')
    .option('--trace [file]', 'every system call: lines on stderr, or JSON lines into --trace=FILE')
    .action((options: LifecycleCommandOptions) => runInSession(options, (session) => carryOut(session, options)));
}
