/** `privmem trace diff`: two recordings, call by call. */
import type { Command } from 'commander';
import { type DiffEntry, diffTraces, type TraceDiff } from '../../trace/diff.ts';
import type { RecordedCall } from '../../trace/recording.ts';
import { EXIT } from '../exit-status.ts';
import { runInSession, type Session } from '../session.ts';
import { pickRecording, showTexts } from '../trace-files.ts';

function showEntry(session: Session, entry: DiffEntry): void {
  const { paint } = session.style;
  if (entry.kind === 'only-a') session.say(paint('red', `- ${showTexts(entry.a)}`));
  else if (entry.kind === 'only-b') session.say(paint('green', `+ ${showTexts(entry.b)}`));
  else {
    session.say(paint('red', `< ${showTexts(entry.a)}`));
    session.say(paint('green', `> ${showTexts(entry.b)}`));
    for (const { what, expected, got } of entry.differences) session.say(`        ${what}: ${expected} → ${got}`);
  }
}

function summary({ same, processor, entries }: TraceDiff): string {
  const count = (kind: DiffEntry['kind']): number => entries.filter((entry) => entry.kind === kind).length;
  const parts = [
    `${same} calls the same`,
    `${count('changed')} different`,
    `${count('only-a')} only in the first`,
    `${count('only-b')} only in the second`,
  ];
  if (processor.length > 0) parts.push(`${processor.length} about another processor`);
  return parts.join(', ');
}

const brief = ({ n, line, text }: RecordedCall): object => ({ n, line, text });

const detail = (entry: DiffEntry): object => ({
  kind: entry.kind,
  ...('a' in entry ? { a: brief(entry.a) } : {}),
  ...('b' in entry ? { b: brief(entry.b) } : {}),
  ...('differences' in entry ? { differences: entry.differences } : {}),
});

const document = ({ a, b, same, processor, entries }: TraceDiff): object => ({
  a,
  b,
  passed: entries.length === 0,
  same,
  entries: entries.map(detail),
  processor: processor.map(detail),
});

export function addDiff(trace: Command): void {
  trace
    .command('diff')
    .description('compare two traces call by call, whatever their descriptors and addresses are')
    .argument('<a>', 'what --trace=FILE wrote')
    .argument('<b>', 'the same, of another run')
    .option('--json', 'one JSON document on stdout, everything else on stderr')
    .action((a: string, b: string, options: { readonly json?: boolean }) =>
      runInSession(options, async (session) => {
        const diff = diffTraces(pickRecording(a, 1), pickRecording(b, 1));
        if (session.json) session.document(document(diff));
        else {
          for (const entry of diff.entries) showEntry(session, entry);
          session.say(session.style.paint(diff.entries.length === 0 ? 'green' : 'red', summary(diff)));
        }
        return diff.entries.length === 0 ? EXIT.done : EXIT.failed;
      }),
    );
}
