/** `privmem probe`: what this host can do, what is missing, and the next step. */
import type { Command } from 'commander';
import { UnsupportedError } from '../../kernel/errors.ts';
import type { Support } from '../../lifecycle/support.ts';
import { EXIT } from '../exit-status.ts';
import { type ProbeReport, probe, probeWithoutAddon } from '../probe-report.ts';
import { type CommonOptions, runInSession, type Session } from '../session.ts';
import { formatTable } from '../table.ts';

interface ProbeOptions extends CommonOptions {
  readonly all?: boolean;
}

/** Capabilities that decide what can be done with private memory; `--all` shows the rest. */
const SHOWN: Readonly<Record<string, string>> = {
  KVM_CAP_USER_MEMORY2: 'memslots with a guest_memfd (6.8)',
  KVM_CAP_GUEST_MEMFD: 'guest_memfd (6.8)',
  KVM_CAP_GUEST_MEMFD_FLAGS: 'flags of guest_memfd: 1 MMAP, 2 INIT_SHARED (6.18)',
  KVM_CAP_MEMORY_ATTRIBUTES: 'memory attributes: 8 PRIVATE (6.8)',
  KVM_CAP_MEMORY_FAULT_INFO: 'memory-fault exits (6.8)',
  KVM_CAP_VM_TYPES: 'mask of VM types (6.8)',
  KVM_CAP_PRE_FAULT_MEMORY: 'pre-faulting (6.11)',
  KVM_CAP_EXIT_HYPERCALL: 'hypercalls that exit: bit 12 MAP_GPA_RANGE',
  KVM_CAP_NR_MEMSLOTS: 'memslots',
  KVM_CAP_READONLY_MEM: 'read-only memslots',
  KVM_CAP_SYNC_MMU: 'guest mappings follow the host',
  KVM_CAP_MAX_VCPUS: 'vCPUs at most',
};

function supportRows(session: Session, what: Readonly<Record<string, Support>>): string[][] {
  return Object.entries(what).map(([name, { supported, reason, nextStep }]) => [
    `  ${name}`,
    supported ? session.style.paint('green', 'yes') : session.style.paint('yellow', 'no'),
    supported ? '' : `${reason ?? ''}${nextStep === undefined ? '' : `; ${nextStep}`}`,
  ]);
}

function show(session: Session, report: ProbeReport, all: boolean): void {
  const { paint } = session.style;
  const lines = (rows: string[][], titles: readonly string[]) => {
    for (const line of formatTable(
      titles.map((title) => ({ title: paint('dim', title) })),
      rows,
    ))
      session.say(line);
  };
  session.say(`${paint('bold', 'kernel')}  ${report.kernel} (${report.arch})`);
  const { available, reason, nextStep, capabilities, vmTypes } = report.kvm;
  session.say(
    `${paint('bold', 'KVM')}     ${available ? paint('green', 'available') : paint('red', `not available: ${reason ?? ''}`)}`,
  );
  if (!available) {
    session.say(`        next step: ${nextStep ?? ''}`);
    session.say('        without KVM no technology and no design can be carried out on the real kernel');
    return;
  }
  session.say(`        VM types: ${vmTypes.join(', ')}`);
  session.say();
  const rows = Object.entries(capabilities)
    .filter(([name, value]) => (all ? value !== 0 : name in SHOWN))
    .map(([name, value]) => [`  ${name}`, value === 0 ? paint('dim', '0') : String(value), SHOWN[name] ?? '']);
  lines(rows, ['capabilities', 'value', 'meaning']);
  session.say();
  lines(supportRows(session, report.technologies), ['technologies', '', '']);
  session.say();
  lines(supportRows(session, report.designs), ['designs', '', '']);
}

function gather(session: Session): ProbeReport {
  try {
    return probe(session.realKernel());
  } catch (error) {
    if (error instanceof UnsupportedError) return probeWithoutAddon(error);
    throw error;
  }
}

export function addProbe(program: Command): void {
  program
    .command('probe')
    .description(
      'what this host can do: kernel, KVM, capabilities, VM types, technologies and designs; what is missing and the next step',
    )
    .option('--json', 'one JSON document on stdout, everything else on stderr')
    .option('--trace [file]', 'every system call: lines on stderr, or JSON lines into --trace=FILE')
    .option('--all', 'every capability that is not 0, not only those of private memory')
    .action((options: ProbeOptions) =>
      runInSession(options, async (session) => {
        const report = gather(session);
        if (session.json) session.document(report);
        else show(session, report, options.all ?? false);
        return EXIT.done;
      }),
    );
}
