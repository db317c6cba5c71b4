/** Headless Chromium, for what only a browser can tell. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { type Browser, chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/** The browser of the PATH; undefined where there is none. */
export const CHROMIUM = (process.env.PATH ?? '')
  .split(':')
  .flatMap((folder) => NAMES.map((name) => path.join(folder, name)))
  .find((file) => existsSync(file));

/** For the name of what is skipped. */
export const noBrowser = (): string | undefined =>
  CHROMIUM === undefined ? `no Chromium: install the package chromium` : undefined;

/** Without its sandbox, which root and most containers do not have. The pages are our own. */
export const openBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: CHROMIUM ?? 'chromium', args: ['--no-sandbox'] });
