/** One kernel with a vCPU and memory of its own, and what comes of commands on it. */
import { Buffer } from 'node:buffer';
import type { Mode } from '../../lib/guest/x64/operands.ts';
import type { Kernel } from '../../lib/kernel/kernel.ts';
import {
  KVM_CREATE_VCPU,
  KVM_EXIT,
  KVM_GET_CPUID2,
  KVM_GET_MSRS,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_RUN_EXIT_OFFSET,
  KVM_SET_CPUID2,
  KVM_SET_MSRS,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_USER_MEMORY_REGION,
  kvm_cpuid_entry2,
  kvm_cpuid2,
  kvm_msr_entry,
  kvm_msrs,
  kvm_regs,
  kvm_sregs,
  kvm_userspace_memory_region,
} from '../../lib/uapi/index.ts';
import type { CpuCommand, Leaf } from './cpu-commands.ts';
import { CODE, DATA, DATA_BYTES, DESCRIPTORS, MEMORY, STACK, STACK_BYTES } from './cpu-places.ts';
import { memoryOf, sregsOf } from './cpu-tables.ts';
import { must } from './kvm-world.ts';
import { digest, errnoOrValue } from './outcome.ts';
import { vmOf } from './pair.ts';

const RUN_BYTES = 12288;
const PIO = 4096;
const MOST_EXITS = 48;
/** Only for code that never ends: a busy machine must not look like it. */
const LIMIT_MS = 20_000;
const IOCTL_LENGTH_CHECKED = 2;
const REASON = KVM_EXIT.value;
const HLT = 0xf4;
const STATUS_FLAGS = 0x8d5n;
/** Where KVM_RUN left something to be done: it is, before the next command. */
const UNFINISHED: ReadonlySet<number> = new Set([REASON.KVM_EXIT_IO, REASON.KVM_EXIT_MMIO]);

type Sregs = ReturnType<typeof kvm_sregs.decode>;

