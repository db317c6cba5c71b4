/**
 * The real kernel. Here arguments are checked; the addon makes the calls, and refuses what would harm this process.
 */
import os from 'node:os';
import load from '../../native/load.cjs';
import type { Kernel } from './kernel.ts';
import { Addon, type Functions } from './native/addon.ts';
import { fileCalls } from './native/files.ts';
import { memoryCalls } from './native/memory.ts';
import { transferCalls } from './native/transfers.ts';
import { vcpuCalls } from './native/vcpus.ts';

let loaded: Kernel | undefined;

/** Loads the addon at the first call. Throws an Error that says what was tried when it cannot be loaded. */
export function loadNative(): Kernel {
  loaded ??= create();
  return loaded;
}

function create(): Kernel {
  const { platform, arch } = process;
  if (platform !== 'linux') throw new Error(`the addon makes Linux system calls, and this is ${platform}`);
  if (arch !== 'x64' && arch !== 'arm64') throw new Error(`the addon knows x64 and arm64, and this is ${arch}`);
  const functions = load() as Partial<Functions>;
  if (!Array.isArray(functions.names) || !(functions.frame instanceof ArrayBuffer)) {
    throw new Error('the addon is of another version than this package; build it again: npm run build:native');
  }
  const addon = new Addon(functions as Functions);
  const files = { ...fileCalls(addon, arch), ...transferCalls(addon) };
  return { backend: 'kvm', arch, release: os.release(), ...files, ...memoryCalls(addon), ...vcpuCalls(addon) };
}
