/** KTAP version 1 (Documentation/dev-tools/ktap.rst), one subtest for each area, written as the results come. */

import { areaOf, groupBy } from '../report.ts';
import type { ScenarioResult } from '../run.ts';

export class Ktap {
  readonly #write: (line: string) => void;
  /** Areas in order, with the names that are still to come. */
  readonly #areas: { readonly name: string; readonly size: number }[];
  #area = 0;
  #done: ScenarioResult[] = [];

  /** `names`: all scenarios of the run, those of an area together. */
  constructor(names: readonly string[], write: (line: string) => void) {
    this.#write = write;
    this.#areas = [...groupBy(names, areaOf)].map(([name, members]) => ({ name, size: members.length }));
    write('KTAP version 1');
    write(`1..${this.#areas.length}`);
  }

  add(result: ScenarioResult): void {
    const area = this.#areas[this.#area];
    if (area === undefined || areaOf(result.name) !== area.name)
      throw new RangeError(`${result.name} comes out of order`);
    if (this.#done.length === 0) {
      this.#write('    KTAP version 1');
      this.#write(`    # Subtest: ${area.name}`);
      this.#write(`    1..${area.size}`);
    }
    this.#done.push(result);
    const { name, outcome, detail } = result;
    if (outcome === 'failed') for (const line of (detail ?? '').split('\n')) this.#write(`    # ${oneLine(line)}`);
    const verdict = `${outcome === 'failed' ? 'not ok' : 'ok'} ${this.#done.length} ${name}`;
    this.#write(`    ${verdict}${outcome === 'skipped' ? ` # SKIP ${oneLine(detail ?? '')}` : ''}`);
    if (this.#done.length === area.size) this.#finish(area.name);
  }

  #finish(area: string): void {
    const count = (outcome: ScenarioResult['outcome']) =>
      this.#done.filter((result) => result.outcome === outcome).length;
    const [passed, failed, skipped] = [count('passed'), count('failed'), count('skipped')];
    this.#write(`    # ${area}: pass:${passed} fail:${failed} skip:${skipped} total:${this.#done.length}`);
    this.#write(
      `${failed > 0 ? 'not ok' : 'ok'} ${this.#area + 1} ${area}${skipped === this.#done.length ? ' # SKIP nothing of it can run here' : ''}`,
    );
    this.#area++;
    this.#done = [];
  }

  /** A run that was cut short says so, as the format wants it. */
  end(): void {
    const area = this.#areas[this.#area];
    if (area !== undefined)
      this.#write(`Bail out! ${this.#done.length} of ${area.size} scenarios of ${area.name} were run`);
  }
}

/** `#` starts a directive in a result line. */
const oneLine = (text: string): string => text.replace(/\s+/g, ' ').replaceAll('#', '').trim();
