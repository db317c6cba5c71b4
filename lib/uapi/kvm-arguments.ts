/** Arguments that are passed by address but are no struct in C. */
import { s32, u64 } from './fields.ts';
import { struct } from './layout.ts';

export const u64_argument = struct('__u64', { value: u64 }, { cType: '__u64', cNames: { value: '' } });
export const int_argument = struct('int', { value: s32 }, { cType: 'int', cNames: { value: '' } });
