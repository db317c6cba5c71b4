import { agree } from './agree.ts';

agree('files', [
]);
