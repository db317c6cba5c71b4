/** Colours, only where a terminal shows them. NO_COLOR and FORCE_COLOR are honoured. */
import { styleText } from 'node:util';

type Format = Parameters<typeof styleText>[0];

export interface Style {
  readonly paint: (format: Format, text: string) => string;
}

export function styleFor(stream: { readonly isTTY?: boolean }): Style {
  const { NO_COLOR, FORCE_COLOR } = process.env;
  const on = FORCE_COLOR !== undefined && FORCE_COLOR !== '0' ? true : stream.isTTY === true && (NO_COLOR ?? '') === '';
  return { paint: (format, text) => (on ? forced(format, text) : text) };
}

/** Newer releases of Node look at the stream themselves; the decision is made above. */
function forced(format: Format, text: string): string {
  const paint = styleText as (format: Format, text: string, options?: { validateStream: boolean }) => string;
  return paint(format, text, { validateStream: false });
}
