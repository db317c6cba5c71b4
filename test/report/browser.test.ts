/** The page as people meet it: in a browser, by mouse, by keys, light, dark, on paper. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { MemoryState, Step } from '../../lib/lifecycle/words.ts';
import { reportPage } from '../../lib/report/page.ts';
import { noBrowser, openBrowser } from '../support/browser.ts';
import { privmem } from '../support/cli.ts';
import { HOSTILE, runOf, stepOf } from '../support/steps.ts';

const reason = noBrowser();
if (reason !== undefined) console.warn(`test/report/browser.test.ts is skipped: ${reason}`);

const memory = (...states: MemoryState[]) => states.map((state, i) => ({ offset: i * 4096, length: 4096, state }));
const STEPS: readonly Step[] = [
  stepOf({ name: 'create', from: 'none', to: 'unbound', memory: memory('unbacked', 'unbacked') }),
  stepOf({ name: 'bind', from: 'unbound', memory: memory('shared', 'shared'), outcome: 'refused', errno: 'EINVAL' }),
  stepOf({ name: 'touch', memory: memory('private', 'faulting'), outcome: 'fault', fault: 'SIGBUS BUS_ADRERR' }),
  stepOf({ name: 'close', to: 'closed', outcome: 'lost', expected: false }),
];
const COMPARISON = [
  runOf({ design: 'in-place', technology: 'sev', supported: false, steps: [], reason: 'no kernel has both' }),
  runOf({ design: 'in-place', technology: 'tdx', steps: STEPS }),
  runOf({ design: 'guest-memfd', technology: 'sev', steps: STEPS, passed: false }),
  runOf({ design: 'guest-memfd', technology: 'tdx', steps: STEPS }),
];

/** In the page. Contrast as WCAG has it, of every text, against what lies behind it. A string, because tests have no types of a browser. */
const WORST_CONTRAST = `(() => {
  const parse = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  // A pattern: each of its colours can be under a letter.
  const behind = (element) => {
    if (element === null) return [[255, 255, 255]];
    const { backgroundColor, backgroundImage } = getComputedStyle(element);
    const pattern = (backgroundImage.match(/rgba?\\([^)]*\\)/g) ?? []).map(parse).filter((colour) => colour[3] !== 0);
    const colour = parse(backgroundColor);
    return colour[3] === 0 ? [...pattern, ...behind(element.parentElement)] : [...pattern, colour];
  };
  let worst = { ratio: 99, text: '' };
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== '');
    if (!own || element.closest('[hidden]') !== null || element.tagName === 'SCRIPT') continue;
    const ink = luminance(parse(getComputedStyle(element).color));
    for (const colour of behind(element)) {
      const paper = luminance(colour);
      const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      if (ratio < worst.ratio) worst = { ratio, text: element.tagName + '.' + element.className + ': ' + element.textContent.trim().slice(0, 40) };
    }
  }
  return worst;
})()`;

