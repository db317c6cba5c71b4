import { configDefaults, defineConfig } from 'vitest/config';

// Minutes, not seconds: run by `npm run test:differential`.
const long = ['test/differential/faults.test.ts', 'test/testvm/build.test.ts'];

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...(process.env.PRIVMEM_LONG === undefined ? long : [])],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
});
