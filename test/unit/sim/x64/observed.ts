/** What userspace sees of a vCPU, real or simulated, in the same words. */
import type { Exit } from '../../../../lib/kvm/exits.ts';
import type { Stop } from '../../../../lib/sim/x64/index.ts';

export const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

export function exitText(exit: Exit): string {
  switch (exit.name) {
    case 'KVM_EXIT_HLT':
      return 'hlt';
    case 'KVM_EXIT_SHUTDOWN':
      return 'shutdown';
    case 'KVM_EXIT_INTERNAL_ERROR':
      return 'emulation';
    case 'KVM_EXIT_MMIO':
      return `mmio ${exit.gpa} ${exit.length} ${exit.isWrite ? hex(exit.data) : 'read'}`;
    case 'KVM_EXIT_IO':
      return `io ${exit.port} ${exit.size} ${exit.direction === 'out' ? hex(exit.data) : 'read'}`;
    default:
      return String(exit.name);
  }
}

/** Bytes that the answer to an exit has. */
export function answerLength(exit: Exit): number {
  return exit.name === 'KVM_EXIT_MMIO' ? exit.length : exit.name === 'KVM_EXIT_IO' ? exit.size : 0;
}

export function stopText(stop: Stop): string {
  const data = 'data' in stop && stop.data !== undefined ? hex(stop.data) : 'read';
  if (stop.kind === 'mmio') return `mmio ${stop.gpa} ${stop.length} ${data}`;
  return stop.kind === 'io' ? `io ${stop.port} ${stop.size} ${data}` : stop.kind;
}

export function registerTexts(regs: object): Record<string, string> {
  return Object.fromEntries(Object.entries(regs).map(([name, value]) => [name, `0x${BigInt(value).toString(16)}`]));
}

/** Control registers and segments as text, field by field. */
export function systemTexts(sregs: object): Record<string, string> {
  const entries = Object.entries(sregs).flatMap(([name, value]: [string, unknown]) =>
    typeof value === 'object' && value !== null
      ? Object.entries(value).map(([field, inner]): [string, string] => [`${name}.${field}`, String(inner)])
      : [[name, `0x${BigInt(value as bigint).toString(16)}`] as [string, string]],
  );
  return Object.fromEntries(entries.filter(([name]) => !name.endsWith('padding')));
}

/** Memory by rows of 16 bytes that are not all zero. */
export function memoryTexts(bytes: Uint8Array): Record<string, string> {
  const rows = Array.from({ length: bytes.length / 16 }, (_, i): [string, string] => {
    return [`row ${(16 * i).toString(16)}`, hex(bytes.subarray(16 * i, 16 * i + 16))];
  });
  return Object.fromEntries(rows.filter(([, row]) => !/^0+$/.test(row)));
}
