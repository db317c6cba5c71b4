/** What the simulated kernel tells of itself, for tests and pictures: nothing in it depends on anybody listening. */

/** A memory file told KVM of a change, in the 2022 designs: which range, and what a memslot dropped because of it. */
export interface MemfileNotification {
  readonly kind: 'memfile-notifier';
  readonly callback: 'fallocate' | 'invalidate';
  /** Inode of the file. */
  readonly ino: bigint;
  /** Bytes in the file: [from, to). */
  readonly from: number;
  readonly to: number;
  readonly slot: number;
  /** Guest-physical, in bytes. */
  readonly gpa: number;
  readonly size: number;
  /** Mappings of which side were zapped. */
  readonly zapped: 'private' | 'shared';
}

/** The firmware closed a launch with this measurement: the launch digest of SEV-SNP, MRTD of TDX. 48 bytes. */
export interface LaunchMeasured {
  readonly kind: 'launch-measured';
  readonly technology: 'sev-snp' | 'tdx';
  readonly measurement: Uint8Array;
}

export type SimEvent = MemfileNotification | LaunchMeasured;
