/** A run of the suite for people: failures at once, a line for each topic, skips by reason, totals. */
import { type ConformanceReport, groupBy } from '../conformance/report.ts';
import type { ScenarioResult } from '../conformance/run.ts';
import type { Session } from './session.ts';

const topicOf = (name: string): string => name.split('/').slice(0, 2).join('/');
const seconds = (millis: number): string =>
  millis < 1000 ? `${millis.toFixed(0)} ms` : `${(millis / 1000).toFixed(1)} s`;

export class Pretty {
  readonly #session: Session;
  readonly #total: number;
  /** Otherwise only progress is shown, and what failed, on stderr. */
  readonly #full: boolean;
  readonly #progress = process.stderr.isTTY === true;
  readonly #begin = performance.now();
  #count = 0;
  #topic: ScenarioResult[] = [];

  constructor(session: Session, total: number, full: boolean) {
    this.#session = session;
    this.#total = total;
    this.#full = full;
  }

  begin(identity: string): void {
    if (this.#full) this.#session.say(`${this.#session.style.paint('bold', 'conformance')}  ${identity}\n`);
    else if (this.#progress) process.stderr.write(`${identity}\n`);
  }

  start(name: string): void {
    if (this.#progress) process.stderr.write(`\r\u001b[K${this.#count + 1}/${this.#total} ${name} …`);
  }

  clear(): void {
    if (this.#progress) process.stderr.write('\r\u001b[K');
  }

  add(result: ScenarioResult): void {
    this.#count++;
    const last = this.#topic[0];
    if (last !== undefined && topicOf(last.name) !== topicOf(result.name)) this.#finishTopic();
    this.#topic.push(result);
  }

  #finishTopic(): void {
    const results = this.#topic;
    this.#topic = [];
    const first = results[0];
    if (!this.#full || first === undefined) return;
    this.clear();
    const { paint } = this.#session.style;
    const count = (outcome: ScenarioResult['outcome']) => results.filter((result) => result.outcome === outcome).length;
    const [passed, failed, skipped] = [count('passed'), count('failed'), count('skipped')];
    const parts = [
      passed > 0 ? paint('green', `${passed} passed`) : '',
      failed > 0 ? paint('red', `${failed} failed`) : '',
      skipped > 0 ? paint('yellow', `${skipped} skipped`) : '',
      paint('dim', seconds(results.reduce((sum, { millis }) => sum + millis, 0))),
    ];
    this.#session.say(`${topicOf(first.name)}  ${parts.filter(Boolean).join(', ')}`);
    for (const { name, outcome, detail } of results) {
      if (outcome === 'failed') this.#session.say(`  ${paint('red', 'failed')} ${name}\n         ${detail ?? ''}`);
    }
  }

  end(report: ConformanceReport): void {
    this.#finishTopic();
    if (!this.#full) return;
    const { paint } = this.#session.style;
    const skipped = report.scenarios.filter(({ outcome }) => outcome === 'skipped');
    if (skipped.length > 0) {
      this.#session.say('\nskipped:');
      for (const [reason, results] of groupBy(skipped, ({ detail = '' }) => detail)) {
        this.#session.say(`  ${String(results.length).padStart(4)}  ${reason}`);
      }
    }
    const { passed, failed } = report.totals;
    const text = `${passed} passed, ${failed} failed, ${skipped.length} skipped in ${seconds(performance.now() - this.#begin)}, seed ${report.seed}`;
    this.#session.say(`\n${paint(failed > 0 ? 'red' : 'green', text)}`);
    if (report.notRun !== undefined)
      this.#session.say(`${report.notRun.length} not run after the first failure (--bail)`);
  }
}
