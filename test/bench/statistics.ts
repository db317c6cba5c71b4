/** Order statistics: noise on a host only ever adds time, so means are of no use. */

/** The value below which the share `q` (0..1) of the values lies, interpolated. NaN when there are none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export interface Ratio {
  readonly median: number;
  /** First and third quartile: half of the rounds lie between them. */
  readonly low: number;
  readonly high: number;
}

/** Ours divided by C, round by round: what slows the host down for a while hits both batches of a round. */
export function ratioOf(ours: readonly number[], reference: readonly number[]): Ratio {
  const ratios = ours.map((value, i) => value / (reference[i] ?? Number.NaN));
  return { median: median(ratios), low: quantile(ratios, 0.25), high: quantile(ratios, 0.75) };
}
