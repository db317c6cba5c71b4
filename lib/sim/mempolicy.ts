/**
 * mbind and get_mempolicy on a machine with one NUMA node. Policies of mappings are kept by address, those of tmpfs (and of guest_memfd where
 * the release has it) by page of the file. mm/mempolicy.c, mm/shmem.c
 */
import type { AddressSpace } from './address-space.ts';
import { EFAULT, EINVAL, EIO, ENOSYS } from './errno.ts';
import { IntervalMap } from './interval-map.ts';
import { isAligned, PAGE_SIZE } from './page.ts';
import { pinFast } from './pinned.ts';
import type { Process } from './process.ts';
import { pageAlign } from './protect.ts';
import type { Vma } from './vma.ts';

const PAGE = BigInt(PAGE_SIZE);
const NODE_0 = 1n;
/** Bits of a nodemask that the kernel knows (CONFIG_NODES_SHIFT of distributions) … */
const MAX_NODES = { x64: 1024, arm64: 16 } as const;
/** … and bytes that it copies out: one word, since there is one node. */
const WORD_BYTES = 8;

const MODE = { DEFAULT: 0, PREFERRED: 1, BIND: 2, INTERLEAVE: 3, LOCAL: 4, PREFERRED_MANY: 5 } as const;
const STATIC = 0x8000;
const RELATIVE = 0x4000;
const BALANCING = 0x2000;
const MODE_FLAGS = STATIC | RELATIVE | BALANCING;
const MF_STRICT = 1;
const MF_VALID = 7;
const F_NODE = 1;
const F_ADDR = 2;
const F_MEMS_ALLOWED = 4;

/** A policy that is not the default. */
export interface Policy {
  readonly mode: number;
  readonly flags: number;
  /** As get_mempolicy shows them, one bit each. */
  readonly nodes: bigint;
}

/** Policies of the pages of files, by what all descriptions of a file share. */
export class FilePolicies {
  readonly #files = new WeakMap<object, IntervalMap<Policy>>();

  of(inode: object): IntervalMap<Policy> {
    let map = this.#files.get(inode);
    if (map === undefined) {
      map = new IntervalMap();
      this.#files.set(inode, map);
    }
    return map;
  }
}

/** get_nodes: the mask as a number, or a negated errno. Whole words count; bits that no kernel of this kind has must be zero. */
function nodesOf(mask: Uint8Array, arch: 'x64' | 'arm64'): bigint {
  const bytes = mask.length - (mask.length % WORD_BYTES);
  if (bytes > PAGE_SIZE) return -BigInt(EINVAL);
  let nodes = 0n;
  for (let i = bytes - 1; i >= 0; i--) nodes = (nodes << 8n) | BigInt(mask[i] ?? 0);
  return nodes >> BigInt(MAX_NODES[arch]) !== 0n ? -BigInt(EINVAL) : nodes;
}

/** sanitize_mpol_flags: whether the kernel knows the mode and its flags. */
function isKnown({ profile }: Process, mode: number, flags: number): boolean {
  if (mode > (profile.weightedInterleave ? 6 : MODE.PREFERRED_MANY)) return false;
  if ((flags & STATIC) !== 0 && (flags & RELATIVE) !== 0) return false;
  if ((flags & BALANCING) === 0) return true;
  return mode === MODE.BIND || (mode === MODE.PREFERRED_MANY && profile.balancedPreferredMany);
}

/** mpol_new and mpol_set_nodemask: undefined is the default policy. */
function policyOf(mode: number, flags: number, nodes: bigint): Policy | undefined | number {
  const empty = nodes === 0n;
  const user = (flags & (STATIC | RELATIVE)) !== 0;
  if (mode === MODE.DEFAULT) return empty ? undefined : -EINVAL;
  if (mode === MODE.LOCAL) return empty && !user ? { mode, flags, nodes: 0n } : -EINVAL;
  if (mode === MODE.PREFERRED && empty) return user ? -EINVAL : { mode: MODE.LOCAL, flags, nodes: 0n };
  if (empty) return -EINVAL;
  // Relative nodes fold onto the nodes that there are: here they all become node 0.
  if ((flags & RELATIVE) === 0 && (nodes & NODE_0) === 0n) return -EINVAL;
  return { mode, flags, nodes: user ? nodes : NODE_0 };
}

export interface MbindArguments {
  readonly address: bigint;
  readonly length: bigint;
  readonly mode: number;
  readonly nodemask: Uint8Array;
  readonly flags: number;
}

