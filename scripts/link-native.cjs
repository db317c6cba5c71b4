// Lets what was compiled into a folder of its own find the addon: FOLDER/native leads to native/.
const { existsSync, mkdirSync, symlinkSync } = require('node:fs');
const { join, resolve } = require('node:path');

const folder = process.argv[2];
if (folder === undefined) throw new Error('usage: node scripts/link-native.cjs FOLDER');
mkdirSync(folder, { recursive: true });
const link = join(folder, 'native');
if (!existsSync(link)) symlinkSync(resolve(__dirname, '..', 'native'), link, 'dir');
