'use strict';
// Runs after `npm install`. Only Linux has the system calls that the addon makes; everywhere else nothing is
// compiled. On Linux a prebuilt binary is used when it loads, else the addon is compiled. A failed compilation does
// not fail the installation, because everything but the real kernel works without the addon; loading it says so.
const { spawnSync } = require('node:child_process');
const path = require('node:path');

if (process.platform !== 'linux') process.exit(0);

const root = path.resolve(__dirname, '..');
const result = spawnSync(process.execPath, [require.resolve('node-gyp-build/bin.js')], { cwd: root, stdio: 'inherit' });
if (result.status !== 0) {
  console.error(
    'privmem: the native addon could not be built, so the real kernel is out of reach.\n' +
      'privmem: install a C++17 compiler, make and python3, then run `npm rebuild privmem`.',
  );
  // In a checkout a developer wants to see the failure; an application that only installs us must not break.
  process.exit(require('node:fs').existsSync(path.join(root, 'tsconfig.json')) ? 1 : 0);
}
