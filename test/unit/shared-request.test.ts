import { expect, test } from 'vitest';
import { declarePrivateMemoryRegion, findIoctl, KVM_SET_USER_MEMORY_REGION } from '../../lib/uapi/index.ts';

test('of two requests with one number, the one whose struct the argument can hold is meant', () => {
  const extended = declarePrivateMemoryRegion();
  const { request } = KVM_SET_USER_MEMORY_REGION;
  expect(extended.request).toBe(request);
  expect(findIoctl(request, 'vm', undefined, new Uint8Array(32))?.name).toBe('KVM_SET_USER_MEMORY_REGION');
  expect(findIoctl(request, 'vm', undefined, new Uint8Array(64 + 32))?.name).toBe(extended.name);
  // Without an argument the last declaration stands.
  expect(findIoctl(request, 'vm')?.name).toBe(extended.name);
});
