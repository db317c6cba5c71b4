/** Nothing above the waist knows which kernels there are: it is handed one. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

/** The simulation itself, what chooses and loads a kernel, and the package's own front. */
const MAY = /^(sim\/|kernel\/(select|native|native-kernel|candidates)\.ts$|kernel\/native\/|index\.ts$)/;
const KERNELS =
  /^import[^;]*? from '[^']*\/(sim\/[^']*|native\.ts|native\/[^']*)'|^export[^;]*? from '[^']*\/(sim\/[^']*|native\.ts)'/gm;

it('imports of the addon and of the simulation', () => {
  const all = readdirSync('lib', { recursive: true, encoding: 'utf8' });
  const files = all.filter((file) => file.endsWith('.ts') && !file.startsWith('sim/'));
  const importing = files.filter((file) => (readFileSync(`lib/${file}`, 'utf8').match(KERNELS) ?? []).length > 0);
  expect(importing.filter((file) => !MAY.test(file))).toEqual([]);
  // The pattern finds what it looks for.
  expect(importing).toContain('kernel/select.ts');
});
