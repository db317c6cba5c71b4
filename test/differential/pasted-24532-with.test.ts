import { agree } from './agree.ts';

import { FAULTS } from './faults.ts';
FAULTS.find(({ name }) => name === 'protection is not looked at')?.plant();

agree('files', [
]);
