/**
 * Images that a boot loader takes for Linux and that do one small thing in real mode: for boots that go wrong in a known way.
 * Layout: Documentation/arch/x86/boot.rst; the setup code is entered at offset 0x200.
 */

/** Writes text to the first serial port. */
export const print = (text: string): number[] => [
  ...[0xba, 0xf8, 0x03], // mov $0x3f8, %dx
  ...[...Buffer.from(text)].flatMap((byte) => [0xb0, byte, 0xee]), // mov $byte, %al; out %al, (%dx)
];
/** For ever. */
export const hang: readonly number[] = [0xfa, 0xf4, 0xeb, 0xfd]; // cli; hlt; jmp to the hlt
/** No interrupt table and an interrupt: a triple fault. */
export const reset: readonly number[] = [
  ...[0x31, 0xc0, 0x8e, 0xd8], // xor %ax, %ax; mov %ax, %ds
  ...[0xc7, 0x06, 0x00, 0x05, 0x00, 0x00], // movw $0, 0x500: the table's limit
  ...[0x0f, 0x01, 0x1e, 0x00, 0x05], // lidt 0x500
  0xcc, // int3
];

export function fakeImage(code: readonly number[]): Buffer {
  const image = Buffer.alloc(0x2000);
  image[0x1f1] = 4; // setup_sects
  image.writeUInt16LE(0xaa55, 0x1fe);
  image.set([0xeb, 0x7e], 0x200); // over the header
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(0x020c, 0x206); // protocol 2.12
  image[0x211] = 0x81; // loaded high, heap usable
  image.writeUInt32LE(0x100000, 0x214);
  image.writeUInt32LE(0x7fffffff, 0x22c); // highest address for the initramfs
  image.set(code, 0x280);
  return image;
}
