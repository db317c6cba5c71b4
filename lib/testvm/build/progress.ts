/** What a build says on the way: a line that rewrites itself on a terminal, one line a stage elsewhere. */

export interface Progress {
  stage(text: string): void;
  /** A line of make's output. */
  line(text: string): void;
  done(): void;
}

const STEP = /^ {2}([A-Z][A-Z0-9]+)\s+(\S+)/;

export function progressOn(stream: NodeJS.WriteStream, prefix: string): Progress {
  const terminal = stream.isTTY === true;
  let stage = '';
  let started = performance.now();
  let objects = 0;
  let shown = 0;
  const seconds = (): string => `${((performance.now() - started) / 1000).toFixed(0)} s`;
  const clear = (): void => {
    if (terminal) stream.write('\r\u001b[K');
  };
  return {
    stage: (text) => {
      clear();
      stage = text;
      started = performance.now();
      objects = 0;
      stream.write(`${prefix}${text}${terminal ? '' : '\n'}`);
    },
    line: (text) => {
      const step = STEP.exec(text);
      if (step === null) return;
      objects++;
      const now = performance.now();
      if (!terminal || now - shown < 100) return;
      shown = now;
      const line = `${prefix}${stage}: ${seconds()}, ${objects} steps, ${step[1]} ${step[2]}`;
      stream.write(`\r\u001b[K${line.slice(0, Math.max(20, (stream.columns ?? 80) - 1))}`);
    },
    done: clear,
  };
}
