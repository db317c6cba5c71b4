/** Conversion of a page that a device, or whoever does I/O, still holds: the page is pinned by vmsplice while the guest wants it private. */
import { Pipe } from '../memory/pipe.ts';
import { convert } from './intents-guest.ts';
import type { StepRunner } from './second-file.ts';
import { PAGE, type Stage } from './stage.ts';

export async function playPinned(stage: Stage, step: StepRunner): Promise<void> {
  // Not the last page, which the host may have written, and none that is looked at later.
  const range = { offset: stage.converted.offset + stage.converted.length, length: PAGE };
  await step('convert-while-pinned', 'any', async () => {
    await convert(stage, 'shared', range);
    const memfile = stage.needMemfile();
    const mapping = memfile.sharedMap(range);
    const pipe = Pipe.create(mapping.sys);
    try {
      mapping.fill(1, { length: 8 });
      pipe.vmspliceFrom(mapping);
      // A mapping alone holds nothing: the pin is what is meant.
      mapping.close();
      const { detail } = await convert(stage, 'private', range);
      return {
        detail: `a page that I/O still holds becomes private, and nobody minds: ${detail}`,
        enforcedBy: 'nobody',
      };
    } finally {
      pipe.close();
      mapping.close();
    }
  });
}
