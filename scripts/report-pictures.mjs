#!/usr/bin/env node
// Opens reports in headless Chromium and takes the pictures of docs/. Usage: node scripts/report-pictures.mjs [--out FOLDER] [LIFECYCLE.html COMPARISON.html]
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const ROOT = path.resolve(import.meta.dirname, '..');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: 'string', default: path.join(ROOT, 'docs') },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
  },
});
const folder = mkdtempSync(path.join(os.tmpdir(), 'privmem-pictures-'));

function make(name, ...args) {
  const file = path.join(folder, `${name}.html`);
  const command = [path.join(ROOT, 'dist/cli/main.js'), ...args, '--backend', 'sim', '--report', `${name}.html`];
  const { status, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8', cwd: folder });
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}: ${stderr}`);
  return file;
}

try {
  const lifecycle = positionals[0] ?? make('lifecycle', 'lifecycle', '--technology', 'sw-protected', '--size', '256K');
  const comparison = positionals[1] ?? make('comparison', 'compare');
  const browser = await chromium.launch({ executablePath: values.chromium, args: ['--no-sandbox'] });
  try {
    const take = async (file, name, { scheme, media, height, step, hash }) => {
      const page = await browser.newPage({ viewport: { width: 1280, height }, colorScheme: scheme });
      page.on('console', (message) => console.error(`${name}: ${message.type()}: ${message.text()}`));
      page.on('pageerror', (error) => console.error(`${name}: ${error}`));
      await page.emulateMedia({ media: media ?? 'screen', colorScheme: scheme });
      await page.goto(pathToFileURL(file).href + (hash ?? ''));
      if (hash !== undefined) await page.evaluate(() => scrollTo(0, 0));
      if (step !== undefined)
        await page.locator(`.run:not([hidden]) .strip .name`).getByText(step, { exact: true }).hover();
      await page.screenshot({ path: path.join(values.out, `${name}.png`) });
      await page.close();
    };
    await take(lifecycle, 'report-light', { scheme: 'light', height: 950, step: 'guest-reads-converted-range' });
    await take(lifecycle, 'report-dark', { scheme: 'dark', height: 950, step: 'host-writes-private' });
    await take(lifecycle, 'report-print', { scheme: 'light', media: 'print', height: 950 });
    const hash = '#in-place--sw-protected';
    await take(comparison, 'report-comparison', { scheme: 'light', height: 1330, step: 'host-reads-private', hash });
  } finally {
    await browser.close();
  }
} finally {
  rmSync(folder, { recursive: true });
}
