/** Copies between a shared mapping of a memfd and ordinary memory: fault-safe, and by what the language has for a view. */
import { type Mapping, Memfd, openKernel } from 'privmem';
import { type Contestant, type Item, mustBe, timed } from '../item.ts';

const AIM = 1.15;
/** Below this the call itself is what costs. */
const AIM_FROM = 64 * 1024;
const KIB = 1024;
const MIB = 1024 * KIB;
const FAULT_LENGTH = 3;
const SIZES: readonly (readonly [label: string, bytes: number])[] = [
  ['8B', 8],
  ['4KiB', 4 * KIB],
  ['64KiB', 64 * KIB],
  ['1MiB', MIB],
  ['64MiB', 64 * MIB],
];

type Loop = (mapping: Mapping, plain: Uint8Array) => (ops: number) => void;

/** A contestant that gets a mapping and an array of the same size, both touched before. */
function onMapping(name: string, size: number, loop: Loop, judged = true): Contestant {
  return {
    name,
    ...(judged && size >= AIM_FROM ? { aim: AIM } : {}),
    open: () => {
      const file = Memfd.create(openKernel(), { size });
      const mapping = file.map();
      file.close();
      // Not from the pool that small buffers share, whose alignment is anything.
      const plain = Buffer.from(new ArrayBuffer(size)).fill(1);
      mapping.fill(2);
      return { batch: timed(loop(mapping, plain)), close: () => mapping.close() };
    },
  };
}

const outByAddon: Loop = ({ sys: { kernel }, hva }, plain) => {
  const fault = new BigInt64Array(FAULT_LENGTH);
  return (ops) => {
    let sum = 0;
    for (let i = 0; i < ops; i++) sum += kernel.copyOut(hva, plain, fault);
    mustBe(sum, ops * plain.length, 'copyOut');
  };
};

const inByAddon: Loop = ({ sys: { kernel }, hva }, plain) => {
  const fault = new BigInt64Array(FAULT_LENGTH);
  return (ops) => {
    let sum = 0;
    for (let i = 0; i < ops; i++) sum += kernel.copyIn(hva, plain, fault);
    mustBe(sum, ops * plain.length, 'copyIn');
  };
};

const fillByAddon: Loop = ({ sys: { kernel }, hva, length }) => {
  const fault = new BigInt64Array(FAULT_LENGTH);
  return (ops) => {
    let sum = 0;
    for (let i = 0; i < ops; i++) sum += kernel.fill(hva, length, i & 0xff, fault);
    mustBe(sum, ops * length, 'fill');
  };
};

const readInto: Loop = (mapping, plain) => (ops) => {
  for (let i = 0; i < ops; i++) mapping.readInto(0, plain);
};

const write: Loop = (mapping, plain) => (ops) => {
  for (let i = 0; i < ops; i++) mapping.write(0, plain);
};

const fill: Loop = (mapping) => (ops) => {
  for (let i = 0; i < ops; i++) mapping.fill(i & 0xff);
};

const viewOf = (mapping: Mapping): Buffer => {
  const { buffer, byteOffset, length } = mapping.unsafeView();
  return Buffer.from(buffer, byteOffset, length);
};

const setFromView: Loop = (mapping, plain) => {
  const view = viewOf(mapping);
  return (ops) => {
    for (let i = 0; i < ops; i++) plain.set(view);
  };
};

const setView: Loop = (mapping, plain) => {
  const view = viewOf(mapping);
  return (ops) => {
    for (let i = 0; i < ops; i++) view.set(plain);
  };
};

const bufferCopyOut: Loop = (mapping, plain) => {
  const view = viewOf(mapping);
  return (ops) => {
    let sum = 0;
    for (let i = 0; i < ops; i++) sum += view.copy(plain);
    mustBe(sum, ops * plain.length, 'Buffer.copy');
  };
};

const fillView: Loop = (mapping) => {
  const view: Uint8Array = mapping.unsafeView();
  return (ops) => {
    for (let i = 0; i < ops; i++) view.fill(i & 0xff);
  };
};

export const copyItems = (): Item[] =>
  SIZES.flatMap(([label, size]): Item[] => [
    {
      id: `copy-out-${label}`,
      title: `copy ${label} out of a mapping`,
      reference: ['copy-out', size],
      contestants: [
        onMapping('addon', size, outByAddon),
        onMapping('Mapping.readInto', size, readInto),
        onMapping('TypedArray.set, unsafeView', size, setFromView, false),
        onMapping('Buffer.copy, unsafeView', size, bufferCopyOut, false),
      ],
    },
    {
      id: `copy-in-${label}`,
      title: `copy ${label} into a mapping`,
      reference: ['copy-in', size],
      contestants: [
        onMapping('addon', size, inByAddon),
        onMapping('Mapping.write', size, write),
        onMapping('TypedArray.set, unsafeView', size, setView, false),
      ],
    },
    {
      id: `fill-${label}`,
      title: `fill ${label} of a mapping`,
      reference: ['fill', size],
      contestants: [
        onMapping('addon', size, fillByAddon),
        onMapping('Mapping.fill', size, fill),
        onMapping('TypedArray.fill, unsafeView', size, fillView, false),
      ],
    },
  ]);
