/** What a guest program must know of the technology that protects it: how it says which side of memory it means, and how it gets out. */

export type GuestTechnology = 'none' | 'sev' | 'sev-es' | 'sev-snp' | 'tdx';

/**
 * A bit of guest-physical addresses in page tables. SEV: set means private (the C-bit; CPUID 0x8000001F says where it is, 51 on processors
 * since 2019). TDX: set means shared (the highest bit of the guest's width).
 */
export interface SideBit {
  readonly bit: number;
  readonly marks: 'private' | 'shared';
}

const C_BIT: SideBit = { bit: 51, marks: 'private' };
const SHARED_BIT: SideBit = { bit: 47, marks: 'shared' };

export const SIDE_BIT: Readonly<Record<GuestTechnology, SideBit | undefined>> = {
  none: undefined,
  sev: C_BIT,
  'sev-es': C_BIT,
  'sev-snp': C_BIT,
  tdx: SHARED_BIT,
};

/**
 * Programs see all memory twice: at its gpa as private memory, and this much higher as shared memory. A page that is converted needs no
 * change of page tables then.
 */
export const SHARED_ALIAS = 2 ** 46;

/** Where SEV-ES and SEV-SNP programs have their GHCB: a page below the usual base of programs, which must be shared. */
export const GHCB_GPA = 0xf000;

/** A TDX program ends by writing 0 to this port, again at every further run: HLT would not leave KVM, which has its local APIC. */
export const END_PORT = 0xf4;

/** The gpa of an address as a program uses it. */
export const withoutAlias = (address: number): number => (address >= SHARED_ALIAS ? address - SHARED_ALIAS : address);
