/** Numbers as people write them on a command line. */
import { InvalidArgumentError } from 'commander';

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** `2M`, `64K`, `8192`: bytes. */
export function parseSize(text: string): number {
  const match = /^(\d+)([KMG]?)$/i.exec(text);
  const unit = UNITS[(match?.[2] ?? '?').toUpperCase()];
  if (match === null || unit === undefined) throw new InvalidArgumentError('a number of bytes, or one with K, M or G');
  return Number(match[1]) * unit;
}

/** `90`, `90s`, `5m`, `1500ms`: milliseconds. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match?.[2] ?? 's'];
  const ms = Number(match?.[1]) * (unit ?? Number.NaN);
  if (!(ms > 0)) throw new InvalidArgumentError('a number of seconds, or one with ms, s, m or h');
  return ms;
}

/** 1 and more. */
export function parseCount(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('a positive number');
  return Number(text);
}
