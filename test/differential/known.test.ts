/** What random commands found once, cut down: as they were printed. */
import { agree } from './agree.ts';

agree(
  'kvm',
  [
    { do: 'hostProtect', page: 20, pages: 1, prot: 0 },
    { do: 'address', on: 'vcpu', index: 0, request: 0x4068aea3, at: 81928 },
  ],
  'KVM_ENABLE_CAP of a vCPU reads its argument first',
);

agree(
  'cpu',
  [
    {
      do: 'code',
      mode: 64,
      bytes: 'b8130000008ee08ce1',
      text: 'mov eax, 0x13; mov fs, ax; mov ecx, fs',
      hides: 0,
      answer: 0n,
    },
  ],
  'a selector asks for more than its descriptor gives',
);

agree('cpu', [{ do: 'msr', index: 0x175, value: 0x8000000000000000n }], 'the stack of sysenter is made canonical');

agree(
  'cpu',
  [
    {
      do: 'cpuid',
      leaves: [{ function: 0x80000001, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0x4000000 }],
      room: 0,
    },
    {
      do: 'code',
      mode: 64,
      bytes: 'c704250010300083000000',
      text: 'mov dword ptr [0x301000], 0x83',
      hides: 16,
      answer: 0n,
    },
  ],
  'CPUID cannot bring pages of 1 GiB that KVM does not offer',
);

agree('cpu', [{ do: 'sregs', field: 'cr8', value: 0x80000031n }], 'a CR8 with other bits is ignored');

agree(
  'protected',
  [
    { do: 'guest', access: 'read', gpa: 0x10c0, size: 1, value: 1, answer: 2, pause: false, serve: true },
    { do: 'attributes', vm: 0, address: 0x1000n, size: 0x1000n, attributes: 8n, flags: 0n },
    { do: 'guest', access: 'write', gpa: 0x1000, size: 4, value: 3, answer: 0, pause: false, serve: true },
  ],
  'MMIO that becomes private stays MMIO',
);

agree(
  'kvm',
  [
    {
      ...{ do: 'region', vm: 0, v2: true, slot: 4, flags: 1, gpa: 0xf000n, size: 0x4000n, hva: 0xe000n },
      ...{ absolute: false, file: 3, offset: 0x8000n },
    },
    { do: 'guest', access: 'read', gpa: 0x1206c, size: 1, value: 1, answer: 2, pause: false, serve: true },
    { do: 'dirtyLog', vm: 0, slot: 4 },
  ],
  'a read of a writable page dirties it where guests run on a processor',
);

agree(
  'files',
  [
    { do: 'gmem', slot: 1, size: 0x1000n, flags: 3n },
    { do: 'mmap', at: 0x100000003000n, length: 0x2000n, prot: 3, flags: 19, slot: 1, offset: 0n },
    { do: 'madvise', at: 0x100000003000n, length: 0x4000n, advice: 102 },
    { do: 'mmap', map: 3, at: 0x8000n, length: 0x1000n, prot: 3, flags: 1, slot: 1, offset: 0n },
    { do: 'copyOut', at: { map: 3, offset: 0 }, length: 5 },
    { do: 'fallocate', slot: 1, mode: 3, offset: 0n, length: 0x4000n },
  ],
  'a hole in a guest_memfd takes the guard region of a page that is mapped elsewhere',
);

agree(
  'cpu',
  [
    {
      ...{ do: 'code', mode: 32, bytes: 'b8080000008ed88cd9', hides: 0, answer: 0x9ed6061e9ed6061en },
      text: 'mov eax, 0x8; mov ds, ax; mov ecx, ds',
    },
    {
      ...{ do: 'code', mode: 32, bytes: '19836585d69d', hides: 0, answer: 0xefa42822efa42822n },
      text: 'sbb dword ptr [ebx-0x62297a9b], eax',
    },
  ],
  'the emulator reads before it finds that a segment cannot be written',
);

agree(
  'cpu',
  [
    {
      ...{ do: 'code', mode: 64, bytes: 'b8000030000f22d80f20d9', hides: 0, answer: 0n },
      text: 'mov eax, 0x300000; mov cr3, rax; mov rcx, cr3',
    },
    { do: 'code', mode: 64, bytes: '671911', text: 'sbb dword ptr [ecx], edx', hides: 0, answer: 0n },
  ],
  'the emulator walks page tables anew for each access',
);

agree(
  'cpu',
  [
    { do: 'start', mode: 64, tables: true },
    { do: 'code', mode: 64, bytes: '66d17fe6', text: 'sar word ptr [rdi-0x1a], 0x1', hides: 16, answer: 0n },
  ],
  'what is read to be written faults as a write',
);

agree(
  'files',
  [
    { do: 'memfd', slot: 0, name: 'memory', flags: 2 },
    { do: 'lseek', slot: 0, offset: 0x7fffffffffffffffn, whence: 1 },
    { do: 'memfd', slot: 1, name: 'memory', flags: 2 },
    { do: 'copyRange', slot: 1, to: 0, length: 0x1000n, flags: 0 },
  ],
  'nothing is copied to where nothing can be, which is EFBIG',
);

agree(
  'files',
  [
    { do: 'pipe', slot: 1, other: 2, flags: 0x4800 },
    { do: 'fchmod', slot: 2, mode: 0xffffffff },
    { do: 'fchown', slot: 1 },
  ],
  'a change of owner takes the set-id bits of a pipe, too',
);

agree(
  'kvm',
  [
    { do: 'address', on: 'vm', index: 0, request: 0x4008_ae48, at: 0x1_8ff8 },
    { do: 'deviceAttr', on: 'vcpu', index: 0, call: 'has', group: 0, attr: 0n, to: 'buffer' },
    { do: 'deviceAttr', on: 'vcpu', index: 0, call: 'set', group: 0, attr: 0n, to: 'buffer' },
    { do: 'deviceAttr', on: 'vcpu', index: 0, call: 'get', group: 1, attr: 1n, to: 'guard' },
  ],
  'a vCPU has attributes, and an identity map comes too late for it',
);

agree(
  'cpu',
  [
    { do: 'start', mode: 64, tables: true },
    // push 0x38; push 1 << 56; retf: the offset lies outside the 32-bit segment, which is entered all the same.
    {
      do: 'code',
      mode: 64,
      bytes: '48b838000000000000005048b800000000000000015048ca0800',
      text: 'retf',
      hides: 0,
      answer: 0n,
    },
    { do: 'start', mode: 64, tables: true },
    // A bit above the width of physical addresses in the entry of 0xe0000000, and a jump there.
    { do: 'code', mode: 64, bytes: '810c250438300000010000', text: 'or [0x303804], 0x100', hides: 16, answer: 0n },
    { do: 'code', mode: 64, bytes: 'b8230100e0ffe0', text: 'jmp', hides: 0, answer: 0n },
    { do: 'start', mode: 64, tables: true },
    { do: 'code', mode: 64, bytes: 'b8230100e0ffe0', text: 'jmp', hides: 0, answer: 0n },
  ],
  'far returns out of a segment, reserved bits of page tables, code where no memory is',
);
