/** Mistakes that the simulated KVM could have. */

import { MemoryAttributes } from '../../lib/sim/kvm/attributes.ts';
import { DeviceFile } from '../../lib/sim/kvm/device-file.ts';
import { DirtyLog } from '../../lib/sim/kvm/dirty-log.ts';
import { GmemBindings } from '../../lib/sim/kvm/gmem-bindings.ts';
import { GuestMemory } from '../../lib/sim/kvm/guest-memory.ts';

import { MemslotTable } from '../../lib/sim/kvm/memslot-table.ts';
import { RunPage } from '../../lib/sim/kvm/run-page.ts';
import { Memslot } from '../../lib/sim/kvm/slot.ts';
import { Vm } from '../../lib/sim/kvm/vm.ts';
import { VmFile } from '../../lib/sim/kvm/vm-file.ts';
import { X64Machine } from '../../lib/sim/kvm/x64/machine.ts';
import { X64Cpu } from '../../lib/sim/x64/index.ts';
import type { Host } from './pair.ts';
import { getter, method, type PlantedFault } from './planting.ts';

const EEXIST = 17;
const EINVAL = 22;
const ENOTTY = 25;

type Planted = Omit<PlantedFault, 'suite'>;

const onHardware = ({ kvm }: Host): boolean => kvm?.hardware === true;
const table = MemslotTable.prototype;
const machine = X64Machine.prototype;
const memory = GuestMemory.prototype;

/** Replaces an answer of KVM_SET_USER_MEMORY_REGION. */
const answered = (change: (result: number, isDelete: boolean) => number): (() => void) =>
  method(
    table,
    'set',
    (set) =>
      function (this: MemslotTable, request) {
        return change(set.call(this, request), request.size === 0n);
      },
  );

export const IN_KVM: readonly Planted[] = [
  { name: 'an overlap of slots is EINVAL', plant: () => answered((result) => (result === -EEXIST ? -EINVAL : result)) },
  {
    name: 'a slot that is not there can be deleted',
    plant: () => answered((result, isDelete) => (isDelete && result === -EINVAL ? 0 : result)),
  },
  {
    name: 'slots lie one page higher',
    plant: () =>
      method(
        table,
        'at',
        (at) =>
          function (this: MemslotTable, gfn) {
            return at.call(this, gfn - 1);
          },
      ),
  },
  {
    name: 'a slot that moves loses its log',
    plant: () =>
      method(
        table,
        'set',
        (set) =>
          function (this: MemslotTable, request) {
            const slot = this.byId(request.slot);
            const before = slot?.gfn;
            const result = set.call(this, request);
            if (slot !== undefined && slot.gfn !== before) this.logOf(slot)?.take();
            return result;
          },
      ),
  },
  { name: 'guests write to read-only slots', plant: () => getter(Memslot.prototype, 'readOnly', false) },
  { name: 'writes are not logged', plant: () => method(DirtyLog.prototype, 'mark', () => () => undefined) },
  {
    name: 'a log that was taken stays as it is',
    plant: () =>
      method(
        DirtyLog.prototype,
        'take',
        (take) =>
          function (this: DirtyLog) {
            const taken = take.call(this);
            for (let page = 0; page < 8 * taken.bitmap.length; page++) {
              if (((taken.bitmap[page >> 3] ?? 0) & (1 << (page & 7))) !== 0) this.mark(page);
            }
            return taken;
          },
      ),
  },
  {
    name: 'clearing by hand takes out nothing',
    plant: () => method(DirtyLog.prototype, 'clear', () => () => false),
  },
  { name: 'a log never begins full', plant: () => method(DirtyLog.prototype, 'markAll', () => () => undefined) },
  {
    name: 'a log that is cleared by hand is emptied by reading',
    plant: () =>
      method(
        DirtyLog.prototype,
        'look',
        (look) =>
          function (this: DirtyLog) {
            const bitmap = look.call(this);
            this.clear(0, bitmap);
            return bitmap;
          },
      ),
  },
  {
    name: 'a page of a file is bound twice',
    plant: () => method(GmemBindings.prototype, 'isBound', () => () => false),
  },
  { name: 'a deleted slot stays bound', plant: () => method(GmemBindings.prototype, 'unbind', () => () => undefined) },
  {
    name: 'a vCPU does not notice what became of slots',
    plant: () => method(memory, 'changed', () => () => undefined),
  },
  { name: 'slots lie anywhere in the address space', plant: () => getter(machine, 'userLimit', 2n ** 64n) },
  { name: 'guests have any gpa', plant: () => getter(machine, 'gfnLimit', 2 ** 52) },
  { name: 'two vCPUs have one id', plant: () => method(Vm.prototype, 'reserveVcpu', () => () => 0) },
  { name: 'immediate_exit is not looked at', plant: () => getter(RunPage.prototype, 'immediateExit', false) },
  {
    name: 'sizes of guest_memfds are rounded up',
    plant: () =>
      method(
        Vm.prototype,
        'createGuestMemfd',
        (create) =>
          function (this: Vm, size, flags) {
            return create.call(this, (size + 4095n) & ~4095n, flags);
          },
      ),
  },
  {
    name: 'a VM answers EINVAL to what it does not know',
    plant: () =>
      method(
        VmFile.prototype,
        'ioctl',
        (ioctl) =>
          function (this: VmFile, request, arg) {
            const result = ioctl.call(this, request, arg);
            return result === -ENOTTY ? -EINVAL : result;
          },
      ),
  },
  {
    name: 'the type of a VM is cut to 32 bits',
    plant: () =>
      method(
        DeviceFile.prototype,
        'ioctl',
        (ioctl) =>
          function (this: DeviceFile, request, arg) {
            return ioctl.call(this, request, arg & 0xffff_ffffn);
          },
      ),
  },
  {
    name: 'an answer keeps only its lowest byte',
    plant: () =>
      method(
        X64Cpu.prototype,
        'complete',
        (complete) =>
          function (this: X64Cpu, data) {
            complete.call(this, data.slice().fill(0, 1));
          },
      ),
  },
  {
    name: 'the result of a hypercall is not preset',
    needs: onHardware,
    plant: () => getter(machine, 'presetsHypercallResult', false),
  },
];

