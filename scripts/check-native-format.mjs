// Checks that native/ is formatted as .clang-format says. Without clang-format this is a notice, except where CI=true.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const files = ['native', 'native/testvm'].flatMap((directory) =>
  readdirSync(path.join(root, directory))
    .filter((name) => /\.(cc|c|h)$/.test(name))
    .map((name) => path.join(directory, name)),
);

const result = spawnSync('clang-format', ['--dry-run', '-Werror', ...files], { cwd: root, stdio: 'inherit' });
if (result.error?.code === 'ENOENT') {
  const required = process.env.CI === 'true';
  console.error(`clang-format is not installed: the format of native/ ${required ? 'must be' : 'was not'} checked`);
  process.exit(required ? 1 : 0);
}
if (result.error) throw result.error;
process.exit(result.status ?? 1);