export function mbind(process: Process, { address, length, mode: asked, nodemask, flags }: MbindArguments): number {
  const { space, profile, filePolicies } = process;
  if (!process.numa) return -ENOSYS;
  const mode = (asked & ~MODE_FLAGS) >>> 0;
  const modeFlags = asked & MODE_FLAGS;
  if (!isKnown(process, mode, modeFlags)) return -EINVAL;
  const nodes = nodesOf(nodemask, profile.arch);
  if (nodes < 0n) return Number(nodes);
  if ((flags & ~MF_VALID) !== 0 || !isAligned(address)) return -EINVAL;
  const aligned = pageAlign(length);
  if (address + aligned >= 2n ** 64n) return -EINVAL;
  if (aligned === 0n) return 0;
  const policy = policyOf(mode, modeFlags, nodes);
  if (typeof policy === 'number') return policy;
  const from = Number(address / PAGE);
  const to = Number((address + aligned) / PAGE);
  const parts = from < space.endPage ? space.vmas.within(from, Math.min(to, space.endPage)) : [];
  if (parts.length === 0 || (policy !== undefined && !space.isMapped(from, Math.min(to, space.endPage))))
    return -EFAULT;
  if (policy !== undefined && to > space.endPage) return -EFAULT;
  // Pages that are there and lie on no node of the mask as it was given.
  const misplaced = policy !== undefined && (flags & MF_VALID) === MF_STRICT && (nodes & NODE_0) === 0n;
  if (misplaced && parts.some(({ value, from: start, to: end }) => hasPages(space, value, start, end))) return -EIO;
  for (const { from: start, to: end, value: vma } of parts) {
    space.policies.set(start, end, policy);
    const inode = vma.file?.policyInode;
    if (inode !== undefined) filePolicies.of(inode).set(start + vma.delta, end + vma.delta, policy);
  }
  return 0;
}

/** Pages that a mapping could have in its page tables: all of its file's, since which of them were touched through it is not kept. */
const hasPages = (space: AddressSpace, vma: Vma, from: number, to: number): boolean =>
  space.private.count(from, to) > 0 ||
  (vma.shared && (vma.file?.pages?.count(from + vma.delta, to + vma.delta) ?? 0) > 0);

/** The policy at an address: undefined is the default. __get_vma_policy */
function policyAt({ space, filePolicies }: Process, page: number): Policy | undefined {
  const vma = space.vmas.get(page);
  const inode = vma?.file?.policyInode;
  return vma === undefined || inode === undefined
    ? space.policies.get(page)
    : filePolicies.of(inode).get(page + vma.delta);
}

/** What get_mempolicy answers in its first argument; a negated errno otherwise. Fills `nodemask` last. */
export function getMempolicy(process: Process, nodemask: Uint8Array, address: bigint, flags: number): number {
  const { space } = process;
  if (!process.numa) return -ENOSYS;
  if ((flags & ~(F_NODE | F_ADDR | F_MEMS_ALLOWED)) !== 0) return -EINVAL;
  if ((flags & F_MEMS_ALLOWED) !== 0) {
    if (flags !== F_MEMS_ALLOWED) return -EINVAL;
    return copyNodes(nodemask, NODE_0) ? 0 : -EINVAL;
  }
  let policy: Policy | undefined;
  let result = 0;
  if ((flags & F_ADDR) !== 0) {
    const page = Number(address / PAGE);
    if (page >= space.endPage || space.vmas.get(page) === undefined) return -EFAULT;
    policy = policyAt(process, page);
    if ((flags & F_NODE) !== 0 && pinFast(space, page) === undefined) return -EFAULT;
  } else if (address !== 0n || (flags & F_NODE) !== 0) {
    // The process has no policy of its own.
    return -EINVAL;
  }
  if ((flags & F_NODE) === 0) result = policy === undefined ? MODE.DEFAULT : policy.mode | policy.flags;
  return copyNodes(nodemask, policy?.nodes ?? 0n) ? result : -EINVAL;
}

/** copy_nodes_to_user: false when the mask is longer than the kernel bears. */
function copyNodes(mask: Uint8Array, nodes: bigint): boolean {
  const bytes = mask.length - (mask.length % WORD_BYTES);
  if (bytes > PAGE_SIZE) return false;
  mask.fill(0, 0, bytes);
  for (let i = 0; i < Math.min(bytes, WORD_BYTES); i++) mask[i] = Number((nodes >> BigInt(8 * i)) & 0xffn);
  return true;
}
