/**
 * One kernel with two vCPUs that run beside the program. A run that is bound to end is waited for before the next command, so that what is
 * under way between two commands waits for a flag: then there is one outcome only, on a thread as on an event loop.
 */
import { Assembler } from '../../lib/guest/x64/assembler.ts';
import { protectedMode } from '../../lib/guest/x64/modes.ts';
import type { Kernel } from '../../lib/kernel/kernel.ts';
import {
  KVM_CREATE_VCPU,
  KVM_EXIT,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_RUN_EXIT_OFFSET,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_USER_MEMORY_REGION,
  kvm_regs,
  kvm_sregs,
  kvm_userspace_memory_region,
} from '../../lib/uapi/index.ts';
import type { BesideCommand, Program, VcpuIndex } from './beside-commands.ts';
import { must } from './kvm-world.ts';
import { errnoOrValue } from './outcome.ts';
import { vmOf } from './pair.ts';

const RUN_BYTES = 12288;
const PAGE = 4096;
const MEMORY = 4 * PAGE;
const CODE = 0x1000;
const FLAGS = 0x3000;
const PORT = 0x80;
const PIO = 4096;
/** Of a guest that waits for what nobody does. */
const SHORT_MS = 10;
/** Only for what never ends: a busy machine must not look like it. */
const LONG_MS = 20_000;
/** Times around: long enough that the other one has begun to wait. */
const LATER = 5000;
const REASON = KVM_EXIT.value;
const EINTR = 4;

interface Guest {
  readonly fd: number;
  readonly runPage: number;
  readonly run: DataView;
  handle: number;
  program: Program;
  /** A run is under way. */
  under: boolean;
  /** A kick that no run has answered. */
  kicked: boolean;
  ended: Promise<number>;
}

const flagOf = (vcpu: number): number => FLAGS + 64 * vcpu;
const codeOf = (vcpu: number): number => CODE + PAGE * vcpu;

function code(vcpu: VcpuIndex, program: Program): Uint8Array {
  const a = new Assembler(32, codeOf(vcpu));
  const other = { disp: flagOf(1 - vcpu) };
  const wait = (): void => {
    const again = a.label();
    a.bind(again)
      .mov('eax', { disp: flagOf(vcpu) })
      .test('eax', 'eax')
      .jcc('e', again);
  };
  if (program === 'wait' || program === 'relay') wait();
  if (program === 'later') {
    const count = a.label();
    a.mov('ecx', LATER).bind(count).dec('ecx').jcc('ne', count);
  }
  if (program === 'relay') a.mov(other, 'eax');
  if (program === 'signal' || program === 'later') a.mov('eax', 0x5a).mov(other, 'eax');
  return a.out(PORT, 'al').hlt().bytes();
}

