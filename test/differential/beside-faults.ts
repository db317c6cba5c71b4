/** Mistakes that the simulated vCPU could make beside the program. */

import { RunPage } from '../../lib/sim/kvm/run-page.ts';
import { BackgroundRun } from '../../lib/sim/kvm/runner.ts';
import { getter, method, type PlantedFault } from './planting.ts';

type Planted = Omit<PlantedFault, 'suite'>;

export const BESIDE: readonly Planted[] = [
  {
    name: 'a run that is abandoned ends as one that came through',
    plant: () =>
      method(
        BackgroundRun.prototype,
        'abandon',
        () =>
          function (this: BackgroundRun) {
            this.result ??= 0;
          },
      ),
  },
  { name: 'a kick before the run is forgotten', plant: () => getter(RunPage.prototype, 'immediateExit', false) },
];
