'use strict';
// tsc does not keep the execute bit, and npm only sets it for packages that it links.
require('node:fs').chmodSync(require('node:path').join(__dirname, '..', 'dist', 'cli', 'main.js'), 0o755);