export class CpuWorld {
  readonly #kernel: Kernel;
  readonly #kvm: number;
  readonly #vm: number;
  readonly #vcpu: number;
  readonly #memory: number;
  readonly #runPage: number;
  readonly #handle: number;
  readonly #run: DataView;
  readonly #fresh: Sregs;
  #mode: Mode = 64;
  #tables = false;
  #flags = 0n;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    const made = vmOf(kernel);
    if (typeof made === 'string') throw new Error(made);
    this.#kvm = made.kvm;
    this.#vm = made.vm;
    this.#memory = must(kernel.mmap(0, MEMORY, 3, 0x21, -1, 0), 'mmap');
    const region = kvm_userspace_memory_region.encode({ memory_size: MEMORY, userspace_addr: this.#memory });
    must(kernel.ioctl(this.#vm, KVM_SET_USER_MEMORY_REGION.request, region), 'the slot');
    this.#vcpu = must(kernel.ioctl(this.#vm, KVM_CREATE_VCPU.request, 0, 1), 'KVM_CREATE_VCPU');
    this.#runPage = must(kernel.mmap(0, RUN_BYTES, 3, 1, this.#vcpu, 0), 'mmap of the vCPU');
    this.#handle = must(kernel.vcpuAttach(this.#vcpu, this.#runPage), 'vcpuAttach');
    const view = kernel.view(this.#runPage, RUN_BYTES);
    if (typeof view === 'number') throw new Error(`no view: errno ${-view}`);
    this.#run = new DataView(view);
    this.#fresh = this.#sregs();
    this.#start();
  }

  #sregs(): Sregs {
    const bytes = kvm_sregs.encode();
    must(this.#kernel.ioctl(this.#vcpu, KVM_GET_SREGS.request, bytes), 'KVM_GET_SREGS');
    return kvm_sregs.decode(bytes);
  }

  #setSregs(sregs: object): number {
    return this.#kernel.ioctl(this.#vcpu, KVM_SET_SREGS.request, kvm_sregs.encode({ ...this.#fresh, ...sregs }));
  }

  #write(at: number, bytes: ArrayLike<number>): void {
    this.#kernel.copyIn(this.#memory + at, Uint8Array.from(bytes));
  }

  #start(): void {
    this.#kernel.fill(this.#memory, STACK + 0x1000, 0);
    for (const [at, bytes] of memoryOf(this.#mode)) this.#write(at, bytes);
    this.#write(
      DATA,
      Uint8Array.from({ length: DATA_BYTES }, (_, i) => (i * 37 + (i >> 4) * 11) & 0xff),
    );
    must(this.#setSregs(sregsOf(this.#mode, this.#tables)), 'KVM_SET_SREGS');
    this.#setRegs({});
  }

  #regs(): Record<string, bigint> {
    const bytes = kvm_regs.encode();
    must(this.#kernel.ioctl(this.#vcpu, KVM_GET_REGS.request, bytes), 'KVM_GET_REGS');
    return { ...kvm_regs.decode(bytes) };
  }

  #setRegs(values: Readonly<Record<string, bigint>>): void {
    must(
      this.#kernel.ioctl(this.#vcpu, KVM_SET_REGS.request, kvm_regs.encode({ rflags: 2n, ...values })),
      'KVM_SET_REGS',
    );
  }

  /** What came of the command, then everything that can be seen. */
  step(c: CpuCommand): string[] {
    switch (c.do) {
      case 'start':
        this.#mode = c.mode;
        this.#tables = c.tables;
        this.#start();
        return ['started'];
      case 'registers':
        this.#flags = (c.values.rflags ?? 0n) & STATUS_FLAGS;
        this.#setRegs({ ...c.values, rflags: this.#flags | 2n });
        return ['set'];
      case 'code':
        return this.#execute(c);
      case 'sregs':
        return this.#changeSregs(c.field, c.value);
      case 'cpuid':
        return [this.#cpuid(c.leaves, c.room)];
      case 'msr':
        return [this.#msr(c.index, c.value)];
    }
  }

  #changeSregs(field: string, value: bigint): string[] {
    const seen = [errnoOrValue(this.#setSregs(this.#changed(field, value))), ...this.#systemTexts()];
    if (!this.#isInMode()) this.#start();
    return seen;
  }

  #changed(field: string, value: bigint): object {
    const [name = '', part] = field.split('.');
    const sregs = this.#sregs();
    const old: unknown = Reflect.get(sregs, name);
    if (part === undefined) return { ...sregs, [name]: value };
    const inner = Reflect.get(Object(old), part);
    return { ...sregs, [name]: { ...Object(old), [part]: typeof inner === 'bigint' ? value : Number(value) } };
  }

  #cpuid(leaves: readonly Leaf[], room: number): string {
    const bytes = (count: number): Uint8Array => new Uint8Array(kvm_cpuid2.size + count * kvm_cpuid_entry2.size);
    const given = bytes(leaves.length);
    given.set(kvm_cpuid2.encode({ nent: leaves.length }));
    for (const [i, leaf] of leaves.entries()) {
      given.set(kvm_cpuid_entry2.encode(leaf), kvm_cpuid2.size + i * kvm_cpuid_entry2.size);
    }
    const set = this.#kernel.ioctl(this.#vcpu, KVM_SET_CPUID2.request, given, IOCTL_LENGTH_CHECKED);
    const asked = bytes(Math.max(0, leaves.length + room));
    asked.set(kvm_cpuid2.encode({ nent: Math.max(0, leaves.length + room) }));
    const got = this.#kernel.ioctl(this.#vcpu, KVM_GET_CPUID2.request, asked, IOCTL_LENGTH_CHECKED);
    return `set ${errnoOrValue(set)} got ${errnoOrValue(got)} ${Buffer.from(asked).toString('hex')}`;
  }

  #msr(index: number, value: bigint | undefined): string {
    const ask = (request: number, data: bigint): { readonly result: number; readonly data: bigint } => {
      const bytes = new Uint8Array(kvm_msrs.size + kvm_msr_entry.size);
      bytes.set(kvm_msrs.encode({ nmsrs: 1 }));
      bytes.set(kvm_msr_entry.encode({ index, data }), kvm_msrs.size);
      const result = this.#kernel.ioctl(this.#vcpu, request, bytes, IOCTL_LENGTH_CHECKED);
      return { result, data: kvm_msr_entry.decode(bytes, kvm_msrs.size).data };
    };
    const set = value === undefined ? '' : `set ${errnoOrValue(ask(KVM_SET_MSRS.request, value).result)} `;
    const got = ask(KVM_GET_MSRS.request, 0n);
    return `${set}${errnoOrValue(got.result)} ${got.data.toString(16)}`;
  }

  #execute({ mode, bytes, hides, answer }: CpuCommand & { do: 'code' }): string[] {
    if (mode !== this.#mode) {
      this.#mode = mode;
      this.#start();
    }
    this.#write(CODE, [...Buffer.from(bytes, 'hex'), HLT, HLT]);
    const before = this.#regs();
    const { base } = this.#sregs().cs;
    this.#setRegs({ ...before, rip: BigInt(CODE), rsp: BigInt(STACK), rflags: this.#flags | 2n });
    const exits: string[] = [];
    let reason = 0;
    for (let i = 0; i < MOST_EXITS; i++) {
      const result = this.#kernel.vcpuRun(this.#handle, LIMIT_MS);
      reason = this.#run.getUint32(8, true);
      exits.push(`${errnoOrValue(result)} ${this.#exit(reason, answer)}`);
      if (result !== 0 || !UNFINISHED.has(reason)) break;
    }
    const regs = this.#regs();
    const hidden = BigInt(hides);
    this.#flags = (regs.rflags ?? 0n) & STATUS_FLAGS & ~hidden;
    const texts = Object.entries(regs).map(
      ([name, value]) => `${name} ${(name === 'rflags' ? value & ~hidden : value).toString(16)}`,
    );
    const seen = [exits.join('; '), ...texts, ...this.#systemTexts(), ...this.#memoryTexts()];
    // In another segment the next code would not be found.
    const moved = this.#sregs().cs.base !== base;
    if (reason !== REASON.KVM_EXIT_HLT || moved || !this.#isInMode()) this.#recover(UNFINISHED.has(reason));
    return seen;
  }

  /** Code may have switched the mode, which decides what the next bytes mean. */
  #isInMode(): boolean {
    const { cr0, cs, efer } = this.#sregs();
    const isProtected = (cr0 & 1n) !== 0n;
    const isLong = (efer & 0x400n) !== 0n && cs.l === 1;
    return this.#mode === (isLong ? 64 : cs.db === 1 ? 32 : 16) && isProtected === (this.#mode !== 16);
  }

  /** After anything but a halt the state is nothing to go on with. */
  #recover(unfinished: boolean): void {
    if (unfinished) {
      this.#run.setUint8(1, 1);
      for (let i = 0; i < MOST_EXITS && this.#kernel.vcpuRun(this.#handle, LIMIT_MS) === 0; i++);
      this.#run.setUint8(1, 0);
    }
    this.#flags = 0n;
    this.#start();
  }

  /** The exit in words; a read is answered. */
  #exit(reason: number, answer: bigint): string {
    const run = this.#run;
    const at = KVM_RUN_EXIT_OFFSET;
    const little = (offset: number, length: number): string =>
      Buffer.from(run.buffer, run.byteOffset + offset, length).toString('hex');
    switch (reason) {
      case REASON.KVM_EXIT_IO: {
        const isOut = run.getUint8(at) === 1;
        const length = run.getUint8(at + 1) * run.getUint32(at + 4, true);
        if (!isOut)
          for (let i = 0; i < length; i++) run.setUint8(PIO + i, Number((answer >> BigInt(8 * (i % 8))) & 255n));
        return `io ${little(at, 8)} ${isOut ? little(PIO, length) : 'read'}`;
      }
      case REASON.KVM_EXIT_MMIO: {
        const isWrite = run.getUint8(at + 20) === 1;
        const length = run.getUint32(at + 16, true);
        if (!isWrite) run.setBigUint64(at + 8, answer, true);
        return `mmio ${little(at, 8)} ${length} ${isWrite ? little(at + 8, length) : 'read'}`;
      }
      case REASON.KVM_EXIT_INTERNAL_ERROR:
        return `internal error ${run.getUint32(at, true)}`;
      default:
        return `reason ${reason}`;
    }
  }

  #systemTexts(): string[] {
    return Object.entries(this.#sregs()).flatMap(([name, value]: [string, unknown]) => {
      if (typeof value !== 'object' || value === null) return [`${name} ${BigInt(value as bigint).toString(16)}`];
      return [`${name} ${Object.entries(value).map(([key, inner]) => `${key}=${inner}`)}`];
    });
  }

  #memoryTexts(): string[] {
    const look = (name: string, at: number, length: number): string => {
      const bytes = new Uint8Array(length);
      this.#kernel.copyOut(this.#memory + at, bytes);
      return `${name} ${digest(bytes)}`;
    };
    return [
      ...Array.from({ length: DATA_BYTES / 256 }, (_, i) => look(`data+${256 * i}`, DATA + 256 * i, 256)),
      look('descriptors', DESCRIPTORS, 128),
      look('stack', STACK - STACK_BYTES, 2 * STACK_BYTES),
    ];
  }

  end(): void {
    const kernel = this.#kernel;
    kernel.vcpuDetach(this.#handle);
    kernel.munmap(this.#runPage, RUN_BYTES);
    kernel.munmap(this.#memory, MEMORY);
    for (const fd of [this.#vcpu, this.#vm, this.#kvm]) kernel.close(fd);
  }
}
