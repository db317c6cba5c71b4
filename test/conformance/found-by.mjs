/** What the run of a suite on a kernel with a planted fault says about the fault. */

const DEATH = /Kernel panic|Oops\b|\bBUG: |general protection fault/;

/** Scenarios that `--kmsg` marked as started before the kernel complained, in order. */
const started = (console) =>
  [...console.slice(0, DEATH.exec(console)?.index).matchAll(/privmem: ([^\s/]+(?:\/[^\s/]+)+)/g)].map(
    ([, name]) => name,
  );

/** The names of those that failed. */
export function failures(result) {
  const { scenarios } = JSON.parse(result.stdout.slice(result.stdout.indexOf('{')));
  return scenarios.filter(({ outcome }) => outcome === 'failed').map(({ name }) => name);
}

/**
 * The scenario that found the fault, or undefined. A kernel that dies counts when a scenario was under way: one that does not boot was found by
 * nobody. `result`: document of `privmem vm --json`. `counts`: whether a scenario may find it, which one that fails on the sound kernel may not.
 */
export function foundBy(result, counts) {
  if (result.outcome === 'panicked' || result.outcome === 'oopsed') {
    const name = started(result.console).at(-1);
    if (name === undefined) throw new Error(`the kernel ${result.outcome} before any scenario began`);
    return counts(name) ? `${name} (the kernel ${result.outcome})` : undefined;
  }
  return failures(result).find(counts);
}
