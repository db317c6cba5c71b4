/** All mistakes that can be planted. */
import { FILE_FAULTS } from './file-faults.ts';
import type { PlantedFault } from './planting.ts';

export const FAULTS: readonly PlantedFault[] = [...FILE_FAULTS];
