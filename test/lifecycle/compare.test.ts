/** Every design with every technology: carried out somewhere, or refused for a reason that a kernel gave. */
import { beforeAll, describe, expect, it } from 'vitest';
import { defaultCandidates, type KernelCandidate, simulationCandidate } from '../../lib/kernel/candidates.ts';
import { type Cell, compare } from '../../lib/lifecycle/compare.ts';
import { DESIGNS } from '../../lib/lifecycle/designs/index.ts';
import { DESIGN_NAMES, TECHNOLOGY_NAMES } from '../../lib/lifecycle/pairs.ts';
import { TECHNOLOGIES } from '../../lib/lifecycle/technologies/index.ts';
import type { Step } from '../../lib/lifecycle/words.ts';

const SIZE = 0x1_0000;

describe('the comparison', () => {
  let cells: readonly Cell[] = [];
  const heard: Cell[] = [];
  beforeAll(async () => {
    ({ cells } = await compare({ kernels: defaultCandidates(), size: SIZE, onCell: (cell) => heard.push(cell) }));
  });

  it('has 42 cells, each design with each technology', () => {
    expect(cells.map(({ design, technology }) => `${design} ${technology}`)).toEqual(
      DESIGN_NAMES.flatMap((design) => TECHNOLOGY_NAMES.map((technology) => `${design} ${technology}`)),
    );
    expect(cells.length).toBe(42);
    expect(heard).toEqual(cells);
    expect([DESIGNS, TECHNOLOGIES].map((all) => all.map(({ name }) => name))).toEqual([DESIGN_NAMES, TECHNOLOGY_NAMES]);
  });

  it('no cell is without executed steps or a reason', () => {
    for (const cell of cells) {
      const at = `${cell.design} × ${cell.technology}`;
      if (cell.supported) expect([at, cell.steps.length > 30, cell.backend !== undefined]).toEqual([at, true, true]);
      else expect([at, cell.steps.length, cell.reason?.includes('simulation: ')]).toEqual([at, 0, true]);
    }
  });

  it('every technology is carried out under some design, every design with some technology', () => {
    const supported = cells.filter((cell) => cell.supported);
    expect(new Set(supported.map(({ technology }) => technology))).toEqual(new Set(TECHNOLOGY_NAMES));
    expect(new Set(supported.map(({ design }) => design))).toEqual(new Set(DESIGN_NAMES));
  });

  it('what is carried out comes out as design and technology promise, and the states follow each other', () => {
    for (const cell of cells.filter(({ supported }) => supported)) {
      const at = `${cell.design} × ${cell.technology}`;
      const wrong = cell.steps.filter(({ expected }) => !expected).map(({ name, detail }) => `${name}: ${detail}`);
      expect([at, wrong, cell.passed]).toEqual([at, [], true]);
      const states = ['none', ...cell.steps.map(({ to }) => to)].filter((state, i, all) => state !== all[i - 1]);
      const first = DESIGNS.find(({ name }) => name === cell.design)?.initialState;
      expect([at, states]).toEqual([at, ['none', first, 'bound', 'initialized', 'closed']]);
    }
  });

  it('the memory is told from its start to its end, in runs without gaps', () => {
    for (const { design, technology, steps } of cells) {
      for (const { name, memory } of steps) {
        if (memory === undefined) continue;
        let end = 0;
        for (const run of memory) {
          expect([design, technology, name, run.offset]).toEqual([design, technology, name, end]);
          expect(run.length % 4096 === 0 && run.length > 0).toBe(true);
          end += run.length;
        }
        expect([design, technology, name, end]).toEqual([design, technology, name, SIZE]);
      }
      if (steps.length > 0) expect(steps.filter(({ memory }) => memory !== undefined).length).toBe(steps.length - 1);
    }
  });

  /** The rows of the reference about who may access what, as far as steps show them: kernel facts, not outcomes of a run. */
  const step = (design: string, technology: string, name: string): Step | undefined =>
    cells
      .find((cell) => cell.design === design && cell.technology === technology)
      ?.steps.find((candidate) => candidate.name === name);

  it.each([
    ['inaccessible-memfd', 'sw-protected', 'host-access-before-bind', { outcome: 'refused', errno: 'EPERM' }],
    ['inaccessible-memfd', 'sw-protected', 'bind-to-second-vm', { outcome: 'ok', enforcedBy: 'nobody' }],
    ['register-converts', 'sw-protected', 'old-mapping-reads', { outcome: 'fault', fault: 'SIGBUS BUS_ADRERR' }],
    ['register-converts', 'sw-protected', 'guest-reads-non-empty', { outcome: 'ok' }],
    ['guest-memfd', 'tdx', 'host-maps-after-bind', { outcome: 'refused', errno: 'ENODEV', enforcedBy: 'kernel' }],
    ['unbound-first', 'tdx', 'host-maps-after-bind', { outcome: 'refused', errno: 'ENODEV', enforcedBy: 'kernel' }],
    ['unbound-first', 'sev', 'host-maps-after-bind', { outcome: 'ok', enforcedBy: 'nobody' }],
    ['guest-memfd', 'sev-snp', 'close-while-bound', { outcome: 'fault', fault: 'KVM_EXIT_MEMORY_FAULT EFAULT' }],
    ['guest-memfd-mmap', 'sev', 'io-into-private', { outcome: 'lost', enforcedBy: 'nobody' }],
    ['guest-memfd-mmap', 'sev-es', 'guest-reads-converted-range', { outcome: 'lost' }],
    ['unbound-first', 'pkvm', 'slot-reads-private', { outcome: 'fault', fault: 'SIGSEGV SEGV_ACCERR' }],
    // As on a real 7.3 with pKVM: test/testvm/arm64.test.ts.
    ['unbound-first', 'pkvm', 'vm-readv-private', { outcome: 'lost', enforcedBy: 'kernel' }],
    ['unbound-first', 'pkvm', 'guest-reads-taken-back', { outcome: 'ok' }],
    ['in-place', 'sw-protected', 'guest-reads-converted-range', { outcome: 'ok' }],
    ['in-place', 'sev-snp', 'guest-reads-converted-range', { outcome: 'lost' }],
    ['in-place', 'tdx', 'guest-reads-non-empty', { outcome: 'lost' }],
    ['in-place', 'sw-protected', 'convert-while-pinned', { outcome: 'refused', errno: 'EAGAIN', enforcedBy: 'kernel' }],
    ['guest-memfd', 'sw-protected', 'convert-while-pinned', { outcome: 'ok', enforcedBy: 'nobody' }],
    ['in-place', 'sw-protected', 'old-mapping-reads', { outcome: 'fault', fault: 'SIGBUS BUS_ADRERR' }],
  ])('%s × %s: %s', (design, technology, name, fact) => {
    expect(step(design, technology, name)).toMatchObject(fact);
  });

  it.each([
    ['inaccessible-memfd', 'none', /KVM_MEM_PRIVATE: EINVAL/],
    ['register-converts', 'none', /KVM_MEM_PRIVATE: EINVAL/],
    ['guest-memfd', 'none', /KVM_CAP_MEMORY_ATTRIBUTES of the VM is 0/],
    ['guest-memfd', 'sev', /KVM_CAP_MEMORY_ATTRIBUTES of the VM is 0/],
    ['guest-memfd-mmap', 'tdx', /without MMAP and INIT_SHARED/],
    ['guest-memfd-mmap', 'pkvm', /KVM_RUN .*EIO/],
    ['in-place', 'none', /KVM_SET_MEMORY_ATTRIBUTES2 .*EINVAL/],
  ])('%s × %s has no meaning: the kernel says why', (design, technology, why) => {
    const cell = cells.find((candidate) => candidate.design === design && candidate.technology === technology);
    expect(cell?.supported).toBe(false);
    expect(cell?.reason).toMatch(why);
  });
});

