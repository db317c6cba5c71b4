/** `npm run bench`: measures the package beside C, alternating in one run. Aims are reported; only a broken harness fails. */
import { readFileSync, writeFileSync } from 'node:fs';
import { killChildren } from './child.ts';
import { describeHost, inPackage } from './host.ts';
import type { Item } from './item.ts';
import { conversionItems } from './items/conversion.ts';
import { copyItems } from './items/copies.ts';
import { guestMemfdItems } from './items/guest-memfd.ts';
import { ioctlItems } from './items/ioctl.ts';
import { machineItems } from './items/machine.ts';
import { mappingItems } from './items/mapping.ts';
import { vcpuItems } from './items/vcpu.ts';
import { type Options, readOptions, USAGE } from './options.ts';
import { Reference } from './reference.ts';
import { asMarkdown, asText, type Document, replaceBlock } from './report.ts';
import { type ItemResult, runItem } from './rounds.ts';

const EXIT_USAGE = 2;
const PAGE = 'docs/performance.md';

const allItems = (): Item[] => [
  ...ioctlItems(),
  ...vcpuItems(),
  ...machineItems(),
  ...guestMemfdItems(),
  ...conversionItems(),
  ...copyItems(),
  ...mappingItems(),
];

/** One line that is overwritten, and nothing where nobody watches. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
}

async function measure(options: Options): Promise<Document> {
  const items = allItems().filter(({ id }) => id.includes(options.filter));
  if (items.length === 0) throw new RangeError(`no item's id contains ${JSON.stringify(options.filter)}`);
  const reference = await Reference.build().catch((error: Error) => error.message);
  const results: ItemResult[] = [];
  try {
    for (const [i, item] of items.entries()) {
      progress(`${i + 1}/${items.length} ${item.title}`);
      results.push(await runItem(item, reference, options));
    }
  } finally {
    progress('');
    if (typeof reference !== 'string') await reference.close();
  }
  const { rounds, batchMs } = options;
  return { host: describeHost(), rounds, batchMs, unit: 'ns per operation', items: results };
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  if (options === undefined) {
    process.stdout.write(`${USAGE}\n`);
    return;
  }
  const document = await measure(options);
  process.stdout.write(options.json ? `${JSON.stringify(document, undefined, 2)}\n` : asText(document));
  if (options.write) {
    const page = inPackage(PAGE);
    writeFileSync(page, replaceBlock(readFileSync(page, 'utf8'), asMarkdown(document)));
  }
}

process.once('exit', killChildren);
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
  ['SIGHUP', 1],
] as const) {
  process.once(signal, () => process.exit(128 + number));
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof RangeError || error instanceof TypeError ? EXIT_USAGE : 1;
}
