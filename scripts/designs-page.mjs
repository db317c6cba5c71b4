#!/usr/bin/env node
// Carries out the commands of docs/designs.md and puts their output under them. Usage: node scripts/designs-page.mjs [--check] [FILE]
// With --check nothing is written: what differs is printed, and the status is 1.
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = path.resolve(import.meta.dirname, '..');
const { values, positionals } = parseArgs({ allowPositionals: true, options: { check: { type: 'boolean' } } });
const file = positionals[0] ?? path.join(ROOT, 'docs/designs.md');
const MAIN = path.join(ROOT, 'dist/cli/main.js');

// A command in a block of sh, and right after it what it printed.
const BLOCK = /```sh\n([\s\S]*?)```\n\n```text\n([\s\S]*?)```\n/g;

/** Both streams as a terminal shows them: without colours, as wide as a page. */
function outputOf(command) {
  const script = command.replace(/\bnpx privmem\b/g, `"${process.execPath}" "${MAIN}"`);
  const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' };
  return new Promise((resolve, reject) => {
    // The status is part of no block: a grep that finds nothing shows an empty one.
    execFile('sh', ['-c', script], { env, timeout: 300_000, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      if (error?.killed || typeof error?.code === 'string') reject(error);
      else resolve(`${stdout}${stderr}`.trimEnd());
    });
  });
}

const text = readFileSync(file, 'utf8');
const found = [...text.matchAll(BLOCK)];
const outputs = [];
const worker = async (numbers) => {
  for (const number of numbers) outputs[number] = await outputOf(found[number][1].trim());
};
// Two at a time, from one list.
const numbers = found.keys();
await Promise.all([worker(numbers), worker(numbers)]);
const blocks = found.length;
let stale = 0;
let next = 0;
const fresh = text.replace(BLOCK, (whole, command, shown) => {
  const output = outputs[next++];
  if (`${output}\n` === shown) return whole;
  stale++;
  if (values.check)
    process.stdout.write(`not what this prints any more: ${command}--- page\n${shown}--- now\n${output}\n`);
  return `\`\`\`sh\n${command}\`\`\`\n\n\`\`\`text\n${output}\n\`\`\`\n`;
});
if (blocks === 0) throw new Error(`${file} holds no command with its output`);
process.stdout.write(`${blocks} commands, ${stale} with another output\n`);
if (!values.check) writeFileSync(file, fresh);
else if (stale > 0) process.exitCode = 1;
