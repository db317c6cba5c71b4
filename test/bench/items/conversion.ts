/** 1 GiB of guest memory converted piece by piece, to private and back: attributes, then a hole in the side that was left. */
import { Kvm, openKernel, type Vm } from 'privmem';
import { GuestMemory, type Policy } from 'privmem/machine';
import { KVM_VM_TYPE } from 'privmem/uapi';
import { type Contestant, type Item, timed } from '../item.ts';

const GPA = 2 ** 32;
const WHOLE = 2 ** 30;
const WARM_OPS = 20_000;
const WARM_MS = 30_000;
const SIZES: readonly (readonly [label: string, bytes: number])[] = [
  ['4KiB', 4096],
  ['2MiB', 2 * 1024 * 1024],
];

type Piece = (offset: number, toPrivate: boolean) => void;

/** Goes through the whole, again and again, as C does: one pass to private, the next one back. */
function passes(size: number, piece: Piece): (ops: number) => void {
  let at = 0;
  let toPrivate = true;
  return (ops) => {
    for (let i = 0; i < ops; i++) {
      piece(at, toPrivate);
      at += size;
      if (at + size <= WHOLE) continue;
      at = 0;
      toPrivate = !toPrivate;
    }
  };
}

/** Where a call takes a millisecond, as under emulation, batches are over before the engine has compiled anything. */
function warmUp(loop: (ops: number) => void): void {
  const end = performance.now() + WARM_MS;
  for (let ops = 0; ops < WARM_OPS && performance.now() < end; ops += 100) loop(100);
}

const onMemory = (name: string, size: number, make: (vm: Vm, memory: GuestMemory) => Piece): Contestant => ({
  name,
  open: () => {
    const kvm = Kvm.open(openKernel({ backend: 'kvm' }));
    try {
      const vm = kvm.createVm(KVM_VM_TYPE.value.KVM_X86_SW_PROTECTED_VM);
      const memory = new GuestMemory(vm);
      memory.addRam({ name: 'ram', gpa: GPA, size: WHOLE, shared: 'memfd', private: true, initial: 'shared' });
      const close = (): void => {
        memory.close();
        kvm.close();
      };
      const loop = passes(size, make(vm, memory));
      warmUp(loop);
      return { batch: timed(loop), close };
    } catch (error) {
      kvm.close();
      throw error;
    }
  },
});

const byOwners =
  (size: number, punch: boolean) =>
  (vm: Vm, memory: GuestMemory): Piece => {
    const { shared, privateSide } = memory.region('ram');
    return (offset, toPrivate) => {
      if (toPrivate) vm.setPrivate(GPA + offset, size);
      else vm.setShared(GPA + offset, size);
      if (punch) (toPrivate ? shared.part?.file : privateSide?.file)?.punchHole(offset, size);
    };
  };

const byMemory =
  (size: number, policy: Policy) =>
  (_vm: Vm, memory: GuestMemory): Piece =>
  (offset, toPrivate) => {
    memory.convert({ gpa: GPA + offset, size }, toPrivate ? 'private' : 'shared', policy);
  };

export const conversionItems = (): Item[] =>
  SIZES.flatMap(([label, size]): Item[] => [
    {
      id: `convert-${label}`,
      title: `convert ${label} of 1 GiB and punch the side that was left`,
      reference: ['convert', size],
      contestants: [
        onMemory('Vm.setPrivate, punchHole', size, byOwners(size, true)),
        onMemory('GuestMemory.convert', size, byMemory(size, 'discard-left')),
      ],
    },
    {
      id: `convert-keep-${label}`,
      title: `convert ${label} of 1 GiB, attributes alone`,
      reference: ['convert-keep', size],
      contestants: [
        onMemory('Vm.setPrivate', size, byOwners(size, false)),
        onMemory("GuestMemory.convert, 'keep'", size, byMemory(size, 'keep')),
      ],
    },
  ]);
