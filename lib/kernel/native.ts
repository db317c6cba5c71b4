/** The real kernel: the addon's functions, as they are. */
import os from 'node:os';
import load from '../../native/load.cjs';
import type { Kernel } from './kernel.ts';

let loaded: Kernel | undefined;

/** Loads the addon at the first call. Throws an Error that says what was tried when it cannot be loaded. */
export function loadNative(): Kernel {
  loaded ??= create();
  return loaded;
}

function create(): Kernel {
  if (process.platform !== 'linux') {
    throw new Error(`the addon makes Linux system calls, and this is ${process.platform}`);
  }
  if (process.arch !== 'x64' && process.arch !== 'arm64') {
    throw new Error(`the addon knows x64 and arm64, and this is ${process.arch}`);
  }
  const calls = load() as Omit<Kernel, 'backend' | 'arch' | 'release'>;
  return { backend: 'kvm', arch: process.arch, release: os.release(), ...calls };
}
