/** Writes the archive format that a kernel unpacks as its first root: cpio, "newc" (Documentation/driver-api/early-userspace/buffer-format.rst). */

export interface CpioEntry {
  /** Path without a leading slash. */
  readonly name: string;
  /** File type and rights: 0o100755 for a program, 0o040755 for a directory. */
  readonly mode: number;
  readonly content?: Uint8Array;
}

const pad4 = (size: number): number => (4 - (size % 4)) % 4;

function header(ino: number, mode: number, size: number, nameSize: number): string {
  // magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
  const fields = [ino, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, nameSize, 0];
  return `070701${fields.map((value) => value.toString(16).padStart(8, '0')).join('')}`;
}

export function cpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Uint8Array[] = [];
  const add = (ino: number, { name, mode, content = new Uint8Array() }: CpioEntry): void => {
    const head = Buffer.from(`${header(ino, mode, content.length, Buffer.byteLength(name) + 1)}${name}\0`);
    parts.push(head, Buffer.alloc(pad4(head.length)), content, Buffer.alloc(pad4(content.length)));
  };
  entries.forEach((entry, index) => {
    add(index + 1, entry);
  });
  add(0, { name: 'TRAILER!!!', mode: 0 });
  return Buffer.concat(parts);
}
