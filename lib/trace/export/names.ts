/** The variables of a reproducer: one for each descriptor, mapping and vCPU that the recording made. */
import { Intervals } from '../intervals.ts';
import { literal } from './c-text.ts';

const USER_END = 2 ** 47;
const PAGE = 4096;

/** EBADF, as for one that is closed: no process has that many. */
const NOT_OPEN = '0x40000000';

export class Names {
  readonly #counts = new Map<string, number>();
  readonly #fds = new Map<number, string>();
  readonly #vcpus = new Map<number, string>();
  readonly #vcpuFds = new Map<string, string>();
  readonly #ranges = new Intervals<string>();
  /** Declarations of all of them. */
  readonly declarations: string[] = [];

  #fresh(stem: string, declare: (name: string) => string): string {
    const count = (this.#counts.get(stem) ?? 0) + 1;
    this.#counts.set(stem, count);
    const name = `${stem}${count}`;
    this.declarations.push(declare(name));
    return name;
  }

  newFd(fd: number, kind: string | undefined): string {
    const stem = (kind ?? 'fd').replace(/\W/g, '_');
    const name = this.#fresh(stem === 'file' ? 'fd' : stem, (fresh) => `static int ${fresh} = -1;`);
    this.#fds.set(fd, name);
    return name;
  }

  fd(fd: number): string {
    return fd < 0 ? String(fd) : (this.#fds.get(fd) ?? NOT_OPEN);
  }

  closeFd(fd: number): void {
    this.#fds.delete(fd);
  }

  /** `fd` is the variable of its descriptor. */
  newVcpu(handle: number, fd: string): string {
    const name = this.#fresh('run', (fresh) => `static struct vcpu ${fresh};`);
    this.#vcpus.set(handle, name);
    this.#vcpuFds.set(name, fd);
    return name;
  }

  vcpuFd(name: string): string {
    return this.#vcpuFds.get(name) ?? name;
  }

  vcpu(handle: number): string | undefined {
    return this.#vcpus.get(handle);
  }

  newRange(address: number, length: number): string {
    const name = this.#fresh('map', (fresh) => `static char *${fresh};`);
    if (length > 0 && address + length <= USER_END) {
      this.#ranges.set(address, Math.ceil((address + length) / PAGE) * PAGE, name);
    }
    return name;
  }

  /** An expression of type char *. Memory that is unmapped keeps its name. */
  hva(address: number | bigint): string {
    if (BigInt(address) === 0n) return 'NULL';
    const found = BigInt(address) < BigInt(USER_END) ? this.#ranges.at(Number(address)) : undefined;
    if (found === undefined) return `(char *)${literal(BigInt(address))}`;
    const offset = Number(address) - found.origin;
    return offset === 0 ? found.value : `${found.value} + ${literal(offset)}`;
  }

  /** The same as a number of 64 bits. */
  address(address: number | bigint): string {
    const text = this.hva(address);
    return text === 'NULL' ? '0' : text.startsWith('(char *)') ? literal(BigInt(address)) : `(uintptr_t)(${text})`;
  }
}
