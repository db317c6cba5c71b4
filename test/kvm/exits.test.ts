/** Every exit reason, from the bytes that the kernel leaves in struct kvm_run. */
import { describe, expect, it } from 'vitest';
import { errnoOf } from '../../lib/kernel/errno.ts';
import { KernelError, StateError } from '../../lib/kernel/errors.ts';
import type { Exit } from '../../lib/kvm/exits.ts';
import { KVM_EXIT, KVM_RUN_EXIT_OFFSET, kvm_run } from '../../lib/uapi/index.ts';
import {
  kvm_run_eoi,
  kvm_run_fail_entry,
  kvm_run_hypercall,
  kvm_run_internal,
  kvm_run_io,
  kvm_run_memory_fault,
  kvm_run_mmio,
  kvm_run_snp_req_certs,
  kvm_run_system_event,
  kvm_run_tdx,
} from '../../lib/uapi/kvm-run.ts';
import { fakeVcpu } from '../support/fake-vcpu.ts';

const R = KVM_EXIT.value;
const IO_DATA = 4096;

function decode(reason: number, payload?: Uint8Array, tail?: readonly number[]): Exit {
  const { vcpu, setExit, page } = fakeVcpu();
  setExit(reason, payload);
  page.set(tail ?? [], IO_DATA);
  return vcpu.runSync();
}

describe('exits', () => {
  it('IO out carries what the guest wrote, string I/O included', () => {
    const payload = kvm_run_io.encode({ direction: 1, size: 2, port: 0x1f0, count: 3, data_offset: IO_DATA });
    const exit = decode(R.KVM_EXIT_IO, payload, [1, 2, 3, 4, 5, 6, 7]);
    expect(exit).toEqual({
      name: 'KVM_EXIT_IO',
      reason: 2,
      direction: 'out',
      size: 2,
      port: 0x1f0,
      count: 3,
      data: new Uint8Array([1, 2, 3, 4, 5, 6]),
    });
  });

  it('IO in carries zeros, whatever the page holds', () => {
    const payload = kvm_run_io.encode({ direction: 0, size: 4, port: 0xcfc, count: 1, data_offset: IO_DATA });
    expect(decode(R.KVM_EXIT_IO, payload, [9, 9, 9, 9])).toMatchObject({ direction: 'in', data: new Uint8Array(4) });
  });

  it('IO with an offset that the page does not have gives what is there', () => {
    const payload = kvm_run_io.encode({ direction: 1, size: 4, port: 1, count: 1, data_offset: 12286 });
    expect(decode(R.KVM_EXIT_IO, payload)).toMatchObject({ data: new Uint8Array(2) });
  });

  it('MMIO, write and read', () => {
    const data = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
    const write = kvm_run_mmio.encode({ phys_addr: 0xfee0_0000, data, len: 4, is_write: 1 });
    expect(decode(R.KVM_EXIT_MMIO, write)).toEqual({
      name: 'KVM_EXIT_MMIO',
      reason: 6,
      gpa: 0xfee0_0000,
      length: 4,
      isWrite: true,
      data: data.slice(0, 4),
    });
    const read = kvm_run_mmio.encode({ phys_addr: 0x1_0000_0000, data, len: 8, is_write: 0 });
    expect(decode(R.KVM_EXIT_MMIO, read)).toMatchObject({ gpa: 2 ** 32, isWrite: false, data: new Uint8Array(8) });
  });

  it('HYPERCALL', () => {
    const args = [0x1000n, 1n, (1n << 64n) - 1n, 0n, 0n, 6n];
    const exit = decode(R.KVM_EXIT_HYPERCALL, kvm_run_hypercall.encode({ nr: 12, args, flags: 1 }));
    expect(exit).toEqual({ name: 'KVM_EXIT_HYPERCALL', reason: 3, nr: 12, args, flags: 1n });
  });

  it('INTERNAL_ERROR, with a count of words that is believed up to 16', () => {
    const data = Array.from({ length: 16 }, (_, i) => BigInt(i));
    expect(decode(R.KVM_EXIT_INTERNAL_ERROR, kvm_run_internal.encode({ suberror: 1, ndata: 2, data }))).toEqual({
      name: 'KVM_EXIT_INTERNAL_ERROR',
      reason: 17,
      suberror: 1,
      suberrorName: 'KVM_INTERNAL_ERROR_EMULATION',
      data: [0n, 1n],
    });
    const unknown = decode(R.KVM_EXIT_INTERNAL_ERROR, kvm_run_internal.encode({ suberror: 77, ndata: 99, data }));
    expect(unknown).toMatchObject({ suberror: 77, suberrorName: undefined, data });
  });

  it('SYSTEM_EVENT', () => {
    const payload = kvm_run_system_event.encode({ type: 6, ndata: 1, data: [0xabcn] });
    const exit = { name: 'KVM_EXIT_SYSTEM_EVENT', reason: 24, type: 6, typeName: 'KVM_SYSTEM_EVENT_SEV_TERM' };
    expect(decode(R.KVM_EXIT_SYSTEM_EVENT, payload)).toEqual({ ...exit, data: [0xabcn] });
    const unknown = decode(R.KVM_EXIT_SYSTEM_EVENT, kvm_run_system_event.encode({ type: 50 }));
    expect(unknown).toMatchObject({ type: 50, typeName: undefined, data: [] });
  });

  it('FAIL_ENTRY', () => {
    const payload = kvm_run_fail_entry.encode({ hardware_entry_failure_reason: 1n << 63n, cpu: 3 });
    const exit = { name: 'KVM_EXIT_FAIL_ENTRY', reason: 9, hardwareReason: 1n << 63n, cpu: 3 };
    expect(decode(R.KVM_EXIT_FAIL_ENTRY, payload)).toEqual(exit);
  });

  it('TDX, SNP_REQ_CERTS and IOAPIC_EOI', () => {
    const tdx = decode(R.KVM_EXIT_TDX, kvm_run_tdx.encode({ nr: 0x10002, data: [5n, 6n] }));
    expect(tdx).toEqual({ name: 'KVM_EXIT_TDX', reason: 40, nr: 0x10002n, data: [5n, 6n, 0n, 0n, 0n] });
    const certs = decode(R.KVM_EXIT_SNP_REQ_CERTS, kvm_run_snp_req_certs.encode({ gpa: 0x5000, npages: 4 }));
    expect(certs).toEqual({ name: 'KVM_EXIT_SNP_REQ_CERTS', reason: 43, gpa: 0x5000, pages: 4n });
    const eoi = decode(R.KVM_EXIT_IOAPIC_EOI, kvm_run_eoi.encode({ vector: 0x31 }));
    expect(eoi).toEqual({ name: 'KVM_EXIT_IOAPIC_EOI', reason: 26, vector: 0x31 });
  });

  it('every other reason keeps its number, and its name if it has one', () => {
    const decoded = new Set([2, 3, 6, 9, 10, 17, 24, 26, 40, 43]);
    for (const [name, reason] of Object.entries(R)) {
      if (!decoded.has(reason)) expect(decode(reason)).toEqual({ name, reason, other: true });
    }
    expect(decode(0xdead_beef)).toEqual({ name: undefined, reason: 0xdead_beef, other: true });
    expect(decode(R.KVM_EXIT_INTR)).toEqual({ name: 'KVM_EXIT_INTR', reason: 10 });
  });

  it('is a copy: the next exit does not change it', () => {
    const { vcpu, setExit, page } = fakeVcpu();
    setExit(R.KVM_EXIT_MMIO, kvm_run_mmio.encode({ data: new Uint8Array(8).fill(1), len: 8, is_write: 1 }));
    const exit = vcpu.runSync();
    page.fill(0xff);
    expect(exit).toMatchObject({ data: new Uint8Array(8).fill(1) });
  });
});

