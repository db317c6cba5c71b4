/** Guests in every mode of the processor, and the exits that they end with. */
import { afterEach, expect, it } from 'vitest';
import { program, x64 } from '../../lib/guest/index.ts';
import { Mapping } from '../../lib/memory/mapping.ts';
import { DATA, Guest } from '../support/guest.ts';
import { describeKvm } from '../support/kvm.ts';

const LIMIT = { timeoutMs: 5000 };
const CODE = 0x8000;

describeKvm(
  'vCPU modes',
  ({ kvm }) => {
    let guest = new Guest(kvm);
    afterEach(() => {
      guest.close();
      guest = new Guest(kvm);
    });

    /** Code at CODE in the given mode, all registers zero but rip. */
    const place = (bytes: Uint8Array, mode: x64.ModeRegisters, rip = CODE): void => {
      guest.memory.write(CODE, bytes);
      guest.vcpu().x64.updateSregs(mode);
      guest.vcpu().x64.setRegs({ rip, rflags: 2 });
    };

    it('real mode, from a segment', () => {
      const a = new x64.Assembler(16, 0);
      a.mov('ax', 0x1234).add('ax', 0x1111).out(0x10, 'ax').hlt();
      place(a.bytes(), x64.realMode(CODE), 0);
      expect(guest.vcpu().runSync(LIMIT)).toMatchObject({
        name: 'KVM_EXIT_IO',
        direction: 'out',
        size: 2,
        port: 0x10,
        count: 1,
        data: new Uint8Array([0x45, 0x23]),
      });
      expect(guest.vcpu().runSync(LIMIT)).toEqual({ name: 'KVM_EXIT_HLT', reason: 5, other: true });
      expect(guest.vcpu().x64.getRegs()).toMatchObject({ rax: 0x2345n, rip: BigInt(a.bytes().length) });
    });

    it('32-bit protected mode, flat', () => {
      const a = new x64.Assembler(32, CODE);
      a.mov('eax', 0x8000_0001)
        .mov('ecx', 3)
        .mul('ecx')
        .mov({ disp: DATA }, 'eax')
        .mov({ disp: DATA + 4 }, 'edx')
        .hlt();
      place(a.bytes(), x64.protectedMode());
      expect(guest.vcpu().runSync(LIMIT).name).toBe('KVM_EXIT_HLT');
      expect(guest.memory.readU64(DATA)).toBe(0x8000_0001n * 3n);
    });

    it('from the reset vector into 64-bit code, as trust domains start', () => {
      const { memory, vm } = guest;
      const built = program({ arch: 'x64' }, (g) => g.out(0x80, 0x1234));
      const tables = x64.identityPageTables({ at: 0x1000, ranges: [{ gpa: x64.RESET_PAGE, size: 4096 }] });
      memory.write(tables.gpa, tables.bytes);
      memory.write(built.base, built.bytes);
      using top = Mapping.anonymous(vm.sys, 4096);
      using _slot = vm.addMemslot({ slot: 1, gpa: x64.RESET_PAGE, size: 4096, backing: top });
      top.write(0, x64.resetPage(built.entry, tables.cr3).bytes);
      guest.vcpu().x64.updateSregs({ ...x64.protectedMode(), efer: 0x100n });
      guest.vcpu().x64.setRegs({ rip: 0xffff_fff0n, rflags: 2 });
      expect(guest.vcpu().runSync(LIMIT)).toMatchObject({ name: 'KVM_EXIT_IO', port: 0x80, size: 4 });
      expect(guest.vcpu().x64.getSregs()).toMatchObject({ cs: { l: 1, selector: 8 }, efer: 0x500n });
    });

    it('64-bit long mode, through page tables above 4 GiB of addresses', () => {
      // Without KVM_SET_CPUID2 a vCPU has 36 bits of guest-physical addresses.
      const tables = x64.identityPageTables({ at: 0x1000, ranges: [{ gpa: 0x8_0000_0000, size: 8 }] });
      guest.memory.write(tables.gpa, tables.bytes);
      const a = new x64.Assembler(64, CODE);
      a.mov('rbx', 0x8_0000_0000n).mov('rax', 0x1122_3344_5566_7788n).mov({ base: 'rbx' }, 'rax').hlt();
      place(a.bytes(), x64.longMode(tables.cr3));
      expect(guest.vcpu().runSync(LIMIT)).toMatchObject({
        name: 'KVM_EXIT_MMIO',
        gpa: 0x8_0000_0000,
        length: 8,
        isWrite: true,
        data: new Uint8Array([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]),
      });
      expect(guest.vcpu().runSync(LIMIT).name).toBe('KVM_EXIT_HLT');
    });

    it('string output is one exit with all of it', () => {
      guest.memory.write(DATA, new Uint8Array([1, 2, 3, 4, 5]));
      const a = new x64.Assembler(32, CODE);
      // rep outsb
      a.mov('esi', DATA).mov('ecx', 5).mov('edx', 0x3f8).cld().data([0xf3, 0x6e]).hlt();
      place(a.bytes(), x64.protectedMode());
      const written: number[] = [];
      let exit = guest.vcpu().runSync(LIMIT);
      for (; exit.name === 'KVM_EXIT_IO'; exit = guest.vcpu().runSync(LIMIT)) {
        expect(exit.data).toHaveLength(exit.size * exit.count);
        written.push(...exit.data);
      }
      expect([written, exit.name]).toEqual([[1, 2, 3, 4, 5], 'KVM_EXIT_HLT']);
    });

    it('port reads get what the host answers, and nothing but zeros without an answer', () => {
      const a = new x64.Assembler(32, CODE);
      a.in('eax', 0x60)
        .mov({ disp: DATA }, 'eax')
        .in('al', 0x61)
        .mov({ disp: DATA + 4 }, 'al')
        .hlt();
      place(a.bytes(), x64.protectedMode());
      const vcpu = guest.vcpu();
      expect(vcpu.runSync(LIMIT)).toMatchObject({ direction: 'in', size: 4, port: 0x60, data: new Uint8Array(4) });
      vcpu.answer(0xdead_beef);
      expect(vcpu.runSync(LIMIT)).toMatchObject({ direction: 'in', size: 1, port: 0x61 });
      vcpu.answer(new Uint8Array([0x7f]));
      expect(vcpu.runSync(LIMIT).name).toBe('KVM_EXIT_HLT');
      expect(guest.memory.readU64(DATA)).toBe(0x7f_dead_beefn);
    });

    it.each([
      [1, 'al', 0xa5n],
      [2, 'ax', 0xa4a5n],
      [4, 'eax', 0xa2a3_a4a5n],
    ] as const)('MMIO reads of %i bytes get what the host answers', (size, register, expected) => {
      const a = new x64.Assembler(32, CODE);
      a.xor('eax', 'eax').mov('ebx', 0xd000_0000).mov(register, { base: 'ebx' }).mov({ disp: DATA }, 'eax').hlt();
      place(a.bytes(), x64.protectedMode());
      const vcpu = guest.vcpu();
      expect(vcpu.runSync(LIMIT)).toMatchObject({
        name: 'KVM_EXIT_MMIO',
        gpa: 0xd000_0000,
        length: size,
        isWrite: false,
      });
      vcpu.answer(0xa2a3_a4a5);
      expect(vcpu.runSync(LIMIT).name).toBe('KVM_EXIT_HLT');
      expect(guest.memory.readU64(DATA)).toBe(expected);
    });

    it('completeIo finishes the instruction and no more', () => {
      const a = new x64.Assembler(32, CODE);
      a.in('eax', 0x60).inc('eax').out(0x61, 'eax').hlt();
      place(a.bytes(), x64.protectedMode());
      const vcpu = guest.vcpu();
      vcpu.runSync(LIMIT);
      vcpu.answer(41);
      expect(vcpu.completeIo()).toMatchObject({ name: 'KVM_EXIT_INTR' });
      expect(vcpu.x64.getRegs()).toMatchObject({ rax: 41n, rip: BigInt(CODE + 2) });
      // The kick is used up: the next run goes on.
      expect(vcpu.runSync(LIMIT)).toMatchObject({
        name: 'KVM_EXIT_IO',
        direction: 'out',
        data: new Uint8Array([42, 0, 0, 0]),
      });
    });

    it('completeIo gives the second half of an access over a page boundary', () => {
      const a = new x64.Assembler(32, CODE);
      a.mov('ebx', 0xd000_0ffe).mov('eax', 0x4433_2211).mov({ base: 'ebx' }, 'eax').hlt();
      place(a.bytes(), x64.protectedMode());
      const vcpu = guest.vcpu();
      expect(vcpu.runSync(LIMIT)).toMatchObject({ gpa: 0xd000_0ffe, length: 2, data: new Uint8Array([0x11, 0x22]) });
      expect(vcpu.completeIo()).toMatchObject({ gpa: 0xd000_1000, length: 2, data: new Uint8Array([0x33, 0x44]) });
      expect(vcpu.completeIo()).toMatchObject({ name: 'KVM_EXIT_INTR' });
      expect(vcpu.runSync(LIMIT).name).toBe('KVM_EXIT_HLT');
    });

    it('a triple fault is a shutdown', () => {
      // Long mode with empty page tables: nothing can be fetched, no handler found.
      place(new Uint8Array([0xf4]), x64.longMode(0x1000));
      expect(guest.vcpu().runSync(LIMIT)).toMatchObject({ name: 'KVM_EXIT_SHUTDOWN', other: true });
    });

    it('an instruction that neither processor nor emulator knows ends the guest, and says how', () => {
      // vmovdqa with a memory operand outside every slot: KVM must emulate it, and cannot (VEX). A processor without AVX says #UD, and
      // without a handler that is a shutdown.
      const vmovdqa = [0xc5, 0xf9, 0x7f, 0x03];
      const a = new x64.Assembler(32, CODE);
      a.mov('ebx', 0xd000_0000).data(vmovdqa).hlt();
      place(a.bytes(), x64.protectedMode());
      const exit = guest.vcpu().runSync(LIMIT);
      expect(['KVM_EXIT_INTERNAL_ERROR', 'KVM_EXIT_SHUTDOWN']).toContain(exit.name);
      if (exit.name === 'KVM_EXIT_INTERNAL_ERROR') {
        expect(exit.suberrorName).toBe('KVM_INTERNAL_ERROR_EMULATION');
      }
    });
  },
  { arch: 'x64' },
);
