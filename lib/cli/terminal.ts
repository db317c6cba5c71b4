/** The terminal as a guest's console: every key goes to the guest, Ctrl-A x leaves. */
const CTRL_A = 1;
const LEAVE = 'x'.charCodeAt(0);

export interface Console {
  /** Puts the terminal back as it was. */
  close(): void;
}

export interface ConsoleOptions {
  readonly input: (bytes: Uint8Array) => void;
  /** Ctrl-A x. */
  readonly leave: () => void;
}

/** What of the keys is for the guest; Ctrl-A twice is one Ctrl-A. State between two calls is kept in the closure. */
export function keys({ input, leave }: ConsoleOptions): (bytes: Uint8Array) => void {
  let escaped = false;
  return (bytes) => {
    const out: number[] = [];
    for (const byte of bytes) {
      if (escaped) {
        escaped = false;
        if (byte === LEAVE) {
          if (out.length > 0) input(Uint8Array.from(out));
          leave();
          return;
        }
        out.push(byte);
      } else if (byte === CTRL_A) escaped = true;
      else out.push(byte);
    }
    if (out.length > 0) input(Uint8Array.from(out));
  };
}

/** On a terminal in raw mode, put back at every end of the process; otherwise bytes as they come. */
export function openConsole(options: ConsoleOptions): Console {
  const { stdin } = process;
  const raw = stdin.isTTY === true;
  const restore = (): void => {
    if (raw) stdin.setRawMode(false);
  };
  const take = raw ? keys(options) : options.input;
  if (raw) {
    stdin.setRawMode(true);
    process.once('exit', restore);
  }
  stdin.on('data', take);
  // A file or pipe that is at its end leaves the guest running.
  stdin.on('error', () => {});
  return {
    close: () => {
      stdin.removeListener('data', take);
      stdin.pause();
      // A pipe that nobody closes would keep the process alive.
      stdin.unref?.();
      process.removeListener('exit', restore);
      restore();
    },
  };
}
