/** An initramfs with a static busybox: an init of the test's, then a shell. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { type CpioEntry, cpio } from '../../../lib/testvm/cpio.ts';

const BUSYBOX = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path));
const APPLETS = 'sh mount umount cat echo nproc uname grep poweroff reboot setsid cttyhack cut sync mkdir'.split(' ');

/** Why none can be made: a busybox that needs no libraries is missing. */
export function noBusybox(): string | undefined {
  if (BUSYBOX === undefined) return 'no busybox (apt-get install busybox-static)';
  return needsInterpreter(readFileSync(BUSYBOX)) ? 'busybox is not static (apt-get install busybox-static)' : undefined;
}

/** PT_INTERP among the program headers. */
function needsInterpreter(elf: Buffer): boolean {
  const at = Number(elf.readBigUInt64LE(32));
  const [size, count] = [elf.readUInt16LE(54), elf.readUInt16LE(56)];
  return Array.from({ length: count }, (_, i) => elf.readUInt32LE(at + i * size)).includes(3);
}

const HEAD = `#!/bin/sh
mount -t devtmpfs none /dev 2>/dev/null
mount -t proc none /proc
mount -t sysfs none /sys
`;
/** What ends in a shell on the console. */
export const SHELL = 'exec setsid cttyhack sh';

/** Writes the archive; `script` is what init does once /dev, /proc and /sys are mounted. */
export function writeInitramfs(path: string, script: string): void {
  if (BUSYBOX === undefined) throw new Error(noBusybox());
  const directories: CpioEntry[] = ['bin', 'dev', 'proc', 'sys', 'mnt'].map((name) => ({ name, mode: 0o040755 }));
  const links: CpioEntry[] = APPLETS.map((name) => ({
    name: `bin/${name}`,
    mode: 0o120777,
    content: Buffer.from('busybox'),
  }));
  const archive = cpio([
    ...directories,
    { name: 'bin/busybox', mode: 0o100755, content: readFileSync(BUSYBOX) },
    ...links,
    { name: 'init', mode: 0o100755, content: Buffer.from(`${HEAD}${script}\n`) },
  ]);
  writeFileSync(path, gzipSync(archive));
}
