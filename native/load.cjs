'use strict';
// Loaded as a function so that importing the package never loads the addon: only asking for the real kernel does.
const path = require('node:path');

module.exports = function load() {
  const override = process.env.PRIVMEM_ADDON;
  if (override) return require(path.resolve(override));
  return require('node-gyp-build')(path.join(__dirname, '..'));
};
