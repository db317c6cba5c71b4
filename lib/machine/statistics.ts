/** How often a machine's vCPUs came back, and why. */
import type { Exit } from '../kvm/exits.ts';

export interface ExitStatistics {
  readonly total: number;
  /** By name: `KVM_EXIT_IO`; `exit 99` for one without a name. */
  readonly byReason: Readonly<Record<string, number>>;
  /** Port accesses by port, memory accesses by page: where the time goes. */
  readonly byPort: ReadonlyMap<number, number>;
  readonly byPage: ReadonlyMap<number, number>;
  /** Accesses that nobody claimed. */
  readonly unclaimed: number;
  /** Conversions carried out, and bytes of them. */
  readonly conversions: number;
  readonly convertedBytes: number;
}

const PAGE = 4096;
const REASONS = 64;

/** Counts by place. The place of the time before is at hand: most come again at once. */
class Counts {
  readonly #cells = new Map<number, { count: number }>();
  #place = -1;
  #cell = { count: 0 };

  add(place: number): void {
    if (place !== this.#place) {
      this.#place = place;
      this.#cell = this.#cells.get(place) ?? { count: 0 };
      this.#cells.set(place, this.#cell);
    }
    this.#cell.count++;
  }

  all(): Map<number, number> {
    return new Map([...this.#cells].map(([place, { count }]) => [place, count]));
  }
}

export class Statistics {
  readonly #reasons = new Uint32Array(REASONS);
  readonly #names: (string | undefined)[] = [];
  readonly #ports = new Counts();
  readonly #pages = new Counts();
  unclaimed = 0;
  conversions = 0;
  convertedBytes = 0;

  count(exit: Exit): void {
    const index = exit.reason < REASONS ? exit.reason : 0;
    this.#reasons[index] = (this.#reasons[index] ?? 0) + 1;
    this.#names[index] = exit.name;
  }

  port(port: number): void {
    this.#ports.add(port);
  }

  page(gpa: number): void {
    this.#pages.add(Math.floor(gpa / PAGE) * PAGE);
  }

  snapshot(): ExitStatistics {
    const byReason: Record<string, number> = {};
    let total = 0;
    this.#reasons.forEach((count, reason) => {
      if (count === 0) return;
      total += count;
      byReason[this.#names[reason] ?? `exit ${reason}`] = count;
    });
    const { unclaimed, conversions, convertedBytes } = this;
    return {
      ...{ total, byReason, unclaimed, conversions, convertedBytes },
      byPort: this.#ports.all(),
      byPage: this.#pages.all(),
    };
  }
}
