/** Random programs: what the real vCPU computes and leaves in memory, against an evaluation of the same operations here. */
import fc from 'fast-check';
import { afterAll, expect, it } from 'vitest';
import { addressPattern, type Value, type x64 } from '../../lib/guest/index.ts';
import { DATA, Guest } from '../support/guest.ts';
import { describeKvm } from '../support/kvm.ts';
import {
  Evaluator,
  MASK,
  OPERATIONS,
  type Operand,
  RELATIONS,
  ROOM,
  SIZES,
  type Statement,
  VARIABLES,
} from './program-model.ts';

/** Writes the statements as a guest program. */
function emit(
  g: x64.X64Builder,
  variables: readonly ReturnType<x64.X64Builder['variable']>[],
  statements: readonly Statement[],
): void {
  const at = (index: number) => {
    const found = variables[index];
    if (found === undefined) throw new RangeError(`no variable ${index}`);
    return found;
  };
  const operand = (o: Operand): bigint | Value => ('number' in o ? o.number : at(o.variable));
  for (const s of statements) {
    if (s.kind === 'load') at(s.to).set(g.load(DATA + s.at, { size: s.size }));
    else if (s.kind === 'store') g.store(DATA + s.at, operand(s.value), { size: s.size });
    else if (s.kind === 'compute') at(s.to).set(at(s.left)[s.operation](operand(s.right)));
    else if (s.kind === 'fill') g.fill(DATA + s.at, s.length, s.byte);
    else if (s.kind === 'pattern') g.fill(DATA + s.at, 8 * s.words, addressPattern(s.seed));
    else if (s.kind === 'copy') g.copy(DATA + s.to, DATA + s.from, s.length);
    else if (s.kind === 'checksum') at(s.to).set(g.checksum(DATA + s.at, 8 * s.words));
    else if (s.kind === 'fetchAdd') at(s.to).set(g.fetchAdd(DATA + 8 * s.word, operand(s.value)));
    else if (s.kind === 'exchange')
      at(s.to).set(g.compareExchange(DATA + 8 * s.word, operand(s.expected), operand(s.desired)));
    else if (s.kind === 'repeat') g.repeat(s.count, () => emit(g, variables, s.body));
    else
      g.when(
        at(s.left)[s.relation](operand(s.right)),
        () => emit(g, variables, s.yes),
        () => emit(g, variables, s.no),
      );
  }
}

const u64 = fc.oneof(
  fc.bigInt({ min: 0n, max: MASK }),
  fc.bigInt({ min: 0n, max: 3n }),
  fc.constantFrom(MASK, 1n << 63n, 1n << 32n),
);
const variable = fc.integer({ min: 0, max: VARIABLES - 1 });
const operand: fc.Arbitrary<Operand> = fc.oneof(fc.record({ number: u64 }), fc.record({ variable }));
const size = fc.constantFrom(...SIZES);
const at = fc.integer({ min: 0, max: ROOM - 8 });
const word = fc.integer({ min: 0, max: ROOM / 8 - 1 });
const half = ROOM / 2;
const simple: fc.Arbitrary<Statement> = fc.oneof(
  fc.record({ kind: fc.constant('load' as const), to: variable, at, size }),
  fc.record({ kind: fc.constant('store' as const), at, value: operand, size }),
  fc.record({
    kind: fc.constant('compute' as const),
    to: variable,
    operation: fc.constantFrom(...OPERATIONS),
    left: variable,
    right: operand,
  }),
  fc.record({
    kind: fc.constant('fill' as const),
    at: fc.integer({ min: 0, max: half }),
    length: fc.integer({ min: 1, max: half }),
    byte: fc.integer({ min: 0, max: 255 }),
  }),
  fc.record({
    kind: fc.constant('pattern' as const),
    at: fc.integer({ min: 0, max: half }),
    words: fc.integer({ min: 1, max: half / 8 }),
    seed: u64,
  }),
  fc.record({
    kind: fc.constant('copy' as const),
    to: fc.integer({ min: 0, max: half / 2 }),
    from: fc.constant(half),
    length: fc.integer({ min: 1, max: half / 2 }),
  }),
  fc.record({
    kind: fc.constant('checksum' as const),
    to: variable,
    at: fc.integer({ min: 0, max: half }),
    words: fc.integer({ min: 1, max: half / 8 }),
  }),
  fc.record({ kind: fc.constant('fetchAdd' as const), to: variable, word, value: operand }),
  fc.record({ kind: fc.constant('exchange' as const), to: variable, word, expected: operand, desired: operand }),
);
const body = fc.array(simple, { maxLength: 5 });
const statement: fc.Arbitrary<Statement> = fc.oneof(
  { weight: 6, arbitrary: simple },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('when' as const),
      left: variable,
      relation: fc.constantFrom(...RELATIONS),
      right: operand,
      yes: body,
      no: body,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('repeat' as const), count: fc.integer({ min: 0, max: 4 }), body }),
  },
);

describeKvm(
  'random guest programs',
  ({ kvm }) => {
    const guest = new Guest(kvm);
    afterAll(() => guest.close());

    it('do on the vCPU what they say', () => {
      // A failure prints the seed; `fc.assert(…, { seed, path })` repeats it.
      fc.assert(
        fc.property(
          fc.uint8Array({ minLength: ROOM, maxLength: ROOM }),
          fc.array(statement, { minLength: 1, maxLength: 12 }),
          (initial, statements) => {
            const model = new Evaluator(initial.slice());
            model.run(statements);
            guest.memory.write(DATA, initial);
            const { reports } = guest.run((g) => {
              const variables = model.variables.map((_, i) => g.variable(i));
              emit(g, variables, statements);
              for (const [i, value] of variables.entries()) g.report(i, value);
            });
            expect([...reports.values()]).toEqual(model.variables);
            expect(guest.memory.read(DATA, ROOM)).toEqual(model.bytes);
          },
        ),
        { numRuns: 300, interruptAfterTimeLimit: 8000 },
      );
    });
  },
  { arch: 'x64' },
);
