/**
 * The save area of a vCPU whose state is encrypted, as it is measured: SEV-ES counts it at LAUNCH_UPDATE_VMSA, SEV-SNP at the finish.
 * AMD64 Architecture Programmer's Manual volume 2, table B-4.
 */

const PAGE_SIZE = 4096;

export interface VmsaSegment {
  readonly selector: number;
  /** Type, S, DPL and P in the low byte; AVL, L, D/B and G in the next four bits. */
  readonly attributes: number;
  readonly limit: number;
  readonly base: bigint;
}

const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'gdtr', 'ldtr', 'idtr', 'tr'] as const;

const U64 = {
  efer: 0xd0,
  cr4: 0x148,
  cr3: 0x150,
  cr0: 0x158,
  dr7: 0x160,
  dr6: 0x168,
  rflags: 0x170,
  rip: 0x178,
  rsp: 0x1d8,
  rax: 0x1f8,
  star: 0x200,
  lstar: 0x208,
  cstar: 0x210,
  sfmask: 0x218,
  kernelGsBase: 0x220,
  sysenterCs: 0x228,
  sysenterEsp: 0x230,
  sysenterEip: 0x238,
  cr2: 0x240,
  gPat: 0x268,
  rcx: 0x308,
  rdx: 0x310,
  rbx: 0x318,
  rbp: 0x328,
  rsi: 0x330,
  rdi: 0x338,
  r8: 0x340,
  r9: 0x348,
  r10: 0x350,
  r11: 0x358,
  r12: 0x360,
  r13: 0x368,
  r14: 0x370,
  r15: 0x378,
  sevFeatures: 0x3b0,
  xcr0: 0x3e8,
} as const;
const MXCSR = 0x408;
const X87_FCW = 0x410;
const CPL = 0xcb;

type Words = { readonly [name in keyof typeof U64]?: bigint };
type Segments = { readonly [name in (typeof SEGMENTS)[number]]?: VmsaSegment };

/** What is left out is zero. */
export interface VmsaState extends Words, Segments {
  readonly cpl?: number;
  readonly mxcsr?: number;
  readonly x87Fcw?: number;
}

/** The 4096 bytes of the save area. */
export function vmsaPage(state: VmsaState): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE);
  const view = new DataView(page.buffer);
  SEGMENTS.forEach((name, i) => {
    const segment = state[name];
    if (segment === undefined) return;
    view.setUint16(16 * i, segment.selector, true);
    view.setUint16(16 * i + 2, segment.attributes, true);
    view.setUint32(16 * i + 4, segment.limit, true);
    view.setBigUint64(16 * i + 8, segment.base, true);
  });
  for (const [name, offset] of Object.entries(U64)) {
    view.setBigUint64(offset, BigInt.asUintN(64, state[name as keyof typeof U64] ?? 0n), true);
  }
  view.setUint8(CPL, state.cpl ?? 0);
  view.setUint32(MXCSR, state.mxcsr ?? 0, true);
  view.setUint16(X87_FCW, state.x87Fcw ?? 0, true);
  return page;
}
