/** Sets of NUMA nodes as mbind(2) and get_mempolicy(2) have them: one bit each, lowest first. */

/** No kernel is built for more (CONFIG_NODES_SHIFT is at most 10). */
export const MAX_NODES = 1024;

/** What get_mempolicy(2) answers. */
export interface MemoryPolicy {
  /** MPOL mode, with its MPOL_F flags. */
  readonly mode: number;
  /** In ascending order; empty where the policy names none. */
  readonly nodes: readonly number[];
}

/** As many words of 64 bits as the highest node needs; no bytes for no nodes. RangeError for what is no node. */
export function nodemaskOf(nodes: readonly number[]): Uint8Array {
  for (const node of nodes) {
    if (!Number.isInteger(node) || node < 0 || node >= MAX_NODES) {
      throw new RangeError(`a node must be an integer from 0 to ${MAX_NODES - 1}, got ${node}`);
    }
  }
  const mask = new Uint8Array(nodes.length === 0 ? 0 : 8 * Math.ceil((Math.max(...nodes) + 1) / 64));
  for (const node of nodes) mask[node >> 3] = (mask[node >> 3] ?? 0) | (1 << (node & 7));
  return mask;
}

export function nodesOf(mask: Uint8Array): number[] {
  const nodes: number[] = [];
  mask.forEach((byte, index) => {
    for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) nodes.push(8 * index + bit);
  });
  return nodes;
}