export class BesideWorld {
  readonly #kernel: Kernel;
  readonly #kvm: number;
  readonly #vm: number;
  readonly #memory: number;
  readonly #guests: readonly [Guest, Guest];
  #said: string[] = [];

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    const made = vmOf(kernel);
    if (typeof made === 'string') throw new Error(made);
    this.#kvm = made.kvm;
    this.#vm = made.vm;
    this.#memory = must(kernel.mmap(0, MEMORY, 3, 0x21, -1, 0), 'mmap');
    const region = kvm_userspace_memory_region.encode({ memory_size: MEMORY, userspace_addr: this.#memory });
    must(kernel.ioctl(this.#vm, KVM_SET_USER_MEMORY_REGION.request, region), 'the slot');
    this.#guests = [this.#guest(0), this.#guest(1)];
  }

  #guest(id: VcpuIndex): Guest {
    const kernel = this.#kernel;
    const fd = must(kernel.ioctl(this.#vm, KVM_CREATE_VCPU.request, id, 1), 'KVM_CREATE_VCPU');
    const runPage = must(kernel.mmap(0, RUN_BYTES, 3, 1, fd, 0), 'mmap of the vCPU');
    const handle = must(kernel.vcpuAttach(fd, runPage), 'vcpuAttach');
    const view = kernel.view(runPage, RUN_BYTES);
    if (typeof view === 'number') throw new Error(`no view: errno ${-view}`);
    const sregs = kvm_sregs.encode();
    must(kernel.ioctl(fd, KVM_GET_SREGS.request, sregs), 'KVM_GET_SREGS');
    const flat = kvm_sregs.encode({ ...kvm_sregs.decode(sregs), ...protectedMode() });
    must(kernel.ioctl(fd, KVM_SET_SREGS.request, flat), 'KVM_SET_SREGS');
    const ended = Promise.resolve(0);
    return { fd, runPage, run: new DataView(view), handle, program: 'none', under: false, kicked: false, ended };
  }

  #flag(vcpu: VcpuIndex): number {
    const bytes = new Uint8Array(4);
    this.#kernel.copyOut(this.#memory + flagOf(vcpu), bytes);
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  #setFlag(vcpu: VcpuIndex, value: number): void {
    this.#kernel.copyIn(this.#memory + flagOf(vcpu), Uint8Array.of(value, 0, 0, 0));
  }

  /** An exit is over, and registers are the guest's, when KVM_RUN was entered once more: Documentation/virt/kvm/api.rst, KVM_EXIT_IO. */
  #complete({ handle, kicked }: Guest): void {
    this.#kernel.vcpuKick(handle);
    const result = this.#kernel.vcpuRun(handle, LONG_MS);
    if (result !== -EINTR) this.#said.push(`completed: ${errnoOrValue(result)}`);
    if (kicked) this.#kernel.vcpuKick(handle);
  }

  #load(vcpu: VcpuIndex, program: Program): void {
    const guest = this.#guests[vcpu];
    this.#complete(guest);
    guest.program = program;
    this.#kernel.copyIn(this.#memory + codeOf(vcpu), code(vcpu, program));
    const regs = kvm_regs.encode({ rip: codeOf(vcpu), rflags: 2 });
    must(this.#kernel.ioctl(guest.fd, KVM_SET_REGS.request, regs), 'KVM_SET_REGS');
  }

  /** Where nobody could say how far it came, only that it did not come through. */
  #outcome(vcpu: VcpuIndex, result: number): string {
    const { run, fd } = this.#guests[vcpu];
    if (result === -EINTR) return `vcpu ${vcpu}: EINTR, exit at once ${run.getUint8(1)}`;
    const reason = run.getUint32(8, true);
    const told =
      reason === REASON.KVM_EXIT_IO ? ` ${run.getUint16(KVM_RUN_EXIT_OFFSET + 2, true)} ${run.getUint8(PIO)}` : '';
    const bytes = kvm_regs.encode();
    const got = this.#kernel.ioctl(fd, KVM_GET_REGS.request, bytes);
    const { rax, rcx, rip } = kvm_regs.decode(bytes);
    return `vcpu ${vcpu}: ${errnoOrValue(result)} reason ${reason}${told} regs ${errnoOrValue(got)} ${rax} ${rcx} ${rip}`;
  }

  #willEnd(vcpu: VcpuIndex): boolean {
    const { under, kicked, program } = this.#guests[vcpu];
    if (!under) return false;
    return kicked || (program !== 'wait' && program !== 'relay') || this.#flag(vcpu) !== 0;
  }

