/**
 * When the addon has to look whether its handlers of SIGBUS and SIGSEGV are still in place. Asking the kernel takes longer than a copy of
 * some KiB, so it is asked once in each turn of the event loop, and again when a listener of this process replaces them in between.
 */
import { isMainThread } from 'node:worker_threads';
import type { Addon } from './addon.ts';

/** To be called before each access. */
export function watchHandlers({ functions, frame }: Addon): () => void {
  const forget = (): void => frame.forgetHandlers();
  // Node puts its own handler in place before it tells its listeners, and takes it away before it tells those.
  const changed = (event: string | symbol): void => {
    if (event === 'SIGBUS' || event === 'SIGSEGV') functions.handlersChanged();
  };
  let listening = false;
  return () => {
    if (frame.handlersSeen) return;
    if (!listening) {
      listening = true;
      // Only there do listeners of signals have an effect on the process; the addon tells the other threads.
      if (isMainThread) process.on('newListener', changed).on('removeListener', changed);
    }
    queueMicrotask(forget);
  };
}
