/** Mapping and unmapping a memfd whose pages nobody touched, with and without a view of it. */
import { Memfd, openKernel } from 'privmem';
import { MAP, PROT } from 'privmem/uapi';
import { type Contestant, type Item, mustBe, timed } from '../item.ts';

const SIZE = 2 * 1024 * 1024;
/** A view's address space is given back when its buffer is collected, which takes a turn of the event loop. */
const MOST_VIEWS = 200;

type Loop = (file: Memfd) => (ops: number) => void;

const onFile = (name: string, loop: Loop, mostOps?: number): Contestant => ({
  name,
  ...(mostOps === undefined ? {} : { mostOps }),
  open: () => {
    const file = Memfd.create(openKernel(), { size: SIZE });
    return { batch: timed(loop(file)), close: () => file.close() };
  },
});

const mapByAddon: Loop = ({ sys: { kernel }, fd }) => {
  const { PROT_READ, PROT_WRITE } = PROT.value;
  const prot = PROT_READ | PROT_WRITE;
  const flags = MAP.value.MAP_SHARED;
  return (ops) => {
    let sum = 0;
    for (let i = 0; i < ops; i++) sum += kernel.munmap(kernel.mmap(0, SIZE, prot, flags, fd, 0), SIZE);
    mustBe(sum, 0, 'munmap');
  };
};

const map: Loop = (file) => (ops) => {
  for (let i = 0; i < ops; i++) file.map({ length: SIZE }).close();
};

const mapAndView: Loop = (file) => (ops) => {
  for (let i = 0; i < ops; i++) {
    const mapping = file.map({ length: SIZE });
    mustBe(mapping.unsafeView().length, SIZE, 'unsafeView');
    mapping.close();
  }
};

const viewAgain: Loop = (file) => {
  const mapping = file.map();
  return (ops) => {
    for (let i = 0; i < ops; i++) mustBe(mapping.unsafeView().length, SIZE, 'unsafeView');
  };
};

export const mappingItems = (): Item[] => [
  {
    id: 'map',
    title: 'map and unmap 2MiB of a memfd',
    reference: ['map', SIZE],
    contestants: [
      onFile('addon', mapByAddon),
      onFile('Memfd.map, close', map),
      onFile('Memfd.map, unsafeView, close', mapAndView, MOST_VIEWS),
    ],
  },
  { id: 'view', title: 'view of what is mapped', contestants: [onFile('Mapping.unsafeView', viewAgain)] },
];
