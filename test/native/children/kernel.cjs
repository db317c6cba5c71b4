'use strict';
// The real kernel as the compiled package has it: children are plain JavaScript.
module.exports = () => require('../../../dist/kernel/native.js').loadNative();
