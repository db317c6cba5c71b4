/**
 * Which request an ioctl stands for, for traces: the call has its number only, which several may share. Said beside the call, so that it
 * reaches a traced kernel behind others that pass calls on.
 */
import type { Ioctl } from '../uapi/registry.ts';

let current: Ioctl | undefined;

/** From here to the end of the ioctl, which is synchronous; undefined ends it. */
export function handOver(request: Ioctl | undefined): void {
  current = request;
}

/** The request that the ioctl under way was handed over as; undefined when it was a number. */
export const handedOver = (): Ioctl | undefined => current;
