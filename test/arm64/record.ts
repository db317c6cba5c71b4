/** Records the scenarios on this machine's kernel: `node record.js nvhe|protected SEED [NAME…]`; one line of JSON on stdout. */
import { openKernel } from 'privmem';
import { record } from './recording.ts';
import { scenarios } from './scenarios.ts';

const [mode = 'nvhe', seed = '1', ...only] = process.argv.slice(2);
const all = scenarios({ pkvm: mode === 'protected', seed: Number(seed) });
const chosen = Object.fromEntries(Object.entries(all).filter(([name]) => only.length === 0 || only.includes(name)));
const recording = record(openKernel({ backend: 'kvm' }), chosen, (name) => process.stderr.write(`${name}\n`));
process.stdout.write(`${JSON.stringify(recording)}\n`);
