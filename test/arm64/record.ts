/** Records the scenarios on this machine's kernel: `node record.js nvhe|protected SEED`; one line of JSON on stdout. */
import { openKernel } from 'privmem';
import { record } from './recording.ts';
import { scenarios } from './scenarios.ts';

const [mode = 'nvhe', seed = '1'] = process.argv.slice(2);
const chosen = scenarios({ pkvm: mode === 'protected', seed: Number(seed) });
const recording = record(openKernel({ backend: 'kvm' }), chosen, (name) => process.stderr.write(`${name}\n`));
process.stdout.write(`${JSON.stringify(recording)}\n`);
