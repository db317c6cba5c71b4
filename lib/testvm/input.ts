/** The command's input, from wherever it comes to the guest. */
import type { QemuProcess } from './qemu-process.ts';
import type { VmOptions } from './words.ts';

/** Returns what lets go of the stream. Init learns from the control port after how many bytes the input ends. */
export function feedInput(qemu: QemuProcess, input: NonNullable<VmOptions['stdin']>): () => void {
  const { stdin, control } = qemu.channels;
  let sent = 0;
  const finish = (): void => {
    control.write(`input ${sent}\n`);
  };
  if (typeof input === 'string' || input instanceof Uint8Array) {
    const bytes = Buffer.from(input as Uint8Array);
    sent = bytes.length;
    stdin.write(bytes);
    finish();
    return () => {};
  }
  const take = (chunk: Buffer | string): void => {
    const bytes = Buffer.from(chunk as Buffer);
    sent += bytes.length;
    if (stdin.write(bytes)) return;
    input.pause();
    stdin.once('drain', () => input.resume());
  };
  input.on('data', take);
  input.once('end', finish);
  input.once('error', finish);
  return () => {
    input.removeListener('data', take);
    input.removeListener('end', finish);
    input.removeListener('error', finish);
    input.pause();
  };
}