describe('KVM_RUN that fails', () => {
  const fault = kvm_run_memory_fault.encode({ flags: 8, gpa: 0x10_0000_0000, size: 4096 });

  it.each(['EFAULT', 'EHWPOISON', 'ENOMEM'])('is a memory fault with %s and reason 39', (code) => {
    const state = fakeVcpu();
    state.setExit(R.KVM_EXIT_MEMORY_FAULT, fault);
    state.result = -errnoOf(code);
    const exit = { name: 'KVM_EXIT_MEMORY_FAULT', reason: 39, gpa: 0x10_0000_0000, size: 4096, flags: 8n };
    expect(state.vcpu.runSync()).toEqual({ ...exit, private: true, code });
    // The same errno again, from a place that leaves the page alone, is no second fault.
    expect(() => state.vcpu.runSync()).toThrow(KernelError);
  });

  it('is shared without the flag', () => {
    const state = fakeVcpu();
    state.setExit(R.KVM_EXIT_MEMORY_FAULT, kvm_run_memory_fault.encode({ gpa: 0, size: 4096 }));
    state.result = -14;
    expect(state.vcpu.runSync()).toMatchObject({ private: false, flags: 0n });
  });

  it('is an error for an errno that carries no exit, whatever is left in the page', () => {
    for (const code of ['EINVAL', 'EAGAIN', 'EIO', 'ENOEXEC']) {
      const state = fakeVcpu();
      state.setExit(R.KVM_EXIT_MEMORY_FAULT, fault);
      state.result = -errnoOf(code);
      const refused = state.vcpu.raw.runSync();
      expect(refused).toMatchObject({ ok: false, code });
      expect(refused.ok ? '' : refused.error.message).toContain('ioctl(5, KVM_RUN, 0)');
    }
  });

  it('is an error for EFAULT without a memory fault: the slot has no memory to back it', () => {
    const state = fakeVcpu();
    for (const left of [R.KVM_EXIT_UNKNOWN, R.KVM_EXIT_HLT, R.KVM_EXIT_MMIO]) {
      state.setExit(left);
      state.result = -14;
      expect(state.vcpu.raw.runSync()).toMatchObject({ ok: false, code: 'EFAULT' });
      expect(state.vcpu.lastExit).toBeUndefined();
    }
  });

  it('is KVM_EXIT_INTR for EINTR, whatever is left in the page', () => {
    const state = fakeVcpu();
    for (const left of [R.KVM_EXIT_MEMORY_FAULT, R.KVM_EXIT_IO, R.KVM_EXIT_HLT]) {
      state.setExit(left, fault);
      state.result = -4;
      expect(state.vcpu.runSync()).toEqual({ name: 'KVM_EXIT_INTR', reason: 10 });
    }
  });
});

