#!/usr/bin/env node
// Carries out the commands of docs/designs.md and puts their output under them. Usage: node scripts/designs-page.mjs [--check] [FILE]
// With --check nothing is written: what differs is printed, and the status is 1.
import { spawnSync } from 'node:child_process';
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
  const { stdout, stderr, error } = spawnSync('sh', ['-c', script], { encoding: 'utf8', env, timeout: 120_000 });
  if (error !== undefined) throw error;
  // The blank lines that end a command's output are not worth a block's.
  return `${stdout}${stderr}`.trimEnd();
}

const text = readFileSync(file, 'utf8');
let [blocks, stale] = [0, 0];
const fresh = text.replace(BLOCK, (whole, command, shown) => {
  blocks++;
  const output = outputOf(command.trim());
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
