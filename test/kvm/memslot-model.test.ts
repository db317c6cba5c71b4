/** Random sequences of requests on memslots, compared with a model of the kernel's checks in their order. */
import fc from 'fast-check';
import { afterAll, expect, it } from 'vitest';
import { Mapping } from '../../lib/memory/mapping.ts';
import { KVM_CAP, KVM_MEM } from '../../lib/uapi/index.ts';
import { describeKvm, isAtLeast, SHARED_GMEM } from '../support/kvm.ts';

const PAGE = 4096;
const FILE_PAGES = 6;
const { KVM_MEM_LOG_DIRTY_PAGES: DIRTY, KVM_MEM_READONLY: READONLY, KVM_MEM_GUEST_MEMFD: GMEM } = KVM_MEM.value;

interface Step {
  readonly v1: boolean;
  readonly slot: number;
  readonly flags: number;
  /** All in pages; a half is unaligned. */
  readonly gpa: number;
  readonly size: number;
  readonly hva: number;
  readonly offset: number;
  /** Which file: two of this VM, one of another VM, something else, nothing. */
  readonly file: 'a' | 'b' | 'foreign' | 'memfd' | 'closed';
}

interface Slot {
  readonly gpa: number;
  readonly size: number;
  readonly hva: number;
  readonly flags: number;
  readonly file: Step['file'] | undefined;
  readonly offset: number;
}

const whole = (pages: number): boolean => Number.isInteger(pages);
const overlap = (a: number, aSize: number, b: number, bSize: number): boolean => a < b + bSize && b < a + aSize;

/** The verdict that the rules give, and the slots afterwards. */
class Model {
  readonly slots = new Map<number, Slot>();
  readonly #readOnly: boolean;
  readonly #clash: string;

  constructor(readOnly: boolean, clash: string) {
    this.#readOnly = readOnly;
    this.#clash = clash;
  }

  #allowed(flags: number): boolean {
    const gmem = (flags & GMEM) !== 0;
    const known = GMEM | (gmem ? 0 : DIRTY) | (gmem || !this.#readOnly ? 0 : READONLY);
    return (flags & ~known) === 0;
  }

  apply(step: Step): string {
    const { slot, flags, gpa, size, hva, offset, v1 } = step;
    const gmem = (flags & GMEM) !== 0;
    if (v1 && (flags & ~(DIRTY | READONLY)) !== 0) return 'EINVAL';
    if (!this.#allowed(flags)) return 'EINVAL';
    if (!whole(size) || !whole(gpa) || !whole(hva) || (gmem && !whole(offset))) return 'EINVAL';
    const old = this.slots.get(slot);
    if (size === 0) return this.slots.delete(slot) ? 'ok' : 'EINVAL';
    if (old !== undefined) {
      if (gmem || old.file !== undefined) return 'EINVAL';
      if (old.hva !== hva || old.size !== size || ((old.flags ^ flags) & READONLY) !== 0) return 'EINVAL';
      if (old.gpa === gpa) {
        this.slots.set(slot, { ...old, flags });
        return 'ok';
      }
    }
    for (const [id, other] of this.slots) {
      if (id !== slot && overlap(gpa, size, other.gpa, other.size)) return 'EEXIST';
    }
    if (gmem) {
      if (step.file === 'closed') return 'EBADF';
      if (step.file === 'memfd' || step.file === 'foreign' || offset + size > FILE_PAGES) return 'EINVAL';
      for (const other of this.slots.values()) {
        if (other.file === step.file && overlap(offset, size, other.offset, other.size)) return this.#clash;
      }
    }
    this.slots.set(slot, { gpa, size, hva, flags, file: gmem ? step.file : undefined, offset });
    return 'ok';
  }
}

const pages = (most: number) =>
  fc.oneof({ weight: 12, arbitrary: fc.integer({ min: 0, max: most }) }, { weight: 1, arbitrary: fc.constant(0.5) });
const step: fc.Arbitrary<Step> = fc.record({
  v1: fc.boolean(),
  slot: fc.integer({ min: 0, max: 3 }),
  flags: fc.oneof(
    { weight: 4, arbitrary: fc.constant(0) },
    { weight: 4, arbitrary: fc.constant(GMEM) },
    { weight: 2, arbitrary: fc.constantFrom(DIRTY, READONLY, DIRTY | READONLY) },
    { weight: 1, arbitrary: fc.constantFrom(GMEM | DIRTY, GMEM | READONLY, 8, 1 << 16) },
  ),
  gpa: pages(8),
  size: pages(3),
  hva: fc.oneof({ weight: 12, arbitrary: fc.constantFrom(0, 4) }, { weight: 1, arbitrary: fc.constant(0.5) }),
  offset: pages(6),
  file: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom<Step['file'][]>('a', 'b') },
    { weight: 1, arbitrary: fc.constantFrom<Step['file'][]>('foreign', 'memfd', 'closed') },
  ),
});

describeKvm(
  'memslots against a model',
  ({ sys, kvm }) => {
    const vm = kvm.createVm();
    const other = kvm.createVm();
    const backing = Mapping.anonymous(sys, 16 * PAGE);
    const memfd = sys.memfdCreate('model', 0);
    const files = {
      a: vm.createGuestMemfd(FILE_PAGES * PAGE, { mmap: true, initShared: true }).fd,
      b: vm.createGuestMemfd(FILE_PAGES * PAGE).fd,
      foreign: other.createGuestMemfd(FILE_PAGES * PAGE).fd,
      memfd,
      closed: 999_999,
    };
    const readOnly = vm.checkExtension(KVM_CAP.value.KVM_CAP_READONLY_MEM) !== 0;
    // The errno of a range of a file that is bound already changed with Linux 7.2.
    const clash = isAtLeast(sys.kernel.release, [7, 2]) ? 'EEXIST' : 'EINVAL';
    afterAll(() => {
      vm.close();
      other.close();
      backing.close();
      sys.close(memfd);
    });

    const ask = (request: Step): string => {
      const region = {
        slot: request.slot,
        flags: request.flags,
        guest_phys_addr: request.gpa * PAGE,
        memory_size: request.size * PAGE,
        userspace_addr: backing.hva + request.hva * PAGE,
      };
      const result = request.v1
        ? vm.raw.setUserMemoryRegion(region)
        : vm.raw.setUserMemoryRegion2({
            ...region,
            guest_memfd: files[request.file],
            guest_memfd_offset: request.offset * PAGE,
          });
      return result.ok ? 'ok' : result.code;
    };

    it('agree on every verdict', () => {
      const seen = new Map<string, number>();
      fc.assert(
        fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), (steps) => {
          const model = new Model(readOnly, clash);
          try {
            for (const request of steps) {
              const expected = model.apply(request);
              const actual = ask(request);
              seen.set(actual, (seen.get(actual) ?? 0) + 1);
              expect(`${JSON.stringify(request)}: ${actual}`).toBe(`${JSON.stringify(request)}: ${expected}`);
            }
          } finally {
            for (const slot of [0, 1, 2, 3]) void vm.raw.setUserMemoryRegion({ slot });
          }
        }),
        { numRuns: 600 },
      );
      // A model that agrees on refusals only would say little.
      for (const code of ['ok', 'EINVAL', 'EEXIST', 'EBADF'])
        expect([code, (seen.get(code) ?? 0) > 5]).toEqual([code, true]);
    });
  },
  SHARED_GMEM,
);
