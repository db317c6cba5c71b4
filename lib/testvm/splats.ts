/** Finds what a kernel reports about itself in the text of its console. */
import type { Splat, SplatKind } from './words.ts';

interface Pattern {
  readonly kind: SplatKind;
  readonly severity: Splat['severity'];
  readonly match: RegExp;
  /** True for lines that also occur inside a report that has begun. */
  readonly within?: boolean;
}

const oopsed = (kind: SplatKind, match: RegExp, within = false): Pattern => ({
  kind,
  severity: 'oopsed',
  match,
  within,
});
const warned = (kind: SplatKind, match: RegExp): Pattern => ({ kind, severity: 'warned', match });

/**
 * The first that matches decides. Titles as Linux 6.1 … 7.3 print them: lib/bug.c, kernel/panic.c, mm/kasan/report.c, kernel/locking/lockdep.c,
 * kernel/rcu, kernel/watchdog.c, kernel/hung_task.c, lib/ubsan.c, arch/{x86,arm64}.
 */
const PATTERNS: readonly Pattern[] = [
  oopsed('kasan', /^BUG: (KASAN|KMSAN|KFENCE): /),
  warned('bug', /^BUG: KCSAN: /),
  warned('lockup', /^(watchdog: )?BUG: (soft lockup|workqueue lockup)/),
  warned('lockup', /^(watchdog: )?.*(Watchdog detected hard LOCKUP|hard LOCKUP on cpu)/i),
  warned('lockdep', /^(\[ )?BUG: (Invalid wait context|.*still has locks held|key .* has not been registered)/),
  warned(
    'bug',
    /^BUG: (sleeping function called from invalid context|scheduling while atomic|using .* in preemptible)/,
  ),
  oopsed('oops', /^BUG: (kernel NULL pointer dereference|unable to handle )/),
  oopsed('oops', /^kernel BUG at /),
  oopsed('oops', /^(Unable to handle kernel |Internal error: |Oops: |Oops - )/, true),
  oopsed(
    'oops',
    /^(general protection fault|invalid opcode|divide error|stack segment|int3|bounds|double fault)[:,].*\[#\d+\]/,
    true,
  ),
  oopsed('oops', /^(traps: PANIC: |PANIC: double fault|kernel tried to execute NX-protected page)/, true),
  oopsed('bug', /^BUG: /),
  oopsed('bug', /^(list_(add|del) corruption|kernel memory (overwrite|exposure) attempt|usercopy: )/, true),
  oopsed('ubsan', /^UBSAN: /),
  warned(
    'lockdep',
    /^WARNING: (possible |inconsistent lock state|bad unlock balance|held lock freed|lock held when returning|.*lockdep)/,
  ),
  warned(
    'lockdep',
    /^WARNING: (Nested lock was not taken|.* lock order (inversion|detected)|chain cache hash|suspicious RCU usage)/,
  ),
  warned('lockdep', /^(INFO: (trying to register non-static key|lockdep is turned off)|BUG: MAX_LOCK)/),
  warned('warn', /^WARNING: /),
  warned('rcu', /^(rcu: )?INFO: rcu_\w+ (self-)?detected|^rcu: INFO: .*stall/),
  warned('hung', /^INFO: task .* blocked for more than/),
];

const END = /^---\[ end (trace|Kernel panic)|^={60,}$/;
/** A report begins with such a line, before the one that names it. */
const TIME = /^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?/;
const LINES = 200;

const bare = (line: string): string => line.replace(TIME, '');

/** Lines of a console, without carriage returns. */
export function consoleLines(text: string): string[] {
  return text.split('\n').map((line) => line.replace(/\r+$/, ''));
}

export function findSplats(console: string): Splat[] {
  const found: { pattern: Pattern; title: string; lines: string[]; open: boolean }[] = [];
  for (const line of consoleLines(console)) {
    const text = bare(line);
    const current = found.at(-1);
    const pattern = PATTERNS.find(({ match }) => match.test(text));
    if (pattern !== undefined && !(current?.open === true && pattern.within === true)) {
      if (current !== undefined) current.open = false;
      found.push({ pattern, title: text, lines: [line], open: true });
      continue;
    }
    if (current?.open !== true) continue;
    current.lines.push(line);
    // KASAN closes with a rule; lockdep has one below its title.
    const rule = /^={20,}$/.test(text);
    if (END.test(text) && !(rule && current.pattern.kind === 'lockdep')) current.open = false;
    if (current.lines.length >= LINES) current.open = false;
  }
  return found.map(({ pattern: { kind, severity }, title, lines }) => ({
    kind,
    severity,
    title,
    text: lines.join('\n'),
  }));
}

const PANIC = /^Kernel panic - not syncing: ?(.*)/;

/** What the kernel's panic says, or undefined. */
export function findPanic(console: string): { message: string; text: string } | undefined {
  const lines = consoleLines(console);
  const at = lines.findIndex((line) => PANIC.test(bare(line)));
  if (at < 0) return undefined;
  const message = PANIC.exec(bare(lines[at] ?? ''))?.[1] ?? '';
  return { message, text: lines.slice(at, at + LINES).join('\n') };
}
