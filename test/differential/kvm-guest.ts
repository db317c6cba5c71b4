/** Guest programs of a differential run: one access, then a halt; every exit on the way is told. */
import { Assembler } from '../../lib/guest/x64/assembler.ts';
import {
  KVM_EXIT,
  KVM_GET_REGS,
  KVM_RUN_EXIT_OFFSET,
  KVM_SET_MEMORY_ATTRIBUTES,
  KVM_SET_REGS,
  kvm_memory_attributes,
  kvm_regs,
} from '../../lib/uapi/index.ts';
import type { KvmCommand } from './kvm-commands.ts';
import { CODE_GPA, type KvmWorld, PAGE } from './kvm-world.ts';
import { errnoOrValue, type Outcome } from './outcome.ts';

type GuestCommand = KvmCommand & { do: 'guest' };

/** Only for code that never ends: a busy machine must not look like it. */
const LIMIT_MS = 20_000;
const MOST_EXITS = 8;
const REASON = KVM_EXIT.value;
const REGISTERS = { 1: 'al', 2: 'ax', 4: 'eax' } as const;
const PORT = 0x80;
const DATA_PAGE = PAGE;

function code({ access, gpa, size, value }: GuestCommand): Uint8Array {
  const a = new Assembler(32, CODE_GPA);
  const register = REGISTERS[size];
  a.mov('eax', value >>> 0);
  switch (access) {
    case 'read':
      a.mov(register, { disp: gpa });
      break;
    case 'write':
      a.mov({ disp: gpa }, register);
      break;
    case 'add':
      a.add({ disp: gpa }, register);
      break;
    case 'in':
      a.in(register, PORT);
      break;
    case 'out':
      a.out(PORT, register);
      break;
    case 'hypercall':
      a.mov('ebx', gpa)
        .mov('ecx', size)
        .mov('edx', value & 0x3f0)
        .mov('eax', value & 15)
        .vmcall();
      break;
    case 'undefined':
      a.ud2();
      break;
  }
  return a.hlt().bytes();
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytesAt = (run: DataView, offset: number, length: number): Uint8Array =>
  new Uint8Array(run.buffer, run.byteOffset + offset, length);

/** An exit's own bytes. Of an internal error only what KVM itself says: the rest is the processor's. */
function payload(run: DataView): string {
  const at = KVM_RUN_EXIT_OFFSET;
  switch (run.getUint32(8, true)) {
    case REASON.KVM_EXIT_IO: {
      const length = run.getUint8(at + 1) * run.getUint32(at + 4, true);
      return `${hex(bytesAt(run, at, 16))} ${hex(bytesAt(run, DATA_PAGE, length))}`;
    }
    case REASON.KVM_EXIT_MMIO: {
      const length = run.getUint8(at + 20) === 1 ? run.getUint32(at + 16, true) : 0;
      return `${hex(bytesAt(run, at, 8))} ${hex(bytesAt(run, at + 16, 5))} ${hex(bytesAt(run, at + 8, length))}`;
    }
    case REASON.KVM_EXIT_HYPERCALL:
      return hex(bytesAt(run, at, 32)) + hex(bytesAt(run, at + 56, 16));
    case REASON.KVM_EXIT_MEMORY_FAULT:
      return hex(bytesAt(run, at, 24));
    case REASON.KVM_EXIT_INTERNAL_ERROR:
      return String(run.getUint32(at, true));
    default:
      return '';
  }
}

function answer(run: DataView, value: number): void {
  const at = KVM_RUN_EXIT_OFFSET;
  const reason = run.getUint32(8, true);
  if (reason === REASON.KVM_EXIT_IO && run.getUint8(at) === 0) run.setUint32(DATA_PAGE, value, true);
  else if (reason === REASON.KVM_EXIT_MMIO && run.getUint8(at + 20) === 0) run.setUint32(at + 8, value, true);
  else if (reason === REASON.KVM_EXIT_HYPERCALL) run.setBigUint64(at + 56, BigInt(value), true);
}

const ENCRYPTED = 1n << 4n;
const PRIVATE = 8n;

/** Carries out the conversion that KVM_HC_MAP_GPA_RANGE asks for, and answers with what came of it. */
function serve({ kernel, run, vms }: KvmWorld): Outcome {
  const at = KVM_RUN_EXIT_OFFSET;
  const [address = 0n, pages = 0n, wanted = 0n] = [0, 1, 2].map((i) => run.getBigUint64(at + 8 + 8 * i, true));
  const attributes = (wanted & ENCRYPTED) === 0n ? 0n : PRIVATE;
  const bytes = kvm_memory_attributes.encode({ address, size: BigInt.asUintN(64, pages << 12n), attributes });
  const result = kernel.ioctl(vms[0] ?? -1, KVM_SET_MEMORY_ATTRIBUTES.request, bytes);
  run.setBigUint64(at + 56, BigInt.asUintN(64, BigInt(result)), true);
  return `converted ${errnoOrValue(result)}`;
}

function registers({ kernel, vcpu }: KvmWorld): string {
  const bytes = kvm_regs.encode();
  const result = kernel.ioctl(vcpu, KVM_GET_REGS.request, bytes);
  if (result < 0) return errnoOrValue(result);
  const { rax, rbx, rcx, rdx, rip, rflags } = kvm_regs.decode(bytes);
  return [rax, rbx, rcx, rdx, rip, rflags].map((value) => value.toString(16)).join(' ');
}

/** if_flag, ready_for_interrupt_injection, flags; cr8, apic_base. */
const header = (run: DataView): string => `${hex(bytesAt(run, 12, 4))} ${hex(bytesAt(run, 16, 16))}`;

/** Whether guests can make hypercalls: where KVM emulates every instruction they repeat it for ever. */
export function makesHypercalls(world: KvmWorld): boolean {
  const call = {
    do: 'guest',
    access: 'hypercall',
    gpa: 0,
    size: 1,
    value: 12,
    answer: 0,
    pause: false,
    serve: false,
  } as const;
  return !runGuest(world, call, 200).includes('EINTR');
}

export function runGuest(world: KvmWorld, c: GuestCommand, limitMs = LIMIT_MS): Outcome {
  const { kernel, run, handle } = world;
  kernel.fill(world.code, PAGE, 0xf4);
  kernel.copyIn(world.code, code(c));
  const regs = kvm_regs.encode({ rip: CODE_GPA, rflags: 2, rsp: CODE_GPA + PAGE });
  const set = kernel.ioctl(world.vcpu, KVM_SET_REGS.request, regs);
  const said = [`set ${errnoOrValue(set)}`];
  for (let i = 0; i < MOST_EXITS; i++) {
    const result = kernel.vcpuRun(handle, limitMs);
    const reason = run.getUint32(8, true);
    said.push(`${errnoOrValue(result)} reason ${reason} ${payload(run)} | ${header(run)} | ${registers(world)}`);
    if (result !== 0 || reason === REASON.KVM_EXIT_HLT) break;
    answer(run, c.answer);
    if (c.serve && reason === REASON.KVM_EXIT_HYPERCALL) said.push(serve(world));
    if (c.pause) {
      run.setUint8(1, 1);
      said.push(`paused ${errnoOrValue(kernel.vcpuRun(handle, LIMIT_MS))} ${registers(world)}`);
      run.setUint8(1, 0);
    }
    if (reason !== REASON.KVM_EXIT_IO && reason !== REASON.KVM_EXIT_MMIO && reason !== REASON.KVM_EXIT_HYPERCALL) break;
  }
  said.push(registers(world));
  if (run.getUint32(8, true) === REASON.KVM_EXIT_SHUTDOWN) world.startOver();
  return said.join('\n    ');
}
