/** Which call of one recording is which of another: the same sequence as far as possible, with calls that only one of them has. */

export type Pair = readonly [a: number | undefined, b: number | undefined];

/** Calls between two anchors that are compared each with each; above that, in order. */
const MOST_CELLS = 4_000_000;
/** Calls that only one side has, before the search gives up and takes the rest in order. */
const MOST_EDITS = 4_000;

/**
 * Indexes that match, in order: the shortest edit script, greedily (E. Myers, "An O(ND) Difference Algorithm", 1986). Undefined when there
 * are too many differences.
 */
function matches(a: readonly string[], b: readonly string[]): [number, number][] | undefined {
  const [n, m] = [a.length, b.length];
  const limit = Math.min(n + m, MOST_EDITS);
  // By diagonal k = x - y: the furthest x that was reached on it.
  const middle = limit + 1;
  const furthest = new Int32Array(2 * limit + 3);
  /** Diagonals -d to d before each round. */
  const history: Int32Array[] = [];
  for (let d = 0; d <= limit; d++) {
    history.push(furthest.slice(middle - d - 1, middle + d + 2));
    for (let k = -d; k <= d; k += 2) {
      let x = stepFrom(furthest, middle, k, d).x;
      for (let y = x - k; x < n && y < m && a[x] === b[y]; y++) x++;
      furthest[middle + k] = x;
      if (x >= n && x - k >= m) return backtrack(history, n, m, d);
    }
  }
  return undefined;
}

/** Where an edit leads to on diagonal k, and from which diagonal it comes. */
function stepFrom(furthest: Int32Array, middle: number, k: number, d: number): { x: number; from: number } {
  const [above, below] = [furthest[middle + k + 1] ?? 0, furthest[middle + k - 1] ?? 0];
  const down = k === -d || (k !== d && below < above);
  return down ? { x: above, from: k + 1 } : { x: below + 1, from: k - 1 };
}

function backtrack(history: readonly Int32Array[], n: number, m: number, last: number): [number, number][] {
  const found: [number, number][] = [];
  let [x, y] = [n, m];
  for (let d = last; d >= 0; d--) {
    const furthest = history[d] ?? new Int32Array(3);
    const step = d === 0 ? { x: 0, from: 0 } : stepFrom(furthest, d + 1, x - y, d);
    // Before the step is undone, what matched after it.
    while (x > step.x && y > 0 && (d > 0 || x > 0)) found.push([--x, --y]);
    if (d === 0) break;
    x = furthest[d + 1 + step.from] ?? 0;
    y = x - step.from;
  }
  return found.reverse();
}

/** Pairs of a stretch between anchors, by the weaker keys. */
function fill(a: readonly string[], b: readonly string[], atA: number, atB: number): Pair[] {
  const found = a.length * b.length > MOST_CELLS ? undefined : matches(a, b);
  const pairs: Pair[] = [];
  let [i, j] = [0, 0];
  const until = (toA: number, toB: number): void => {
    while (i < toA) pairs.push([atA + i++, undefined]);
    while (j < toB) pairs.push([undefined, atB + j++]);
  };
  for (const [x, y] of found ?? inOrder(a, b)) {
    until(x, y);
    pairs.push([atA + i++, atB + j++]);
  }
  until(a.length, b.length);
  return pairs;
}

function inOrder(a: readonly string[], b: readonly string[]): [number, number][] {
  const found: [number, number][] = [];
  for (let i = 0; i < Math.min(a.length, b.length) && a[i] === b[i]; i++) found.push([i, i]);
  return found;
}

/**
 * Pairs the entries of `a` and `b`: first those whose `strong` keys agree, then, between them, those whose `weak` keys do (the same
 * call with other arguments).
 */
export function align<T>(
  a: readonly T[],
  b: readonly T[],
  strong: (item: T) => string,
  weak: (item: T) => string,
): Pair[] {
  const anchors = matches(a.map(strong), b.map(strong)) ?? [];
  const [weakA, weakB] = [a.map(weak), b.map(weak)];
  const pairs: Pair[] = [];
  let [i, j] = [0, 0];
  for (const [x, y] of [...anchors, [a.length, b.length] as const]) {
    pairs.push(...fill(weakA.slice(i, x), weakB.slice(j, y), i, j));
    if (x < a.length) pairs.push([x, y]);
    [i, j] = [x + 1, y + 1];
  }
  return pairs;
}