export const IN_PROTECTED: readonly Planted[] = [
  {
    name: 'conversions change nothing',
    plant: () => method(MemoryAttributes.prototype, 'isPrivate', () => () => false),
  },
  {
    name: 'a conversion covers one page more',
    plant: () =>
      method(
        MemoryAttributes.prototype,
        'set',
        (set) =>
          function (this: MemoryAttributes, request) {
            const result = set.call(this, request);
            return result === 0 ? set.call(this, { ...request, size: request.size + 4096n }) : result;
          },
      ),
  },
  {
    name: 'pre-fault finds everything',
    plant: () =>
      method(
        memory,
        'fault',
        (fault) =>
          function (this: GuestMemory, gfn, access) {
            const found = fault.call(this, gfn, access);
            return access === 'read' && 'kind' in found && found.kind === 'mmio' ? new Uint8Array(4096) : found;
          },
      ),
  },
  {
    name: 'a fault names the wrong side',
    plant: () =>
      method(
        memory,
        'page',
        (page) =>
          function (this: GuestMemory, gfn, access) {
            const found = page.call(this, gfn, access);
            return 'kind' in found && found.kind === 'memory-fault' ? { ...found, private: !found.private } : found;
          },
      ),
  },
  {
    name: 'MMIO that was converted is private at once',
    plant: () =>
      method(
        memory,
        'page',
        () =>
          function (this: GuestMemory, gfn, access) {
            return this.fault(gfn, access);
          },
      ),
  },
  {
    name: 'a slot begins at the start of its file',
    plant: () =>
      method(
        GmemBindings.prototype,
        'page',
        (page) =>
          function (this: GmemBindings, _filePage, write) {
            return page.call(this, 0, write);
          },
      ),
  },
  {
    name: 'a closed file serves its slots',
    plant: () => method(GmemBindings.prototype, 'release', () => () => undefined),
  },
  {
    name: 'the page tables keep what was converted',
    plant: () => method(memory, 'changed', () => () => undefined),
  },
];
