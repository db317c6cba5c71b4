/** Patch series that no release has, each in the revision that is imitated, and the release that it is imitated on. */

/**
 * - `inaccessible-memfd-v5`: fd-based private memory of March 2022: MFD_INACCESSIBLE, KVM_MEM_PRIVATE, fallocate converts
 * - `register-converts`: the alternative of that discussion, never posted: an ordinary memfd becomes inaccessible when a memslot registers it
 * - `in-place-v8`: conversion inside one guest_memfd, under review in June 2026: KVM_SET_MEMORY_ATTRIBUTES2
 */
export type SimPatch = 'inaccessible-memfd-v5' | 'register-converts' | 'in-place-v8';

/**
 * The 2022 series need a kernel in which their numbers mean nothing else: since 6.3 flag 8 of memfd_create is MFD_NOEXEC_SEAL, since 6.8 slot flag
 * 4 is KVM_MEM_GUEST_MEMFD.
 */
export const PATCH_BASE: Readonly<Record<SimPatch, '6.1' | '7.3'>> = {
  'inaccessible-memfd-v5': '6.1',
  'register-converts': '6.1',
  'in-place-v8': '7.3',
};
