/** The measurements that firmware makes of a launch, computed from the same inputs. */
export * from './sev.ts';
export * from './snp.ts';
export * from './tdx.ts';
export * from './vmsa.ts';