describe('compare()', () => {
  const only = { designs: ['unbound-first'], technologies: ['none'], size: SIZE };

  it('takes the first kernel that can, and asks no other', async () => {
    let asked = 0;
    const counted: KernelCandidate = {
      name: 'counted',
      open: (need) => {
        asked++;
        return simulationCandidate().open(need);
      },
    };
    const { cells } = await compare({ ...only, kernels: [simulationCandidate(), counted] });
    expect([cells[0]?.backend, asked]).toEqual(['sim', 0]);
  });

  it('says of each kernel why not', async () => {
    const { cells } = await compare({
      ...only,
      technologies: ['tdx'],
      designs: ['in-place', 'guest-memfd-mmap'],
      kernels: [
        { name: 'old', open: () => simulationCandidate().open({ arch: 'x64', technologies: [], patches: [] }) },
      ],
    });
    expect(cells.map(({ supported, reason }) => [supported, reason?.startsWith('old: technology tdx')])).toEqual([
      [false, true],
      [false, true],
    ]);
  });

  it('ends between steps when it is told to; unknown names are RangeErrors', async () => {
    const kernels = [simulationCandidate()];
    await expect(compare({ ...only, kernels, signal: AbortSignal.abort('enough') })).rejects.toBe('enough');
    await expect(compare({ ...only, kernels, designs: ['nonsense'] })).rejects.toThrow(RangeError);
  });

  it('is the same whoever runs it: real and simulated step by step, where both can', async () => {
    const essence = ({ name, from, to, outcome, errno, fault, enforcedBy, reported, memory }: Step) => ({
      ...{ name, from, to, outcome, errno, fault, enforcedBy, reported, memory },
    });
    const wanted = { designs: ['unbound-first', 'guest-memfd-mmap'], technologies: ['none'], size: SIZE };
    const best = await compare({ ...wanted, kernels: defaultCandidates() });
    const simulated = await compare({ ...wanted, kernels: [simulationCandidate()] });
    expect(best.cells.map(({ steps }) => steps.map(essence))).toEqual(
      simulated.cells.map(({ steps }) => steps.map(essence)),
    );
  });
});
