/** Which call of one recording is which of another: the same sequence as far as possible, with calls that only one of them has. */

export type Pair = readonly [a: number | undefined, b: number | undefined];

/** Calls between two anchors that are compared each with each; above that, in order. */
const MOST_CELLS = 4_000_000;
/** Calls that only one side has, before the search gives up and takes the rest in order. */
const MOST_EDITS = 4_000;

/** Indexes that match, in order: the shortest edit script, greedily (E. Myers, 1986). Undefined when there are too many differences. */
function matches(a: readonly string[], b: readonly string[]): [number, number][] | undefined {
  const [n, m] = [a.length, b.length];
  const limit = Math.min(n + m, MOST_EDITS);
  const furthest = new Map<number, number>([[1, 0]]);
  const history: Map<number, number>[] = [];
  for (let d = 0; d <= limit; d++) {
    history.push(new Map(furthest));
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && (furthest.get(k - 1) ?? -1) < (furthest.get(k + 1) ?? -1));
      let x = down ? (furthest.get(k + 1) ?? 0) : (furthest.get(k - 1) ?? 0) + 1;
      let y = x - k;
      while (x < n && y < m && a[x] === b[y]) {
        x++;
        y++;
      }
      furthest.set(k, x);
      if (x >= n && y >= m) return backtrack(history, n, m, d);
    }
  }
  return undefined;
}

function backtrack(
  history: readonly ReadonlyMap<number, number>[],
  n: number,
  m: number,
  last: number,
): [number, number][] {
  const found: [number, number][] = [];
  let [x, y] = [n, m];
  for (let d = last; d >= 0; d--) {
    const before = history[d] ?? new Map<number, number>();
    const k = x - y;
    const down = k === -d || (k !== d && (before.get(k - 1) ?? -1) < (before.get(k + 1) ?? -1));
    const fromK = down ? k + 1 : k - 1;
    const fromX = d === 0 ? 0 : (before.get(fromK) ?? 0);
    const fromY = d === 0 ? 0 : fromX - fromK;
    while (x > fromX && y > fromY) found.push([--x, --y]);
    [x, y] = [fromX, fromY];
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
