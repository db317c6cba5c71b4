/** Where test kernels and what belongs to them are kept. */
import { homedir } from 'node:os';
import { join } from 'node:path';

/** `$XDG_CACHE_HOME/privmem`, or `~/.cache/privmem`. */
export function cacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  const base = env.XDG_CACHE_HOME;
  // The specification says to ignore relative paths.
  return join(base?.startsWith('/') ? base : join(homedir(), '.cache'), 'privmem');
}
