/** JUnit XML, as CI systems read it: one suite for each area. */
import { areaOf, type ConformanceReport, groupBy } from '../report.ts';
import type { ScenarioResult } from '../run.ts';

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\n': '&#10;',
};
const escapeXml = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: XML 1.0 has no way to write these.
  text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, '?').replace(/[&<>"\n]/g, (char) => ESCAPES[char] ?? char);
const seconds = (millis: number): string => (millis / 1000).toFixed(3);
const total = (results: readonly ScenarioResult[]): number => results.reduce((sum, { millis }) => sum + millis, 0);
const count = (results: readonly ScenarioResult[], outcome: ScenarioResult['outcome']): number =>
  results.filter((result) => result.outcome === outcome).length;

function attributes(name: string, results: readonly ScenarioResult[]): string {
  const [failures, skipped] = [count(results, 'failed'), count(results, 'skipped')];
  const numbers = `tests="${results.length}" failures="${failures}" errors="0" skipped="${skipped}"`;
  return `name="${escapeXml(name)}" ${numbers} time="${seconds(total(results))}"`;
}

function testcase({ name, outcome, detail = '', millis }: ScenarioResult, area: string): string {
  const open = `    <testcase name="${escapeXml(name)}" classname="${escapeXml(area)}" time="${seconds(millis)}"`;
  if (outcome === 'passed') return `${open}/>`;
  const tag = outcome === 'failed' ? 'failure' : 'skipped';
  return `${open}><${tag} message="${escapeXml(detail)}"/></testcase>`;
}

export function junit(report: ConformanceReport): string {
  const { scenarios, kernel, backend, arch } = report;
  const lines = [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites ${attributes(`privmem conformance, Linux ${kernel}, ${arch}, ${backend}`, scenarios)}>`,
  ];
  for (const [area, results] of groupBy(scenarios, ({ name }) => areaOf(name))) {
    lines.push(`  <testsuite ${attributes(area, results)}>`);
    for (const result of results) lines.push(testcase(result, area));
    lines.push('  </testsuite>');
  }
  lines.push('</testsuites>');
  return lines.join('\n');
}
