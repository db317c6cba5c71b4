import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Mode } from '../../../lib/guest/x64/operands.ts';

/** Why GNU objdump cannot serve as a second opinion here, or undefined when it can. */
export function binutilsMissing(): string | undefined {
  const result = spawnSync('objdump', ['--help'], { encoding: 'utf8' });
  if (result.error !== undefined) return 'objdump (GNU binutils) is not installed';
  return /\bi386\b/.test(result.stdout) ? undefined : 'this objdump does not know x86';
}

const MACHINES: Readonly<Record<Mode, string>> = { 16: 'i8086', 32: 'i386', 64: 'i386:x86-64' };

export interface ObjdumpLine {
  readonly address: number;
  readonly length: number;
  readonly text: string;
}

/** What GNU objdump sees in raw bytes, one entry per instruction, in Intel syntax. */
export function objdump(bytes: Uint8Array, mode: Mode): ObjdumpLine[] {
  const folder = mkdtempSync(join(tmpdir(), 'privmem-objdump-'));
  try {
    const file = join(folder, 'code.bin');
    writeFileSync(file, bytes);
    const options = ['-D', '-z', '-w', '-b', 'binary', '-m', MACHINES[mode], '-M', 'intel', file];
    const { stdout } = spawnSync('objdump', options, { encoding: 'utf8', maxBuffer: 1 << 28 });
    return [...stdout.matchAll(/^\s*([0-9a-f]+):\t([0-9a-f ]+)\t(.*)$/gm)].map(
      ([, address = '', hex = '', text = '']) => ({
        address: Number.parseInt(address, 16),
        length: hex.trim().split(' ').length,
        text: normalise(farText(text, mode)),
      }),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Far branches by their names here: objdump tells them from near ones by the size of what they read. */
function farText(text: string, mode: Mode): string {
  const pointer = mode === 16 ? 'dword' : '[ft](?:byte|word)';
  return text
    .toLowerCase()
    .replace(new RegExp(`^(?:rex\\.\\w+ )?(?:addr\\d+ )?(jmp|call)\\s+${pointer} ptr `), '$1f ')
    .replace(/^rex\.\w+ (retf|iret)/, '$1')
    .replace(/^(retf|iret)[wdq]/, '$1');
}

/** String instructions with spelled-out operands, in the short spelling: the suffix says the size. */
function shortString(text: string): string {
  return text.replace(
    /\b(stos|movs|lods|scas|cmps|ins|outs) .*?\b(byte|word|dword|qword) ptr .*$/,
    (_, name, size) => name + size[0],
  );
}

/** Evens out the spellings that mean the same, in objdump's text and in ours. */
export function normalise(text: string): string {
  const even = text
    .replace(/[#<].*$/, '')
    .toLowerCase()
    .replace(/\s*,\s*/g, ',')
    .replace(/\s+/g, ' ')
    .trim();
  return shortString(even)
    .replace(/^addr(16|32) /, '')
    .replace('+0x0]', ']')
    .replace('movabs', 'mov')
    .replace(/^lgdt[wd] /, 'lgdt ')
    .replace(/,1$/, ',0x1')
    .replace(/^(push|pop)(f?)[wdq]\b/, '$1$2')
    .replace(/^leave[wdq]$/, 'leave')
    .replace(/^invlpg byte ptr /, 'invlpg ')
    .replace(/[c-gs]s:0x([0-9a-f]+)/, '[0x$1]')
    .replace(
      /rip\+0x(f{8}[0-9a-f]{8})\]/,
      (_, hex) => `rip-0x${(-BigInt.asIntN(64, BigInt(`0x${hex}`))).toString(16)}]`,
    )
    .replace(LOADED_SEGMENT, (_, start, old, fresh) => `${start},${old ?? `${fresh}w`}`);
}

/** Only 16 bits of the register are read, whatever objdump calls it. */
const LOADED_SEGMENT = /^(mov [c-gs]s),(?:e([a-ds][ixp])|(r\d+)d)$/;
