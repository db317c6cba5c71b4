/**
 * Replays recordings as somebody with a text editor would leave them: values changed, lines lost, moved and repeated. The process must be
 * there at the end, with nothing left over. Arguments: the trace, `kvm` or `sim`, a seed, how many.
 */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { loadNative } from '../../../dist/kernel/native.js';
import { simulate } from '../../../dist/sim/simulate.js';
import { diffTraces } from '../../../dist/trace/diff.js';
import { exportTrace } from '../../../dist/trace/export/export.js';
import { TraceFormatError } from '../../../dist/trace/json-line.js';
import { parseTrace } from '../../../dist/trace/reader.js';
import { replayTrace } from '../../../dist/trace/replay.js';

const [file, backend, seedText, timesText] = process.argv.slice(2);
let state = Number(seedText) >>> 0;
const next = () => {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return (t ^ (t >>> 14)) >>> 0;
};
const below = (limit) => next() % limit;
const pick = (list) => list[below(list.length)];

const original = readFileSync(file, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line));
const requests = original.filter(({ call }) => call === 'ioctl').map(({ args }) => args[1]);
const numbers = [
  0,
  1,
  -1,
  2,
  3,
  4,
  7,
  8,
  9,
  4096,
  4097,
  8192,
  2 ** 20,
  2 ** 21,
  2 ** 30,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
  2 ** 40,
  2 ** 47,
];
const wide = [
  '0x7fffffffffffffff',
  '0xffffffffffffffff',
  '0x8000000000000000',
  '-0x8000000000000000',
  '0x7ffffffff000',
];
const junk = [null, '', 'x', true, {}, [], { base64: 'AAAA' }, { base64: '!' }, 1.5, 1e300, '0x10'];

function otherNumber(value) {
  const around = [value + 1, value - 1, value * 2, value ^ (1 << below(31)), value + 4096, value - 4096, -value];
  const given = original[below(original.length)].args.filter((arg) => typeof arg === 'number');
  return pick([...around, ...numbers, ...given, pick(requests)]);
}

function otherBytes({ base64 }) {
  const bytes = Buffer.from(base64, 'base64');
  const how = below(5);
  if (how === 0) return { base64: bytes.subarray(0, below(bytes.length + 1)).toString('base64') };
  if (how === 1) return { base64: Buffer.concat([bytes, Buffer.alloc(below(64))]).toString('base64') };
  if (bytes.length >= 8 && how === 2) {
    bytes.writeBigUInt64LE(
      BigInt.asUintN(64, BigInt(pick(numbers)) + BigInt(below(2)) * 0x7f0000000000n),
      below(bytes.length - 7),
    );
  } else if (bytes.length > 0) bytes[below(bytes.length)] = next() & 255;
  return { base64: bytes.toString('base64') };
}

function changed(value) {
  if (below(60) === 0) return pick(junk);
  if (typeof value === 'number') return below(12) === 0 ? pick(wide) : otherNumber(value);
  if (typeof value === 'string')
    return pick([pick(wide), '/dev/null', '/etc/passwd', '/dev/zero', `${value}x`, '/tmp/privmem-must-not-be-made']);
  if (Array.isArray(value)) return value.map((item) => (below(value.length) === 0 ? changed(item) : item));
  if (value !== null && typeof value === 'object') {
    if (typeof value.base64 === 'string') return otherBytes(value);
    const key = pick(Object.keys(value));
    return { ...value, [key]: changed(value[key]) };
  }
  return pick(numbers);
}

function mutated() {
  const lines = [...original];
  for (let i = 1 + below(6); i > 0; i--) {
    const at = below(lines.length);
    const how = below(10);
    if (how === 0) lines.splice(at, 1 + below(3));
    else if (how === 1) lines.splice(at, 0, lines[below(lines.length)]);
    else if (how === 2) lines.push(...lines.splice(at, 1));
    else {
      const line = lines[at] ?? original[0];
      const key =
        how < 8 ? 'args' : pick(['args', 'result', 'out', 'call', 'exit', 'startedAfter', 'writes', 'at', 'pointed']);
      if (key === 'call') lines[at] = { ...line, call: pick(original).call };
      else if (key === 'writes')
        lines[at] = {
          ...line,
          writes: [[pick([0, 4096, ...numbers, pick(original).result]), { base64: 'AQIDBAUGBwg=' }]],
        };
      else if (key === 'startedAfter') lines[at] = { ...line, startedAfter: below(lines.length) };
      else lines[at] = { ...line, [key]: changed(line[key]) };
    }
    if (lines.length === 0) lines.push(original[0]);
  }
  // Numbers in order, or the reader would refuse most; the first line says what the file is.
  const { format, kernel } = original[0];
  return lines
    .map((line, i) => {
      const { format: _f, kernel: _k, ...rest } = line;
      const startedAfter = rest.startedAfter === undefined ? {} : { startedAfter: Math.min(rest.startedAfter, i) };
      return JSON.stringify({ ...(i === 0 ? { format, kernel } : {}), ...rest, ...startedAfter, n: i + 1 });
    })
    .join('\n');
}

const held = () => ({
  fds: readdirSync('/proc/self/fd').length,
  threads: readdirSync('/proc/self/task').filter(
    (task) => readFileSync(`/proc/self/task/${task}/comm`, 'utf8') === 'vcpu\n',
  ).length,
});
const links = () =>
  readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return 'gone';
    }
  });
/** VMs, guest_memfds, vCPUs and memory files that are mapped or open. */
const mapped = () =>
  readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => /memfd:|kvm|guest_memfd|secretmem/.test(line)).length;

const counts = { refused: 0, replayed: 0, same: 0, different: 0, skipped: 0 };
const [whole] = parseTrace(readFileSync(file));
// What the addon itself needs is there after its first use.
await replayTrace(whole, backend === 'kvm' ? loadNative() : simulate({ release: '6.18', technologies: [] }));
const before = held();
for (let i = 0; i < Number(timesText); i++) {
  const seed = state;
  const text = mutated();
  try {
    let recording;
    try {
      [recording] = parseTrace(Buffer.from(text));
    } catch (error) {
      if (!(error instanceof TraceFormatError)) throw error;
      counts.refused++;
      continue;
    }
    const kernel = backend === 'kvm' ? loadNative() : simulate({ release: '6.18', technologies: [] });
    const report = await replayTrace(recording, kernel, { runLimitMs: 200, memoryLimit: 2 ** 26 });
    counts.replayed++;
    for (const key of ['different', 'skipped']) counts[key] += report[key].length;
    counts.same += report.same;
    if (report.calls !== report.same + report.different.length + report.processor.length + report.skipped.length)
      throw new Error('calls are missing in the report');
    if (i % 8 === 0) diffTraces(whole, recording);
    if (i % 8 === 4) exportTrace(recording);
    const now = held();
    if (now.fds > before.fds || now.threads > 0 || mapped() > 0)
      throw new Error(`left over: ${JSON.stringify({ before, now, mapped: mapped(), links: links() })}`);
  } catch (error) {
    process.stdout.write(`seed ${seed}: ${error.stack}\n`);
    if (process.env.PRIVMEM_KEEP !== undefined) writeFileSync(process.env.PRIVMEM_KEEP, text);
    process.exit(1);
  }
}
process.stdout.write(`${JSON.stringify(counts)}\n`);
