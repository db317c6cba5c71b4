/** Random commands for KVM: mostly of use, often at the edge, sometimes absurd. Never a request that only one of the kernels has. */
import * as uapi from '../../lib/uapi/index.ts';
import { BY_ADDRESS, CALLS, CAPS, FLEXIBLE, ON, PLAIN, STRANGE_CAPS, STRUCTS, UNKNOWN } from './kvm-choices.ts';
import type { KvmCommand, RegionCommand } from './kvm-commands.ts';
import { bindTwice, clearByHand, convert, logTwice } from './kvm-sequences.ts';
import { BACKING_PAGES, FILES, PAGE } from './kvm-world.ts';
import type { Random } from './random.ts';

const P = BigInt(PAGE);
const GFNS = 16;
const SLOT_IDS = 6;
const ABSURD = [1n, P - 1n, 2n ** 63n, 2n ** 64n - P, 2n ** 64n - 1n, 2n ** 52n, 2n ** 52n - P, 2n ** 43n, 2n ** 47n];
const FLAGS = [0, 0, 0, 0, 1, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5, 6, 7, 8, 1 << 16, 1 << 17, 0x8000_0000];
/** More than anybody lists, or too few; the first limit of KVM_GET_SUPPORTED_CPUID is 256. */
const ROOMS = [0, 1, 3, 256, 257, 1000];
const SLOT_NUMBERS = [32763, 32764, 32767, 0xffff, 0x1_0000, 0x2_0000, 0xffff_ffff];

export interface KvmTraits {
  /** Guests run on a processor; where KVM emulates them all, hypercalls never end. */
  readonly hardware: boolean;
  /** Of the first VM. */
  readonly type: number;
}

export class KvmGenerator {
  readonly #random: Random;
  readonly #hardware: boolean;
  /** The first VM has private memory. */
  readonly #private: boolean;

  /** Commands of a sequence that chance alone would seldom make. */
  readonly #queue: KvmCommand[] = [];
  readonly #last = new Map<number, RegionCommand>();

  constructor(random: Random, { hardware, type }: KvmTraits) {
    this.#random = random;
    this.#hardware = hardware;
    this.#private = type !== 0;
  }

