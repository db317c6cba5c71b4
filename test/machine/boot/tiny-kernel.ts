/** An ELF "kernel" made of a guest program: entered as Linux is, in 64-bit mode, and over in a moment. */
import { program } from '../../../lib/guest/index.ts';

type Write = Parameters<typeof program<'x64'>>[1];

const BASE = 0x100_0000;
const EHDR = 64;
const PHDR = 56;
const CODE_AT = 0x1000;
const PT_LOAD = 1;
const EM_X86_64 = 62;

export function tinyKernel(write: Write): Uint8Array {
  const built = program({ arch: 'x64', base: BASE }, write);
  const file = new Uint8Array(CODE_AT + built.bytes.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, EM_X86_64, true);
  view.setBigUint64(24, BigInt(built.entry), true);
  view.setBigUint64(32, BigInt(EHDR), true);
  view.setUint16(54, PHDR, true);
  view.setUint16(56, 1, true);
  view.setUint32(EHDR, PT_LOAD, true);
  const fields = [CODE_AT, BASE, BASE, built.bytes.length, 0x2_0000];
  fields.forEach((value, i) => {
    view.setBigUint64(EHDR + 8 + 8 * i, BigInt(value), true);
  });
  file.set(built.bytes, CODE_AT);
  return file;
}

export const SERIAL = { data: 0x3f8, ier: 0x3f9, lsr: 0x3fd } as const;

/** Prints, then leaves by the debug exit port with `value`. */
export const printing =
  (text: string, value: number): Write =>
  (g) => {
    for (const byte of Buffer.from(text)) g.out(SERIAL.data, byte, 1);
    g.out(0xf4, value, 4);
    g.halt();
  };

/** Says `ready`, then echoes what it is sent. */
export const echoing: Write = (g) => {
  g.out(SERIAL.ier, 1, 1);
  for (const byte of Buffer.from('ready\n')) g.out(SERIAL.data, byte, 1);
  g.loopForever(() => {
    g.when(g.in(SERIAL.lsr, 1).and(1).ne(0), () => {
      g.out(SERIAL.data, g.in(SERIAL.data, 1), 1);
    });
  });
};
