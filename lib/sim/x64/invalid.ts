/** Bytes that no processor executes: they raise #UD, where bytes that are merely not known here stop the vCPU. */
import { decode } from '../../guest/x64/decode.ts';
import type { Mode } from '../../guest/x64/operands.ts';

/** One-byte instructions of older modes that 64-bit code does not have. VEX prefixes (c4, c5, 62) are none of them. */
const NOT_IN_64_BIT_CODE: ReadonlySet<number> = new Set([
  ...[0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f],
  ...[0x60, 0x61, 0x82, 0x9a, 0xce, 0xd4, 0xd5, 0xd6, 0xea],
]);
const PREFIXES: ReadonlySet<number> = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

export function undefinedOpcode(bytes: Uint8Array, mode: Mode): boolean {
  let i = 0;
  let lock = false;
  for (; PREFIXES.has(bytes[i] ?? 0); i++) lock ||= bytes[i] === 0xf0;
  if (mode === 64 && (bytes[i] ?? 0) >> 4 === 4) i++;
  if (mode === 64 && NOT_IN_64_BIT_CODE.has(bytes[i] ?? 0)) return true;
  if (!lock) return false;
  // LOCK before something that is known but cannot be locked.
  return (
    typeof decode(
      bytes.filter((byte, at) => at >= i || byte !== 0xf0),
      mode,
    ) !== 'string'
  );
}
