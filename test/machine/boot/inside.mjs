// Runs inside a test kernel: boots guests by the command line, as a person at its console would, and prints what happened, one line of JSON for each guest.
// usage: node inside.mjs MAIN PLAN.json
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

const [main, planFile] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(planFile, 'utf8'));

/** @param {{args: string[], dialogue: [string, string][]}} one: each pair is what to wait for, and what to type then */
function boot({ args, dialogue }) {
  return new Promise((resolve) => {
    const started = Date.now();
    const child = spawn(process.execPath, [main, 'boot', ...args], { stdio: 'pipe' });
    let stdout = '';
    let stderr = '';
    let seen = 0;
    let turn = 0;
    let prompt = null;
    child.stdout.on('data', (bytes) => {
      stdout += bytes;
      while (turn < dialogue.length) {
        const [expected, answer] = dialogue[turn];
        const at = stdout.indexOf(expected, seen);
        if (at < 0) break;
        prompt ??= Date.now() - started;
        seen = at + expected.length;
        turn++;
        child.stdin.write(`${answer}\n`);
      }
    });
    child.stderr.on('data', (bytes) => {
      stderr += bytes;
    });
    child.on('close', (status, signal) =>
      resolve({ status, signal, stdout, stderr, prompt, ms: Date.now() - started }),
    );
  });
}

for (const [name, one] of Object.entries(plan))
  process.stdout.write(`${JSON.stringify({ name, ...(await boot(one)) })}\n`);
