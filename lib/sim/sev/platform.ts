/** What all SEV VMs of a machine share: address-space ids, which are memory keys, the reverse map table, the firmware's guests. */
import type { X64Machine as KvmMachine } from '../kvm/x64/machine.ts';
import { Rmp } from './rmp.ts';
import type { SevGuest } from './sev-firmware.ts';

/** Version of the firmware's interface that is imitated: an EPYC 7003 of 2023. */
export const FIRMWARE = { apiMajor: 1, apiMinor: 55, build: 21 } as const;

/** Position of the C-bit in guest page tables: CPUID 0x8000001F, EBX. */
export const C_BIT = 51;

export class SevPlatform {
  readonly rmp = new Rmp();
  readonly guests = new Map<number, SevGuest>();
  /** Address-space ids in use; SEV-ES and SEV-SNP have a range of their own. */
  readonly #used = { sev: new Set<number>(), es: new Set<number>() };
  readonly #size: number;
  #handles = 0;

  constructor(machine: KvmMachine) {
    this.#size = machine.memoryKeys;
  }

  /** A free id, or undefined when all are taken. */
  takeAsid(es: boolean): number | undefined {
    const used = es ? this.#used.es : this.#used.sev;
    const first = es ? 1 : 1 + this.#size;
    for (let asid = first; asid < first + this.#size; asid++) {
      if (used.has(asid)) continue;
      used.add(asid);
      return asid;
    }
    return undefined;
  }

  freeAsid(asid: number): void {
    this.#used.es.delete(asid);
    this.#used.sev.delete(asid);
  }

  /** A number that no guest of the firmware has had. */
  nextHandle(): number {
    this.#handles++;
    return this.#handles;
  }
}

const platforms = new WeakMap<KvmMachine, SevPlatform>();

export function platformOf(machine: KvmMachine): SevPlatform {
  const known = platforms.get(machine);
  if (known !== undefined) return known;
  const platform = new SevPlatform(machine);
  platforms.set(machine, platform);
  return platform;
}
