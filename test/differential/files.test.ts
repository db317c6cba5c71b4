/**
 * The simulation against this host's kernel: the same random commands on both, the same outcomes, the same things to be seen after each of
 * them. PRIVMEM_SEED repeats a run, PRIVMEM_COMMANDS makes it longer; main.ts is for long ones.
 */
import { testSuite } from './test-suite.ts';

testSuite('files', 'files and memory are those of the real kernel', 3000);
