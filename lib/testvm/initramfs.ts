/** The archive that a test kernel starts from: our init and what it is told. */
import { type CpioEntry, cpio } from './cpio.ts';

export interface InitConfig {
  /** Proves that a line on the control port is from init. */
  readonly nonce: string;
  readonly cwd: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Writable shares: 9p tag and path. */
  readonly shares: readonly { readonly tag: string; readonly path: string }[];
  /** 9p tags of the layers over the root, the uppermost first. */
  readonly layers: readonly string[];
  readonly input: boolean;
  readonly hostname: string;
}

/** As native/testvm/init.c reads it: a letter and a value, ended by NUL. */
function encode(config: InitConfig): Buffer {
  const records = [
    `n${config.nonce}`,
    `d${config.cwd}`,
    `h${config.hostname}`,
    ...config.command.map((argument) => `a${argument}`),
    ...Object.entries(config.env).map(([name, value]) => `e${name}=${value}`),
    ...config.shares.map(({ tag, path }) => `s${tag}=${path}`),
    ...config.layers.map((tag) => `l${tag}`),
    ...(config.input ? ['i'] : []),
  ];
  for (const record of records) {
    if (record.includes('\0'))
      throw new TypeError(`a NUL character cannot be handed to a command: ${JSON.stringify(record.slice(1))}`);
  }
  return Buffer.from(records.map((record) => `${record}\0`).join(''));
}

export function initramfs(init: Uint8Array, config: InitConfig): Buffer {
  const directories: CpioEntry[] = ['dev', 'host', 'layers', 'new', 'rw'].map((name) => ({ name, mode: 0o040755 }));
  return cpio([
    ...directories,
    { name: 'init', mode: 0o100755, content: init },
    { name: 'privmem.conf', mode: 0o100600, content: encode(config) },
  ]);
}
