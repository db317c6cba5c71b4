/** Document of `privmem vm --json`, as far as it is looked at. */
export interface Ran {
  readonly outcome: string;
  readonly console: string;
  readonly stdout: string;
}

export function failures(result: Ran): string[];
export function foundBy(result: Ran, counts: (scenario: string) => boolean): string | undefined;