  /** Pages as bytes, now and then nonsense. */
  #bytes(pages: number): bigint {
    const random = this.#random;
    if (random.once(30)) return random.pick(ABSURD);
    return BigInt(random.below(pages + 1)) * P;
  }

  #vm(): number {
    return this.#random.once(8) ? 1 : 0;
  }

  next(): KvmCommand {
    const random = this.#random;
    const queued = this.#queue.shift();
    if (queued !== undefined) return queued;
    if (random.once(25)) this.#queue.push(...this.#together());
    if (this.#private && random.once(8)) return random.once(4) ? this.#preFault() : this.#attributes();
    const dice = random.below(100);
    if (dice < 28) return this.#region();
    if (dice < 36) return this.#file();
    if (dice < 46) return this.#request();
    if (dice < 60) return this.#host();
    if (dice < 62) return this.#attributes();
    if (dice < 68) return this.#dirtyLog();
    return this.#guest();
  }

  #together(): KvmCommand[] {
    const random = this.#random;
    if (this.#private && random.once(2)) return convert(random);
    const make = random.pick([bindTwice, bindTwice, (from: Random) => logTwice(from, GFNS), clearByHand]);
    return make(random);
  }

  /** Mostly of a slot that keeps one. */
  #dirtyLog(): KvmCommand {
    const random = this.#random;
    const logged = [...this.#last.values()].filter(({ flags }) => (flags & 1) !== 0);
    const last = logged[random.below(logged.length + 1)];
    const at = { vm: last?.vm ?? this.#vm(), slot: last?.slot ?? this.#slot() };
    if (!random.once(3)) return { do: 'dirtyLog', ...at };
    const size = Number(BigInt.asUintN(20, (last?.size ?? 0n) / P));
    const pages = random.once(4) ? random.pick([0, 1, 63, 64, 65, 2 ** 31, 2 ** 32 - 1]) : size;
    const first = random.once(8) ? random.pick([1n, 63n, 64n, 128n, ...ABSURD]) : 0n;
    return { do: 'clearLog', ...at, first, pages, bits: (BigInt(random.next()) << 32n) | BigInt(random.next()) };
  }

  /** A page of a slot, or anywhere. */
  #guestPage(): number {
    const random = this.#random;
    const last = random.once(2) ? this.#last.get(random.below(SLOT_IDS)) : undefined;
    const pages = last === undefined ? 0 : Number(last.size / P);
    const first = last === undefined ? 0 : Number(last.gpa / P);
    if (pages < 1 || pages > GFNS || first > GFNS) return random.below(GFNS + 4);
    return first + random.below(pages);
  }

  #slot(): number {
    const random = this.#random;
    return random.once(20) ? random.pick(SLOT_NUMBERS) : random.below(SLOT_IDS);
  }

  /** A request for a slot, or the last one for it with something changed: a move, other flags, a refused change. */
  #region(): KvmCommand {
    const random = this.#random;
    const last = random.once(3) ? this.#last.get(random.below(SLOT_IDS)) : undefined;
    const fresh = this.#newRegion();
    let chosen: RegionCommand = fresh;
    if (last !== undefined) {
      const { gpa, flags, size, hva, v2 } = fresh;
      chosen = { ...last, ...random.pick([{ gpa }, { gpa }, { gpa }, { flags }, { size }, { hva }, { v2 }, {}]) };
    }
    if (chosen.size !== 0n && chosen.slot < SLOT_IDS) this.#last.set(chosen.slot, chosen);
    return chosen;
  }

  #newRegion(): RegionCommand {
    const random = this.#random;
    const remove = random.once(5);
    const absolute = random.once(15);
    const hva = absolute ? random.pick([0n, ...ABSURD, 2n ** 47n - 2n * P]) : BigInt(random.below(BACKING_PAGES)) * P;
    return {
      do: 'region',
      vm: this.#vm(),
      v2: !random.once(3),
      slot: this.#slot(),
      flags: random.pick(FLAGS),
      gpa: this.#bytes(GFNS),
      size: remove ? 0n : random.once(30) ? random.pick(ABSURD) : BigInt(1 + random.below(5)) * P,
      hva: random.once(40) ? hva + 1n : hva,
      absolute,
      file: random.once(8) ? random.pick(['memfd', 'closed', 'vm', -1] as const) : random.below(FILES),
      offset: this.#bytes(8),
    };
  }

  #file(): KvmCommand {
    const random = this.#random;
    const file = random.below(FILES);
    switch (random.below(8)) {
      case 0:
      case 1:
      case 2: {
        const size = random.once(8) ? random.pick([0n, ...ABSURD]) : BigInt(1 + random.below(8)) * P;
        const flags = random.once(12) ? random.pick([4n, 8n, 2n ** 32n, 2n ** 63n]) : BigInt(random.below(4));
        return { do: 'gmem', vm: this.#vm(), file, size, flags };
      }
      case 3:
        return { do: 'closeFile', file };
      case 4:
        return { do: 'dupFile', file, to: random.below(FILES) };
      default:
        // Not so much that the host would run out of memory.
        return {
          do: 'fallocate',
          file,
          punch: !random.once(3),
          offset: BigInt(random.below(9)) * P,
          length: BigInt(random.below(9)) * P + (random.once(20) ? 1n : 0n),
        };
    }
  }

  #enquiry(): KvmCommand {
    const random = this.#random;
    const on = random.once(6) ? random.pick(ON) : random.once(4) ? 'vcpu' : 'kvm';
    const to = random.pick(['buffer', 'buffer', 'guard', 'edge'] as const);
    const index = this.#vm();
    if (random.once(2)) {
      return { do: 'list', on, index, of: random.pick(['cpuid', 'msrs'] as const), room: random.pick(ROOMS), to };
    }
    const group = random.pick([0, 0, 1, 2, 0xffff_ffff]);
    const attr = random.pick([0n, 0n, 0n, 1n, 2n, 2n ** 32n, 2n ** 63n]);
    const call = random.pick(['has', 'get', 'set'] as const);
    return { do: 'deviceAttr', on, index, call, group, attr, to };
  }

  #request(): KvmCommand {
    const random = this.#random;
    if (random.once(6)) return this.#enquiry();
    const on = random.pick(ON);
    const index = on === 'gmem' ? random.below(FILES) : this.#vm();
    if (random.once(4)) {
      const call = random.pick(CALLS);
      // The memory file stays as it is.
      if (on === 'memfd' && (call === 'ftruncate' || call === 'addSeals')) return this.#request();
      return { do: 'call', on, index, call, value: random.below(64) };
    }
    switch (random.below(10)) {
      case 0: {
        const arg = random.once(2)
          ? 0n
          : random.pick([...ABSURD, 0xffff_d000n, 0xffff_d000n, 0xffff_d000n, 0xffff_d001n, 0x1000n]);
        return { do: 'ioctl', on, index, request: random.pick(PLAIN), arg };
      }
      case 1:
        return { do: 'ioctl', on, index, request: random.pick(UNKNOWN), arg: 0n };
      case 2:
      case 3:
        return { do: 'struct', on, index, request: random.pick(STRUCTS) };
      case 4: {
        // What /dev/kvm lists is the processor's own.
        const requests = on === 'kvm' ? BY_ADDRESS : [...BY_ADDRESS, ...FLEXIBLE];
        const page = random.once(8) ? BACKING_PAGES : random.below(BACKING_PAGES - 1);
        const at = page * PAGE + random.pick([0, 8, PAGE - 8]);
        return { do: 'address', on, index, request: random.pick(requests), at };
      }
      case 5: {
        const arg = BigInt(random.once(5) ? random.pick(STRANGE_CAPS) : random.pick(CAPS));
        return { do: 'ioctl', on: random.pick(['kvm', 'vm']), index, request: uapi.KVM_CHECK_EXTENSION.request, arg };
      }
      case 6: {
        if (random.once(2)) {
          const bits = random.pick([0n, 0n, 1n, 1n, 3n, 3n, 2n, 4n, 5n, 2n ** 32n]);
          return { do: 'enableCap', vm: this.#vm(), cap: 168, flags: random.once(8) ? 1 : 0, arg: bits };
        }
        const arg = random.once(4) ? random.pick([0n, 1n, 2n ** 63n]) : 4096n;
        return { do: 'enableCap', vm: this.#vm(), cap: 201, flags: random.once(6) ? 1 : 0, arg };
      }
      case 7: {
        const id = random.once(2) ? BigInt(random.below(5)) : random.pick([4095n, 4096n, ...ABSURD]);
        return { do: 'createVcpu', vm: this.#vm(), id };
      }
      case 8:
        return { do: 'mpState', state: random.once(2) ? 0 : random.pick([1, 2, 3, 4, 5, 9, 10, 0xffff_ffff]) };
      default: {
        // Types that the kernel has not; 0 would leave a VM that nobody closes.
        const type = random.pick([1n, 6n, 31n, 32n, 33n, 2n ** 32n, ...ABSURD]);
        if (!random.once(4))
          return { do: 'ioctl', on: 'kvm', index: 0, request: uapi.KVM_CREATE_VM.request, arg: type };
        return random.once(4) ? { do: 'closeVm', vm: random.below(2) } : this.#attributes();
      }
    }
  }

  #attributes(): KvmCommand {
    const random = this.#random;
    return {
      do: 'attributes',
      vm: this.#vm(),
      address: this.#bytes(GFNS),
      size: this.#bytes(6),
      attributes: random.once(6) ? random.pick([1n, 9n, 2n ** 63n]) : random.pick([0n, 8n, 8n]),
      flags: random.once(10) ? 1n : 0n,
    };
  }

  #preFault(): KvmCommand {
    const random = this.#random;
    const gpa = random.once(12) ? this.#bytes(GFNS) : BigInt(this.#guestPage()) * P;
    const size = random.once(12)
      ? random.pick([0n, ...ABSURD.filter((one) => one !== 2n ** 52n)])
      : BigInt(1 + random.below(4)) * P;
    return { do: 'preFault', gpa, size, flags: random.once(20) ? 1n : 0n };
  }

  #host(): KvmCommand {
    const random = this.#random;
    const page = random.below(BACKING_PAGES);
    const pages = 1 + random.below(Math.min(4, BACKING_PAGES - page));
    switch (random.below(9)) {
      case 0:
        return { do: 'hostProtect', page, pages, prot: random.pick([0, 1, 3, 3]) };
      case 1:
        return { do: 'hostUnmap', page, pages };
      case 2:
      case 3:
      case 4: {
        const file = random.once(3) ? -1 : random.once(3) ? 'memfd' : random.below(FILES);
        return { do: 'hostMap', page, pages, file };
      }
      case 5:
        return { do: 'hostDrop', page, pages };
      default:
        return { do: 'hostFill', page, pages, byte: random.below(256) };
    }
  }

  #guest(): KvmCommand {
    const random = this.#random;
    const access = random.pick([
      ...(['read', 'read', 'read', 'write', 'write', 'write', 'write', 'add'] as const),
      ...(['in', 'out', 'undefined'] as const),
      ...(this.#hardware ? (['hypercall', 'hypercall'] as const) : []),
    ]);
    const inPage = random.once(6) ? PAGE - 1 - random.below(4) : random.below(64) * 4;
    const gpa = this.#guestPage() * PAGE + (access === 'hypercall' && !random.once(4) ? 0 : inPage);
    return {
      do: 'guest',
      access,
      gpa,
      // Of a hypercall: so many pages.
      size: random.pick([1, 2, 4, 4] as const),
      // In half of the cases the number of KVM_HC_MAP_GPA_RANGE when it is one.
      value: access === 'hypercall' && !random.once(3) ? 12 + random.pick([0, 0x10, 0x300, 0x310]) : random.next(),
      answer: random.next() & 0x7fff_ffff,
      pause: random.once(6),
      serve: random.once(2),
    };
  }
}
