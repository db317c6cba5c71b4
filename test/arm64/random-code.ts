/** Random arithmetic, executed by whatever processor the kernel has. */
import { a64 } from 'privmem/guest';
import { CODE, Machine, NOWHERE } from './machine.ts';
import { type Fact, hex, type Scenario } from './recording.ts';

/** xorshift32. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

const NO_ARITHMETIC =
  /^(b|bl|b\.cond|cbn?z|tbn?z|br|blr|ret|eret|mrs|msr|hvc|smc|svc|brk|wf|nop|yield|sev|dmb|dsb|isb|clrex|ld|st)/;
const FORMS = a64.INSTRUCTIONS.filter(({ mnemonic }) => mnemonic === 'bfm' || !NO_ARITHMETIC.test(mnemonic));
/** x28 and above are for the exit, and the stack pointer stays where it is. */
const FIRST_KEPT = 28;

function isUsable(word: number): boolean {
  const to = a64.decode(word)?.operands[0];
  return to !== undefined && (to.kind !== 'register' || (!to.sp && (to.index < FIRST_KEPT || to.index === 31)));
}

function randomWord(next: () => number): number {
  for (;;) {
    const form = FORMS[next() % FORMS.length];
    const word = form === undefined ? 0 : (form.value | (next() & ~form.mask)) >>> 0;
    if (isUsable(word)) return word;
  }
}

const INTERESTING = [0n, 1n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n, (1n << 32n) - 1n, 1n << 31n, 0x7fff_ffffn];

function randomValue(next: () => number): bigint {
  if (next() % 3 === 0) return INTERESTING[next() % INTERESTING.length] ?? 0n;
  return (BigInt(next()) << 32n) | BigInt(next());
}

/** @param programs of 64 instructions each, so that what is different can be found. */
export function randomCode(seed: number, programs: number): Scenario {
  return (scene) => {
    const machine = new Machine(scene);
    const next = generator(seed);
    for (let n = 0; n < programs; n++) {
      const words = Array.from({ length: 64 }, () => randomWord(next));
      const x = Array.from({ length: FIRST_KEPT }, () => randomValue(next));
      machine.load((a) => {
        for (const word of words) a.word(word);
        return a.mrs('x29', 'nzcv').mov('x30', NOWHERE).str('x29', { base: 'x30' });
      });
      machine.vcpu.arm64.setCore({ x, pc: BigInt(CODE) });
      const end = machine.runFact();
      const core = machine.vcpu.arm64.getCore();
      const facts: Fact = { end, x: core.x.map(hex) };
      scene.note(`seed ${seed}, program ${n}`, facts);
    }
  };
}
