/** How initial contents get in, and how that is declared complete: each design and technology has its own way. */
import type { Mapping } from '../memory/mapping.ts';
import { initialBytes } from './intents-guest.ts';
import type { StepResult } from './ledger.ts';
import { PRIVATE_GPA, type Stage } from './stage.ts';

/** Puts the initial contents in. `keep` gets the mapping that they went through, as soon as it is there; whoever gets it closes it. */
export function fillInitial(stage: Stage, keep: (loader: Mapping) => void): StepResult {
  const { design, technology, size } = stage;
  const memfile = stage.needMemfile();
  const all = { offset: 0, length: size };
  const loader = design.fillsBeforeBind ? memfile.hostMap(all) : memfile.sharedMap(all);
  keep(loader);
  loader.write(0, initialBytes(stage));
  const own = memfile.sharedFile === memfile.file || design.fillsBeforeBind;
  const written = `initial contents written through a mapping${own ? '' : ' of the shared side'}`;
  switch (technology.initialContents) {
    case 'encrypted-in-place':
      stage.needGuarded().load(stage.needVcpu(), { gpa: PRIVATE_GPA, length: size, hva: loader.hva });
      stage.map.set(all, 'private');
      return {
        detail: `${written}, and encrypted where they lie (REG_REGION, LAUNCH_UPDATE_DATA); ${stage.heldText()}`,
      };
    case 'copied-in':
      if (design.fillsBeforeBind) return { detail: `${written}; ${stage.heldText()}` };
      return { detail: `${written}, and ${copyIn(stage, loader)}` };
    default:
      return { detail: `${written}; ${stage.heldText()}` };
  }
}

/** What a file holds when it is bound is no part of a launch: what is to be measured, the host has to give once more. */
export function loadCopy(stage: Stage): StepResult {
  const copy = stage.needMemfile().sharedMap({ offset: 0, length: stage.size });
  try {
    copy.write(0, initialBytes(stage));
    return { detail: `the host gives the contents once more; ${copyIn(stage, copy)}` };
  } finally {
    copy.close();
  }
}

/** The launch takes all contents into private pages. */
function copyIn(stage: Stage, source: Mapping): string {
  const { design, size } = stage;
  const memfile = stage.needMemfile();
  const all = { offset: 0, length: size };
  if (memfile.setState !== undefined) memfile.setState(all, 'private');
  else if (!design.fillsBeforeBind) memfile.file.allocate(0, size);
  stage.map.set(all, 'private');
  const hva = design.convertsInPlace ? 0 : source.hva;
  stage.needGuarded().load(stage.needVcpu(), { gpa: PRIVATE_GPA, length: size, hva });
  if (design.convertsInPlace) return `made part of the launch where they lie; ${stage.heldText()}`;
  // The guest would find the host's copy there as soon as it shares a page.
  memfile.sharedFile.punchHole(0, size);
  return `copied into private pages by the launch, the host's copy discarded; ${stage.heldText()}`;
}

/** The third operation. The design's rules come first, since the end of a launch cannot be taken back. */
export function declareComplete(stage: Stage): StepResult {
  const { detail, enforcedBy } = stage.needMemfile().complete();
  const finished = stage.needGuarded().finish(stage.needVcpu());
  if (stage.design.convertsInPlace) stage.map.set({ offset: 0, length: stage.size }, 'private');
  return { detail: `${finished}; ${detail}`, enforcedBy };
}