describe.skipIf(reason !== undefined)(`in Chromium${reason === undefined ? '' : ` (SKIPPED: ${reason})`}`, () => {
  let browser: Browser;
  let page: Page;
  const folder = mkdtempSync(path.join(os.tmpdir(), 'privmem-report-'));
  const complaints: string[] = [];

  beforeAll(async () => {
    browser = await openBrowser();
  });
  afterEach(async () => {
    await page?.close();
    expect(complaints.splice(0)).toEqual([]);
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true });
  });

  async function openFile(file: string, options: Parameters<Browser['newPage']>[0] = {}): Promise<Page> {
    page = await browser.newPage({ viewport: { width: 1200, height: 900 }, ...options });
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('request', (request) => {
      if (!request.url().startsWith('file:')) complaints.push(`a request to ${request.url()}`);
    });
    await page.goto(pathToFileURL(file).href);
    return page;
  }

  function open(runs = [runOf({ steps: STEPS, passed: false })], options: Parameters<Browser['newPage']>[0] = {}) {
    const file = path.join(folder, 'page.html');
    writeFileSync(file, reportPage({ title: 'a report', runs }));
    return openFile(file, options);
  }

  const focused = () =>
    page.evaluate<string>("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent");
  const panel = () => page.locator('.run:not([hidden]) .panel').textContent();

  test('the report of a real run opens without a complaint, with a column for each step', async () => {
    const file = path.join(folder, 'real.html');
    const { status, stdout, stderr } = privmem('lifecycle', '--backend', 'sim', '--json', '--report', file);
    expect({ status, stderr }).toEqual({ status: 0, stderr: `report: ${file}\n` });
    const { steps } = JSON.parse(stdout) as { steps: Step[] };
    await openFile(file);
    expect(await page.locator('.strip .number').count()).toBe(steps.length);
    expect(await page.locator('.strip .name').allInnerTexts()).toEqual(steps.map(({ name }) => name));
    expect(await page.locator('.steps > li').count()).toBe(steps.length);
    // The calls of a step are those that it counted.
    for (const [i, card] of (await page.locator('.steps > li').all()).entries()) {
      const calls = steps[i]?.calls ?? -1;
      if (calls === 0 || calls > 200) continue;
      expect(((await card.locator('pre').textContent()) ?? '').split('\n'), steps[i]?.name).toHaveLength(calls);
    }
    expect(await page.locator('.steps pre').first().textContent()).toContain('KVM_CREATE_VM');
  });

  test('the strip has a cell for each page and step, with letter and words', async () => {
    await open();
    const rows = await page
      .locator('tr.memory')
      .evaluateAll((found) => found.map((row) => [...row.children].map((cell) => cell.textContent)));
    expect(rows).toEqual([
      ['page 0', '–', 'S', 'P', ''],
      ['page 1', '–', 'S', '!', ''],
    ]);
    const label = await page.locator('.m.faulting[data-step]').getAttribute('aria-label');
    expect(label).toBe('page 1, step 3 touch: faulting: the access of this step met a fault there');
    expect(await page.locator('.strip .state').allInnerTexts()).toEqual(['unbound', 'bound', 'closed']);
  });

  test('arrow keys move within the grid, details follow, Enter goes to the step', async () => {
    await open();
    expect(await panel()).toContain('create');
    // The details can be scrolled, so they are a stop too.
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    expect(await focused()).toContain('page 0, step 1 create');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowDown');
    expect(await focused()).toContain('page 1, step 3 touch: faulting');
    expect(await panel()).toMatch(/SIGBUS BUS_ADRERR[\s\S]*page 1, step 3/);
    await page.keyboard.press('End');
    expect(await panel()).toContain('not as promised');
    await page.keyboard.press('ArrowRight');
    expect(await focused()).toContain('step 4');
    await page.keyboard.press('Home');
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('ArrowUp');
    expect(await focused()).toContain('page 0, step 1');
    for (let i = 0; i < 9; i++) await page.keyboard.press('ArrowDown');
    expect(await focused()).toBe('create');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Enter');
    await expect.poll(() => page.evaluate<string>('document.activeElement.tagName')).toBe('LI');
    expect(await focused()).toContain('2 bind');
  });

  test('one stop of the Tab key for the grid', async () => {
    await open();
    expect(await page.locator('.strip td[tabindex="0"]').count()).toBe(1);
    expect(await page.locator('.strip a:not([tabindex="-1"])').count()).toBe(0);
    expect(await page.locator('[role=grid] td:not([role=gridcell])').count()).toBe(0);
    expect(await page.locator('[role=grid] th:not([role=rowheader]):not([role=columnheader])').count()).toBe(0);
  });

  test('hovering shows the step under the mouse and marks its column', async () => {
    await open();
    await page.locator('.strip .name[data-step="1"]').hover();
    expect(await panel()).toContain('refused EINVAL');
    expect(
      await page
        .locator('.strip .here')
        .evaluateAll((found) => [...new Set(found.map((cell) => cell.getAttribute('data-step')))]),
    ).toEqual(['1']);
  });

  test('a comparison shows one pair at a time; keys and the address choose it, a checkbox shows all', async () => {
    await open(COMPARISON);
    const shown = () => page.locator('.run:not([hidden]) h2').allInnerTexts();
    expect(await shown()).toEqual(['design in-place, technology tdx']);
    expect(await page.locator('.matrix [role=gridcell]').count()).toBe(4);
    await page.keyboard.press('Tab');
    await page.keyboard.press('ArrowDown');
    expect(await focused()).toMatch(/^guest-memfd with sev: failed on sim; 1 refused by the kernel/);
    await page.keyboard.press('Enter');
    await expect.poll(shown).toEqual(['design guest-memfd, technology sev']);
    await page.locator('.matrix .missing a').click();
    await expect.poll(shown).toEqual(['design in-place, technology sev']);
    expect(await page.locator('.run:not([hidden])').textContent()).toContain('no kernel has both');
    await page.locator('#everything').check();
    expect(await shown()).toHaveLength(4);
    await page.close();
    await openFile(path.join(folder, 'page.html'));
    await page.goto(`${page.url()}#guest-memfd--tdx--2`);
    await expect.poll(shown).toEqual(['design guest-memfd, technology tdx']);
    expect(await focused()).toContain('2 bind');
  });

  const worstContrast = () => page.evaluate<{ ratio: number; text: string }>(WORST_CONTRAST);

  test.each(['light', 'dark'] as const)('%s: every text has a contrast of 4.5 or more', async (colorScheme) => {
    await open(COMPARISON, { colorScheme });
    const worst = await worstContrast();
    expect(worst.ratio, worst.text).toBeGreaterThan(4.5);
    const dark = await page.evaluate<string>('getComputedStyle(document.body).backgroundColor');
    expect(dark === 'rgb(255, 255, 255)').toBe(colorScheme === 'light');
  });

  test('on paper every step is there, the strip fits, nothing is interactive', async () => {
    await open();
    await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
    expect(await page.locator('.panel').isVisible()).toBe(false);
    expect(await page.evaluate<string>('getComputedStyle(document.body).backgroundColor')).toBe('rgb(255, 255, 255)');
    expect(await page.locator('.steps > li').count()).toBe(STEPS.length);
    const pdf = await page.pdf();
    expect(pdf.subarray(0, 5).toString()).toBe('%PDF-');
    expect((await worstContrast()).ratio).toBeGreaterThan(4.5);
  });

  test('on paper a lifecycle of 45 steps fits the width of a landscape A4 page', async () => {
    const steps = Array.from({ length: 45 }, (_, i) =>
      stepOf({ name: `step-${i}`, calls: 100, memory: memory('private') }),
    );
    // 273 mm between the margins, at 96 pixels to the inch.
    await open([runOf({ steps })], { viewport: { width: 1032, height: 700 } });
    await page.emulateMedia({ media: 'print' });
    expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(1032);
  });

  test('a narrow window scrolls the strip, not the page', async () => {
    const steps = Array.from({ length: 40 }, (_, i) => stepOf({ name: `step-${i}`, memory: memory('private') }));
    await open([runOf({ steps })], { viewport: { width: 400, height: 700 } });
    expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(400);
  });

  test.each(HOSTILE)('%j in every text runs nothing and is shown as it is', async (bad) => {
    const step = stepOf({
      name: bad,
      errno: bad,
      detail: bad,
      hint: bad,
      reported: { [bad]: bad },
      calls: 1,
      memory: memory('shared'),
    });
    await open([
      runOf({ design: bad, technology: bad, steps: [step], calls: [[bad]] }),
      runOf({ design: 'x', technology: bad, supported: false, steps: [], reason: bad }),
    ]);
    await page.locator('.strip .number').hover();
    expect(await page.evaluate<boolean>("'pwned' in window")).toBe(false);
    expect(await page.locator('img, iframe, .run b.bold').count()).toBe(0);
    const visible = bad.replace(
      /(?![\t\n\r])[\p{Cc}\p{Cf}\p{Cs}]/gu,
      (found) => `\\u{${found.codePointAt(0)?.toString(16)}}`,
    );
    expect(await page.locator('.steps pre').textContent()).toBe(visible);
  });

  test('without script everything is on the page', async () => {
    await open(COMPARISON, { javaScriptEnabled: false });
    expect(await page.locator('.run').count()).toBe(4);
    for (const run of await page.locator('.run').all()) expect(await run.isVisible()).toBe(true);
    expect(await page.locator('.matrix a').first().getAttribute('href')).toBe('#in-place--sev');
  });
});