  /** What never ends is given up, and named. */
  async #endOf({ ended, handle }: Guest): Promise<number> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, LONG_MS, 'late');
    });
    const first = await Promise.race([ended, late]);
    clearTimeout(timer);
    if (first !== 'late') return first;
    this.#said.push('it does not end');
    this.#kernel.vcpuKick(handle);
    return ended;
  }

  async #settle(): Promise<void> {
    const ended: string[] = [];
    for (const vcpu of [0, 1, 0] as const) {
      if (!this.#willEnd(vcpu)) continue;
      const guest = this.#guests[vcpu];
      const result = await this.#endOf(guest);
      guest.under = false;
      if (result === -EINTR) guest.kicked = false;
      ended.push(this.#outcome(vcpu, result));
    }
    // Which was first is for threads to say.
    this.#said.push(...ended.sort());
  }

  #start(vcpu: VcpuIndex, program: Program): void {
    const guest = this.#guests[vcpu];
    if (!guest.under) this.#load(vcpu, program);
    let done: (result: number) => void = () => undefined;
    const ended = new Promise<number>((resolve) => {
      done = resolve;
    });
    const result = this.#kernel.vcpuStart(guest.handle, done);
    this.#said.push(`start ${errnoOrValue(result)}`);
    if (result < 0) return;
    guest.under = true;
    guest.ended = ended;
  }

  #run(vcpu: VcpuIndex, program: Program, beside: Program | undefined): void {
    const guest = this.#guests[vcpu];
    const other = (1 - vcpu) as VcpuIndex;
    const busy = guest.under;
    if (!busy) this.#load(vcpu, program);
    if (beside !== undefined && !busy) {
      // It waits for that of the other one.
      this.#setFlag(vcpu, 0);
      this.#start(other, beside);
    }
    const waits = program === 'wait' || program === 'relay';
    const helped = this.#guests[other].under && this.#guests[other].program === 'later' && !this.#guests[other].kicked;
    const limit = waits && this.#flag(vcpu) === 0 && !helped ? SHORT_MS : LONG_MS;
    const result = this.#kernel.vcpuRun(guest.handle, limit);
    if (busy) this.#said.push(`run ${errnoOrValue(result)}`);
    else this.#said.push(this.#outcome(vcpu, result));
    if (!busy && result === -EINTR) guest.kicked = false;
  }

  #detach(vcpu: VcpuIndex): void {
    const guest = this.#guests[vcpu];
    this.#said.push(`detach ${errnoOrValue(this.#kernel.vcpuDetach(guest.handle))}`);
    this.#said.push(`again ${errnoOrValue(this.#kernel.vcpuDetach(guest.handle))}`);
    // It does what a kick does.
    guest.kicked = guest.under;
  }

  #attach(vcpu: VcpuIndex): void {
    const guest = this.#guests[vcpu];
    guest.run.setUint8(1, 0);
    guest.kicked = false;
    guest.handle = must(this.#kernel.vcpuAttach(guest.fd, guest.runPage), 'vcpuAttach');
  }

  async #other(waits: boolean): Promise<void> {
    const kernel = this.#kernel;
    const page = must(kernel.mmap(0, PAGE, 3, 0x22, -1, 0), 'mmap');
    const handle = kernel.vcpuAttach(this.#vm, page);
    this.#said.push(`attach ${errnoOrValue(handle, 'a handle')}`);
    const result = waits
      ? kernel.vcpuRun(handle, LONG_MS)
      : await new Promise<number>((resolve) => {
          const started = kernel.vcpuStart(handle, resolve);
          if (started < 0) resolve(started);
        });
    this.#said.push(`a VM runs: ${errnoOrValue(result)}`);
    kernel.vcpuDetach(handle);
    kernel.munmap(page, PAGE);
  }

  async #perform(c: BesideCommand): Promise<void> {
    const kernel = this.#kernel;
    switch (c.do) {
      case 'start':
        return this.#start(c.vcpu, c.program);
      case 'run':
        return this.#run(c.vcpu, c.program, c.beside);
      case 'flag':
        return this.#setFlag(c.vcpu, c.value);
      case 'other':
        return this.#other(c.waits);
      case 'detach':
        this.#detach(c.vcpu);
        await this.#settle();
        return this.#attach(c.vcpu);
      default: {
        const guest = this.#guests[c.vcpu];
        this.#said.push(`kick ${errnoOrValue(kernel.vcpuKick(guest.handle))}`);
        guest.kicked = true;
        if (c.do === 'kick') return;
        const result = kernel.ioctl(guest.fd, KVM_GET_REGS.request, kvm_regs.encode());
        this.#said.push(`asked ${errnoOrValue(result)}`);
      }
    }
  }

  /** What came of the command and of every run that ended by it, then what there is. */
  async step(c: BesideCommand): Promise<string[]> {
    this.#said = [];
    await this.#perform(c);
    await this.#settle();
    const state = this.#guests.map((guest, i) => `${guest.under ? 'under way' : 'idle'} ${this.#flag(i as VcpuIndex)}`);
    return [this.#said.join('; '), ...state];
  }

  async end(): Promise<void> {
    const kernel = this.#kernel;
    for (const { handle, under, ended, runPage, fd } of this.#guests) {
      kernel.vcpuDetach(handle);
      if (under) await ended;
      kernel.munmap(runPage, RUN_BYTES);
      kernel.close(fd);
    }
    kernel.munmap(this.#memory, MEMORY);
    for (const fd of [this.#vm, this.#kvm]) kernel.close(fd);
  }
}
