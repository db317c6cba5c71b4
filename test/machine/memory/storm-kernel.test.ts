/** The storm on real private memory, in a test kernel: `privmem vm --build 7.3`. */
import { onKernel } from '../../../lib/testing/on-kernel.ts';
import { KERNEL } from '../../support/testvm.ts';

onKernel(KERNEL, new URL('./storm.test.ts', import.meta.url), {
  vitestArgs: ['-t', 'the real kernel'],
  cpus: 4,
  timeout: 1_800_000,
});