describe('answer', () => {
  const bytesAt = (page: Uint8Array, offset: number, length: number): number[] => [
    ...page.subarray(offset, offset + length),
  ];

  it('puts the bytes of a port read where the exit says', () => {
    const state = fakeVcpu();
    const payload = kvm_run_io.encode({ direction: 0, size: 2, port: 5, count: 2, data_offset: IO_DATA });
    state.setExit(R.KVM_EXIT_IO, payload);
    state.vcpu.runSync();
    state.vcpu.answer(new Uint8Array([1, 2, 3, 4]));
    expect(bytesAt(state.page, IO_DATA, 5)).toEqual([1, 2, 3, 4, 0]);
    state.vcpu.answer(0x0605);
    expect(bytesAt(state.page, IO_DATA, 4)).toEqual([5, 6, 0, 0]);
    expect(() => state.vcpu.answer(new Uint8Array(5))).toThrow(new RangeError('the exit takes 4 bytes, got 5'));
  });

  it('puts the bytes of an MMIO read into the payload', () => {
    const state = fakeVcpu();
    state.setExit(R.KVM_EXIT_MMIO, kvm_run_mmio.encode({ phys_addr: 0x1000, len: 4, is_write: 0 }));
    state.vcpu.runSync();
    state.vcpu.answer(-1);
    const at = KVM_RUN_EXIT_OFFSET + kvm_run_mmio.offsets.data;
    expect(bytesAt(state.page, at, 5)).toEqual([0xff, 0xff, 0xff, 0xff, 0]);
  });

  it.each([
    ['a hypercall', R.KVM_EXIT_HYPERCALL, kvm_run_hypercall.offsets.ret],
    ['a TDX call', R.KVM_EXIT_TDX, kvm_run_tdx.offsets.ret],
    ['a request for certificates', R.KVM_EXIT_SNP_REQ_CERTS, kvm_run_snp_req_certs.offsets.ret],
  ])('returns a value to %s', (_, reason, offset) => {
    const state = fakeVcpu();
    state.setExit(reason);
    state.vcpu.runSync();
    state.vcpu.answer(-22n);
    expect(new DataView(state.page.buffer).getBigInt64(KVM_RUN_EXIT_OFFSET + offset, true)).toBe(-22n);
  });

  it('is refused for exits that take none', () => {
    const write = kvm_run_mmio.encode({ len: 4, is_write: 1 });
    const out = kvm_run_io.encode({ direction: 1, size: 1, count: 1, data_offset: IO_DATA });
    const state = fakeVcpu();
    expect(() => state.vcpu.answer(1)).toThrow(new StateError('the last exit (none) takes no answer'));
    for (const [reason, payload] of [[R.KVM_EXIT_HLT], [R.KVM_EXIT_MMIO, write], [R.KVM_EXIT_IO, out]] as const) {
      state.setExit(reason, payload);
      state.vcpu.runSync();
      expect(() => state.vcpu.answer(1)).toThrow(StateError);
    }
  });

  it('leaves the rest of the run page alone', () => {
    const state = fakeVcpu();
    state.setExit(R.KVM_EXIT_HYPERCALL, kvm_run_hypercall.encode({ nr: 12, ret: 0, flags: 1 }));
    state.vcpu.runSync();
    const before = state.page.slice();
    state.vcpu.answer(1);
    const changed = [...state.page.keys()].filter((i) => state.page[i] !== before[i]);
    expect(changed).toEqual([KVM_RUN_EXIT_OFFSET + kvm_run_hypercall.offsets.ret]);
    expect(kvm_run.get(state.page, 'exit_reason')).toBe(R.KVM_EXIT_HYPERCALL);
  });
});
