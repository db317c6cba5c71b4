'use strict';
// A WebAssembly module with one page of memory and `load(address)`: out of bounds it traps through SIGSEGV.
const BYTES = [
  [0, 97, 115, 109, 1, 0, 0, 0],
  [1, 6, 1, 96, 1, 127, 1, 127], // type: (i32) -> i32
  [3, 2, 1, 0],
  [5, 3, 1, 0, 1], // memory of one page
  [7, 8, 1, 4, 108, 111, 97, 100, 0, 0], // export "load"
  [10, 9, 1, 7, 0, 32, 0, 40, 2, 0, 11], // local.get 0; i32.load
].flat();

/** The name of the error that an access out of bounds throws. */
module.exports = function trap() {
  const { load } = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(BYTES))).exports;
  if (load(0) !== 0) throw new Error('the module does not work');
  try {
    load(0x7fff_0000);
  } catch (error) {
    return error.constructor.name;
  }
  return 'no trap';
};
