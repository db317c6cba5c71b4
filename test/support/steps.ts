/** Steps and runs for tests of what shows them. The outcomes are the test's own and claim nothing of a kernel. */
import type { Step } from '../../lib/lifecycle/words.ts';
import type { ReportRun } from '../../lib/report/run.ts';

export function stepOf(given: Partial<Step> = {}): Step {
  return {
    name: 'fill',
    from: 'bound',
    to: 'bound',
    outcome: 'ok',
    enforcedBy: 'kernel',
    calls: 2,
    micros: 12.5,
    detail: 'contents',
    expected: true,
    ...given,
  };
}

export function runOf(given: Partial<ReportRun> = {}): ReportRun {
  return {
    design: 'guest-memfd',
    technology: 'tdx',
    backend: 'sim',
    kernel: '7.3.4',
    arch: 'x64',
    supported: true,
    passed: true,
    steps: [stepOf()],
    ...given,
  };
}

/** Strings that break what forgets to escape. */
export const HOSTILE = [
  '</script><script>window.pwned = true</script>',
  '"><img src=x onerror="window.pwned = true">',
  "' onmouseover='window.pwned = true",
  '<!-- <title> &amp; &#x3c;b&#x3e; </style>',
  '| `pipe` | **bold** [link](javascript:alert(1)) <b>\n# heading\n',
  '\u202egnissecorp\u202c \u0000\u001b[31mred\u001b[0m \ud800',
  '$' + '{x} $& $1 {{y}}',
];
