/** Short programs whose exits and registers must be the same on every KVM: what straight-line code does not reach. */
import { FAULT_SCENARIOS, type Scenario, WITH_IDT, WITH_IDT_32, WITH_IVT } from './fault-scenarios.ts';
import { MMIO } from './ram.ts';

export type { Scenario } from './fault-scenarios.ts';

const at = (offset: number) => ({ regs: { rbx: MMIO + offset, rax: 0x1122_3344_5566_7788n, rcx: 7 } });

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  ...FAULT_SCENARIOS,
  'halt twice': { code: (a) => a.hlt().nop().hlt(), runs: 2 },
  out: { code: (a) => a.mov('al', 5).out(0x80, 'al').mov('dx', 0x1234).out('dx', 'eax').hlt(), runs: 3 },
  in: {
    code: (a) => a.mov('dx', 0x3f8).in('eax', 'dx').in('al', 0x60).in('ax', 'dx').hlt(),
    runs: 4,
    answers: [0x9234_5678, 0xaa, 0xbbcc],
  },
  'mmio write': { ...at(0), code: (a) => a.mov({ base: 'rbx' }, 'rax').mov({ base: 'rbx' }, 'ax').hlt(), runs: 3 },
  'mmio read': {
    ...at(0),
    code: (a) => a.mov('rax', { base: 'rbx' }).mov('cl', { base: 'rbx' }).hlt(),
    runs: 3,
    answers: [0x99, 0xaa],
  },
  'mmio both': { ...at(0), code: (a) => a.add({ base: 'rbx' }, 'rax').hlt(), runs: 3, answers: [0x99] },
  'mmio write over pages': { ...at(0xffb), code: (a) => a.mov({ base: 'rbx' }, 'rax').hlt(), runs: 3 },
  'mmio read over pages': {
    ...at(0xffb),
    code: (a) => a.mov('rax', { base: 'rbx' }).hlt(),
    runs: 3,
    answers: [0x01_0203_0405, 0x06_0708],
  },
  'write from memory into mmio': {
    regs: { rbx: 0x3f_fffb, rax: 0x1122_3344_5566_7788n },
    code: (a) => a.mov({ base: 'rbx' }, 'rax').hlt(),
    runs: 2,
  },
  'read from memory and mmio': {
    regs: { rbx: 0x3f_fffb },
    code: (a) => a.mov({ base: 'rbx', disp: -8 }, 'rbx').mov('rax', { base: 'rbx' }).hlt(),
    runs: 2,
    answers: [0x11_2233],
  },
  'rep stos to mmio': { regs: { rdi: MMIO, rcx: 2, rax: 7 }, code: (a) => a.stos(64, 'rep').hlt(), runs: 3 },
  'rep movs in mmio': {
    regs: { rdi: MMIO, rsi: MMIO + 0x100, rcx: 2 },
    code: (a) => a.movs(32, 'rep').hlt(),
    runs: 5,
    answers: [1, undefined, 2],
  },
  'rep movs from memory to mmio': {
    regs: { rdi: MMIO, rsi: 0x2000, rcx: 3 },
    code: (a) => a.movs(8, 'rep').hlt(),
    runs: 4,
  },
  'cmps in mmio': {
    regs: { rdi: MMIO, rsi: MMIO + 0x100, rcx: 2 },
    code: (a) => a.cmps(32).hlt(),
    runs: 3,
    answers: [1, 2],
  },
  'repe cmps in mmio': {
    hidesFlags: true,
    regs: { rdi: MMIO, rsi: MMIO + 0x100, rcx: 2 },
    code: (a) => a.cmps(32, 'rep').hlt(),
    runs: 5,
    answers: [1, 1, 2, 3],
  },
  'repne scas in mmio': {
    hidesFlags: true,
    regs: { rdi: MMIO, rcx: 3, rax: 5 },
    code: (a) => a.scas(8, 'repne').hlt(),
    runs: 4,
    answers: [1, 5],
  },
  'xchg with mmio': { ...at(0), code: (a) => a.xchg({ base: 'rbx' }, 'rax').hlt(), runs: 3, answers: [0x99] },
  'lock xadd to mmio': { ...at(0), code: (a) => a.lock().xadd({ base: 'rbx' }, 'rax').hlt(), runs: 3, answers: [0x99] },
  'lock cmpxchg to mmio': {
    ...at(0),
    code: (a) => a.lock().cmpxchg({ base: 'rbx' }, 'rcx').hlt(),
    runs: 3,
    answers: [0x1122_3344_5566_7788n],
  },
  'cmpxchg to mmio fails': { ...at(0), code: (a) => a.cmpxchg({ base: 'rbx' }, 'rcx').hlt(), runs: 3, answers: [0x98] },
  'push to mmio': { regs: { rsp: MMIO + 16, rax: 9 }, code: (a) => a.push('rax').hlt(), runs: 2 },
  'pop from mmio to mmio': {
    regs: { rsp: MMIO + 16, rbx: MMIO },
    code: (a) => a.pop({ base: 'rbx', size: 8 }).hlt(),
    runs: 3,
    answers: [5],
  },
  'call through an mmio stack': {
    regs: { rsp: MMIO + 16 },
    code: (a) => {
      const label = a.label();
      return a.call(label).nop().bind(label).hlt();
    },
    runs: 2,
  },
  'code in mmio': { ...at(16), code: (a) => a.jmp('rbx') },
  'setcc to mmio': { ...at(3), code: (a) => a.set('e', { base: 'rbx', size: 1 }).hlt(), runs: 2 },
  'calls and returns': {
    code: (a) => {
      const [f, done] = [a.label(), a.label()];
      return a.mov('rcx', 5).call(f).jmp(done).bind(f).add('rax', 'rcx').ret().bind(done).push('rax').pop('rbx').hlt();
    },
  },
  'nested loops': {
    code: (a) => {
      const [outer, inner] = [a.label(), a.label()];
      a.mov('edx', 7).bind(outer).mov('ecx', 9).bind(inner).add('rax', 'rcx').imul('rax', 'rax', 3).loop(inner);
      return a.dec('edx').jcc('ne', outer).hlt();
    },
  },
  'loops to the end of their counters': {
    regs: { rcx: 3 },
    code: (a) => {
      const [first, second, third] = [a.label(), a.label(), a.label()];
      a.bind(first).add('rax', 'rcx').loop(first);
      a.mov('ecx', 4).bind(second).cmp('rcx', 2).loopne(second);
      return a.mov('ecx', 4).bind(third).cmp('rcx', 'rcx').loope(third).hlt();
    },
  },
  'code that changes the next instruction': {
    code: (a) => {
      const patched = a.label();
      return a
        .mov({ base: 'rip', label: patched, size: 1 }, 0x43)
        .nop()
        .data([0x48, 0xff])
        .bind(patched)
        .data([0xc0])
        .mov('ebx', 1)
        .hlt();
    },
  },
  'popf and pushf': {
    code: (a) =>
      a
        .push(0x24_4ed5 & 0x7fff_ffff)
        .popf()
        .pushf()
        .pop('rax')
        .push(0x202)
        .popf()
        .hlt(),
  },
  'flags over sti and cli': { code: (a) => a.sti().pushf().pop('rax').cli().pushf().pop('rbx').stc().std().hlt() },
  'moves of segments, 64 bits': {
    ...WITH_IDT,
    code: (a) => a.mov('eax', 16).mov('ds', 'ax').mov('fs', 'ax').mov('ecx', 'ds').mov('ss', 'ax').hlt(),
  },
  'null segments, 64 bits': {
    ...WITH_IDT,
    code: (a) => a.xor('eax', 'eax').mov('ds', 'ax').mov('gs', 'ax').mov('ss', 'ax').push('rcx').hlt(),
  },
  'a selector beyond the table': { ...WITH_IDT, code: (a) => a.mov('eax', 0x80).mov('ds', 'ax').hlt() },
  'a segment with base and limit, 32 bits': {
    ...WITH_IDT_32,
    code: (a) => a.mov('eax', 24).mov('ds', 'ax').mov('ecx', { disp: 0xffc }).mov('edx', { disp: 0xffd }).hlt(),
  },
  'a null segment, 32 bits': {
    ...WITH_IDT_32,
    code: (a) => a.xor('eax', 'eax').mov('ds', 'ax').mov('ecx', { disp: 0x100 }).hlt(),
  },
  'code segment is not written, 32 bits': {
    ...WITH_IDT_32,
    code: (a) => a.data([0x2e]).mov({ disp: 0x5000 }, 'eax').hlt(),
  },
  'segments and offsets, 16 bits': {
    ...WITH_IVT,
    code: (a) =>
      a
        .mov('ax', 0x500)
        .mov('ds', 'ax')
        .mov('bx', 0x10)
        .mov({ base: 'bx', index: 'si' }, 'ax')
        .mov('cx', { base: 'bx' })
        .hlt(),
  },
  'beyond a segment, 16 bits': { ...WITH_IVT, code: (a) => a.mov('bx', 0xffff).mov('ax', { base: 'bx' }).hlt() },
  'stack wraps, 16 bits': {
    ...WITH_IVT,
    regs: { rsp: 0xabcd_0000 },
    code: (a) => a.push('ax').pop('bx').push('eax').hlt(),
  },
  'loops, 16 bits': {
    ...WITH_IVT,
    regs: { rcx: 0x7_0003 },
    code: (a) => {
      const again = a.label();
      return a.bind(again).add('ax', 'cx').loop(again).hlt();
    },
  },
  'strings, 16 bits': {
    ...WITH_IVT,
    regs: { rdi: 0x1_6000, rsi: 0x1_2000, rcx: 0x2_0005 },
    code: (a) => a.movs(16, 'rep').hlt(),
  },
  'strings, 32 bits': {
    ...WITH_IDT_32,
    regs: { rdi: 0x6000, rsi: 0x2000, rcx: 5 },
    code: (a) => a.movs(32, 'rep').std().mov('ecx', 3).lods(8, 'rep').hlt(),
  },
  'short counters and pointers in 64-bit code': {
    regs: { rdi: 0xffff_0000_6000n, rcx: 0xffff_0000_0003n },
    code: (a) => a.data([0x67, 0xf3, 0xaa]).hlt(),
  },
  'control registers': {
    code: (a) =>
      a
        .mov('rax', 'cr0')
        .mov('rcx', 'cr3')
        .mov('cr3', 'rcx')
        .mov('rdx', 'cr4')
        .mov('rsi', 'cr8')
        .mov('rdi', 'cr2')
        .hlt(),
  },
  'write protection': {
    code: (a) => a.mov('rax', 'cr0').or('rax', 0x1_0000).mov('cr0', 'rax').mov({ disp: 0x5000, size: 8 }, 1).hlt(),
  },
  'paging cannot be turned off in 64-bit code': {
    ...WITH_IDT,
    code: (a) => a.mov('rax', 'cr0').mov('ecx', 0x7fff_ffff).and('rax', 'rcx').mov('cr0', 'rax').hlt(),
  },
  'into protected mode': {
    ...WITH_IVT,
    code: (a) => a.mov('eax', 'cr0').or('al', 1).mov('cr0', 'eax').mov('ecx', 'cr0').hlt(),
  },
  'bases of fs and gs': {
    code: (a) => {
      a.mov('ecx', 0xc000_0100).mov('eax', 0x5000).xor('edx', 'edx').wrmsr().mov('ebx', 0x77);
      return a.data([0x64]).mov({ disp: 8 }, 'ebx').mov('rsi', { disp: 0x5008 }).rdmsr().hlt();
    },
  },
  'cpuid of nothing': { regs: { rax: 0xffff_ffff_0000_0001n, rcx: -1 }, code: (a) => a.cpuid().hlt() },
};
