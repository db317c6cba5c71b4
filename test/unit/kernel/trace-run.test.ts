/** KVM_RUN in traces: which exits are shown, which are left over from an earlier run. */
import { beforeEach, describe, expect, it } from 'vitest';
import { errnoOf } from '../../../lib/kernel/errno.ts';
import type { Kernel } from '../../../lib/kernel/kernel.ts';
import { type TraceRecord, traceKernel } from '../../../lib/kernel/trace.ts';
import { KVM_EXIT, KVM_RUN_EXIT_OFFSET, kvm_run } from '../../../lib/uapi/index.ts';
import { kvm_run_io, kvm_run_memory_fault } from '../../../lib/uapi/kvm-run.ts';
import { fakeKernel } from '../../support/fake-kernel.ts';

const R = KVM_EXIT.value;
const HANDLE = 1;

let page: Uint8Array;
let records: TraceRecord[];
let result: number;
let ended: ((result: number) => void) | undefined;
let started: number;

function setExit(reason: number, payload: Uint8Array = new Uint8Array()): void {
  page = kvm_run.encode({ exit_reason: reason });
  page.set(payload, KVM_RUN_EXIT_OFFSET);
}

function attached(): Kernel {
  const kernel = traceKernel(
    fakeKernel({
      vcpuAttach: () => HANDLE,
      vcpuRun: () => result,
      vcpuStart: (_vcpu: number, done: (result: number) => void) => {
        ended = done;
        return started;
      },
      copyOut: (_hva: number, into: Uint8Array) => {
        into.set(page.subarray(0, into.length));
        return into.length;
      },
    }).kernel,
    (record) => records.push(record),
  );
  kernel.vcpuAttach(8, 0x7000);
  records.length = 0;
  return kernel;
}

const lastText = (): string | undefined => records.at(-1)?.text;

beforeEach(() => {
  records = [];
  result = 0;
  started = 0;
  setExit(R.KVM_EXIT_HLT);
});

describe('KVM_RUN in a trace', () => {
  it('shows the exit, with its payload', () => {
    const kernel = attached();
    kernel.vcpuRun(HANDLE, 0);
    expect(lastText()).toBe('ioctl(8<vcpu>, KVM_RUN, 0) = 0 <KVM_EXIT_HLT>');
    setExit(R.KVM_EXIT_IO, kvm_run_io.encode({ direction: 1, size: 1, port: 0x3f8, count: 1, data_offset: 4096 }));
    kernel.vcpuRun(HANDLE, 0);
    expect(lastText()).toContain('<KVM_EXIT_IO {direction=KVM_EXIT_IO_OUT, size=1, port=0x3f8, count=1');
    expect(records.at(-1)).toMatchObject({ call: 'vcpuRun', syscall: 'ioctl', request: 'KVM_RUN', result: 0 });
  });

  it('shows reasons that nobody knows as numbers', () => {
    setExit(0x7777);
    attached().vcpuRun(HANDLE, 0);
    expect(lastText()).toBe('ioctl(8<vcpu>, KVM_RUN, 0) = 0 <0x7777>');
  });

  it.each(['EFAULT', 'EHWPOISON', 'ENOMEM'])('shows a memory fault with %s', (code) => {
    setExit(R.KVM_EXIT_MEMORY_FAULT, kvm_run_memory_fault.encode({ flags: 8, gpa: 0x1000, size: 4096 }));
    result = -errnoOf(code);
    attached().vcpuRun(HANDLE, 0);
    expect(lastText()).toContain(`= -1 ${code}`);
    expect(lastText()).toContain(
      '<KVM_EXIT_MEMORY_FAULT {flags=KVM_MEMORY_EXIT_FLAG_PRIVATE, gpa=0x1000, size=0x1000}>',
    );
  });

  it.each(['EINTR', 'EINVAL', 'EAGAIN', 'EIO', 'ENOEXEC'])(
    'shows no memory fault that was left over, with %s',
    (code) => {
      setExit(R.KVM_EXIT_MEMORY_FAULT, kvm_run_memory_fault.encode({ flags: 8, gpa: 0x1000, size: 4096 }));
      result = -errnoOf(code);
      attached().vcpuRun(HANDLE, 0);
      expect(lastText()).toMatch(new RegExp(`^ioctl\\(8<vcpu>, KVM_RUN, 0\\) = -1 ${code}`));
      expect(lastText()).not.toContain('<KVM_EXIT');
    },
  );

  it('shows no other exit with an error', () => {
    result = -errnoOf('EFAULT');
    attached().vcpuRun(HANDLE, 0);
    expect(lastText()).not.toContain('<KVM_EXIT');
  });

  it('records an asynchronous run when it ends, before the program hears of it', () => {
    const order: string[] = [];
    const kernel = attached();
    kernel.vcpuStart(HANDLE, (value) => order.push(`done ${value}, ${records.length} records`));
    expect(records).toEqual([]);
    ended?.(0);
    expect(order).toEqual(['done 0, 1 records']);
    expect(records[0]).toMatchObject({ call: 'vcpuStart', request: 'KVM_RUN', args: [HANDLE], result: 0 });
    expect(lastText()).toBe('ioctl(8<vcpu>, KVM_RUN, 0) = 0 <KVM_EXIT_HLT>');
  });

  it('records a start that is refused', () => {
    started = -errnoOf('EBUSY');
    expect(attached().vcpuStart(HANDLE, () => {})).toBe(-errnoOf('EBUSY'));
    expect(records[0]).toMatchObject({ call: 'vcpuStart', errno: 'EBUSY', result: -errnoOf('EBUSY') });
  });

  it('does not look at the page of a vCPU that was detached', () => {
    const kernel = attached();
    kernel.vcpuStart(HANDLE, () => {});
    kernel.vcpuDetach(HANDLE);
    ended?.(-errnoOf('EINTR'));
    expect(lastText()).toMatch(/^ioctl\(8<vcpu>, KVM_RUN, 0\) = -1 EINTR/);
  });
});
