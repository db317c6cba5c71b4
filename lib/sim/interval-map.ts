/**
 * A value for each range of integers: what is mapped where, which pages are allocated, which are private. Costs what is fragmented: one
 * entry for each place at which the value changes, found by binary search in leaves of bounded size.
 */

const LEAF_MAX = 256;

interface Leaf<V> {
  /** From `keys[i]` on, up to the next key (of the next leaf, after the last), the value is `values[i]`. Never empty. */
  readonly keys: number[];
  readonly values: (V | undefined)[];
}

export interface Range<V> {
  readonly from: number;
  /** First integer behind the range; Infinity for the last. */
  readonly to: number;
  readonly value: V | undefined;
}

/** Index of the last element that is not above `at`; -1 when all are. */
function lastNotAbove(sorted: readonly number[], at: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? Number.POSITIVE_INFINITY) <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

export class IntervalMap<V> {
  /** The first key is always 0, so that every integer has an entry. */
  readonly #leaves: Leaf<V>[] = [{ keys: [0], values: [undefined] }];
  /** First key of each leaf. */
  readonly #firsts: number[] = [0];
  #size = 1;

  /** Places at which the value changes, the one at 0 included: what the map costs. */
  get size(): number {
    return this.#size;
  }

  get(at: number): V | undefined {
    const leaf = this.#leaves[lastNotAbove(this.#firsts, at)];
    return leaf?.values[lastNotAbove(leaf.keys, at)];
  }

  /** The widest range around `at` that has one value (or none). */
  rangeAt(at: number): Range<V> {
    const index = lastNotAbove(this.#firsts, at);
    const leaf = this.#leaves[index];
    if (leaf === undefined) return { from: 0, to: Number.POSITIVE_INFINITY, value: undefined };
    const i = lastNotAbove(leaf.keys, at);
    const to = leaf.keys[i + 1] ?? this.#firsts[index + 1] ?? Number.POSITIVE_INFINITY;
    return { from: leaf.keys[i] ?? 0, to, value: leaf.values[i] };
  }

  /** Visits, in order, the parts of [from, to) that have a value, cut to the range. The map must not be changed meanwhile. */
  forEach(from: number, to: number, visit: (from: number, to: number, value: V) => void): void {
    if (from >= to) return;
    let index = lastNotAbove(this.#firsts, from);
    let leaf = this.#leaves[index];
    let i = leaf === undefined ? 0 : lastNotAbove(leaf.keys, from);
    while (leaf !== undefined) {
      const start = leaf.keys[i];
      if (start === undefined) {
        index++;
        leaf = this.#leaves[index];
        i = 0;
        continue;
      }
      if (start >= to) return;
      const value = leaf.values[i];
      if (value !== undefined) {
        const end = leaf.keys[i + 1] ?? this.#firsts[index + 1] ?? Number.POSITIVE_INFINITY;
        visit(Math.max(start, from), Math.min(end, to), value);
      }
      i++;
    }
  }

  /** The parts of [from, to) that have a value, as a list: safe to change the map while going through it. */
  within(from: number, to: number): { from: number; to: number; value: V }[] {
    const found: { from: number; to: number; value: V }[] = [];
    this.forEach(from, to, (start, end, value) => found.push({ from: start, to: end, value }));
    return found;
  }

  /** Gives [from, to) one value, or none. Neighbours of the same value (===) grow together. */
  set(from: number, to: number, value: V | undefined): void {
    if (from >= to) return;
    const after = this.get(to);
    const before = from === 0 ? undefined : this.get(from - 1);
    this.#cut(from, to === Number.POSITIVE_INFINITY ? to : to + 1);
    if (to !== Number.POSITIVE_INFINITY && after !== value) this.#insert(to, after);
    if (from === 0 || before !== value) this.#insert(from, value);
    this.#tidy(from);
  }

  clear(from: number, to: number): void {
    this.set(from, to, undefined);
  }

  /** Joins the leaf at `at` with the next one when both became small, so that leaves do not crumble. */
  #tidy(at: number): void {
    const index = lastNotAbove(this.#firsts, at);
    const leaf = this.#leaves[index];
    const next = this.#leaves[index + 1];
    if (leaf === undefined || next === undefined || leaf.keys.length + next.keys.length > LEAF_MAX / 2) return;
    leaf.keys.push(...next.keys);
    leaf.values.push(...next.values);
    this.#leaves.splice(index + 1, 1);
    this.#firsts.splice(index + 1, 1);
  }

  /** Removes the keys in [from, to). */
  #cut(from: number, to: number): void {
    let index = Math.max(0, lastNotAbove(this.#firsts, from));
    const first = this.#leaves[index];
    if (first === undefined) return;
    const low = lastNotAbove(first.keys, from - 1) + 1;
    const high = lastNotAbove(first.keys, to - 1) + 1;
    if (high > low) this.#drop(index, first, low, high);
    // Leaves behind the first: whole ones go at once.
    if ((this.#firsts[index] ?? from) < from) index++;
    let last = index;
    while (last < this.#leaves.length) {
      const leaf = this.#leaves[last];
      if (leaf === undefined || (leaf.keys[leaf.keys.length - 1] ?? to) >= to) break;
      this.#size -= leaf.keys.length;
      last++;
    }
    this.#leaves.splice(index, last - index);
    this.#firsts.splice(index, last - index);
    const rest = this.#leaves[index];
    if (rest === undefined) return;
    const end = lastNotAbove(rest.keys, to - 1) + 1;
    const start = lastNotAbove(rest.keys, from - 1) + 1;
    if (end > start) this.#drop(index, rest, start, end);
  }

  /** Takes keys out of a leaf; the leaf itself when none is left. */
  #drop(index: number, leaf: Leaf<V>, low: number, high: number): void {
    this.#size -= high - low;
    leaf.keys.splice(low, high - low);
    leaf.values.splice(low, high - low);
    const first = leaf.keys[0];
    if (first === undefined) {
      this.#leaves.splice(index, 1);
      this.#firsts.splice(index, 1);
    } else {
      this.#firsts[index] = first;
    }
  }

  #insert(key: number, value: V | undefined): void {
    this.#size++;
    const index = Math.max(0, lastNotAbove(this.#firsts, key));
    const leaf = this.#leaves[index];
    if (leaf === undefined) {
      this.#leaves.push({ keys: [key], values: [value] });
      this.#firsts.push(key);
      return;
    }
    const at = lastNotAbove(leaf.keys, key) + 1;
    leaf.keys.splice(at, 0, key);
    leaf.values.splice(at, 0, value);
    if (at === 0) this.#firsts[index] = key;
    if (leaf.keys.length <= LEAF_MAX) return;
    const half = leaf.keys.length >>> 1;
    const right: Leaf<V> = { keys: leaf.keys.splice(half), values: leaf.values.splice(half) };
    this.#leaves.splice(index + 1, 0, right);
    this.#firsts.splice(index + 1, 0, right.keys[0] ?? key);
  }
}
