/** `privmem vm --programs --arch ARCH`: Node and a shell for kernels of another architecture. */

import { progressOn } from '../../testvm/build/progress.ts';
import { fetchPrograms } from '../../testvm/programs.ts';
import type { TestArch } from '../../testvm/words.ts';
import { EXIT } from '../exit-status.ts';
import type { Session } from '../session.ts';

export interface VmProgramsOptions {
  readonly programs?: boolean;
  readonly arch?: TestArch;
  readonly suite?: readonly string[];
  readonly mirror?: string;
}

export async function programs(session: Session, options: VmProgramsOptions): Promise<number> {
  const { arch, suite, mirror } = options;
  if (arch === undefined || arch === process.arch) {
    throw new RangeError(
      `--programs needs --arch with another architecture than ${process.arch}: a kernel of this host's runs the host's own programs`,
    );
  }
  const progress = progressOn(process.stderr, 'privmem vm: ');
  const found = await fetchPrograms(arch, {
    ...{ mirror, suites: suite, signal: session.interrupt },
    onStage: (text) => progress.stage(text),
    onLine: (line) => progress.line(line),
  }).finally(() => progress.done());
  if (session.json) {
    session.document(found);
    return EXIT.done;
  }
  session.say(`Node ${found.node} and ${found.packages.length} packages of Debian for ${arch}: ${found.root}`);
  session.say(`run them: privmem vm --kernel NAME --arch ${arch} -- node …`);
  return EXIT.done;
}
