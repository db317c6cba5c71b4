/** The control port: lines from the guest's init, each begun with the run's nonce. */

export type InitMessage =
  | { readonly kind: 'ready'; readonly release: string; readonly machine: string }
  | { readonly kind: 'note'; readonly text: string }
  | { readonly kind: 'fault'; readonly text: string }
  | { readonly kind: 'pong' }
  | { readonly kind: 'exit'; readonly status: number; readonly stdout: number; readonly stderr: number };

/** What one line says; undefined for what is not from init. */
export function parseMessage(nonce: string, line: string): InitMessage | undefined {
  if (!line.startsWith(`${nonce} `)) return undefined;
  const rest = line.slice(nonce.length + 1);
  const space = rest.indexOf(' ');
  const text = rest.slice(space + 1);
  switch (rest.slice(0, space)) {
    case 'ready': {
      const [release = '', machine = ''] = text.split(' ');
      return { kind: 'ready', release, machine };
    }
    case 'note':
      return { kind: 'note', text };
    case 'fault':
      return { kind: 'fault', text };
    case 'pong':
      return { kind: 'pong' };
    case 'exit': {
      const match = /^(\d+) (\d+) (\d+)$/.exec(text);
      if (match === null) return undefined;
      return { kind: 'exit', status: Number(match[1]), stdout: Number(match[2]), stderr: Number(match[3]) };
    }
    default:
      return undefined;
  }
}

/** Cuts a stream into lines. */
export class LineSplitter {
  #rest = '';

  push(text: string): string[] {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    return lines;
  }
}
