/** Where things lie in the memory of a vCPU under test: all of it is reached in every mode, except the page tables in real mode. */
export const MEMORY = 0x40_0000;
export const CODE = 0x2000;
export const HANDLERS = 0x3000;
/** Memory operands point here. */
export const DATA = 0x5000;
export const DATA_BYTES = 0x1800;
export const STACK = 0x8000;
export const STACK_BYTES = 0x400;
export const GATES = 0x9000;
export const DESCRIPTORS = 0xa000;
export const TABLES = 0x30_0000;
/** Mapped, without memory behind it. */
export const NOWHERE = 0xe000_0000;
