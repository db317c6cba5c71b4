/** What elsewhere.ts starts: makes the calls and gives their results back. */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { selectKernel } from '../kernel/select.ts';
import type { RemoteCall, RemoteOrder } from './elsewhere.ts';

const { kernel } = selectKernel({ backend: 'kvm' }).sys;

function make({ call, args }: RemoteCall, fd: number): number {
  const [first = 0, second = 0, third = 0] = args;
  if (call === 'fallocate') return kernel.fallocate(fd, Number(first), Number(second), Number(third));
  const arg = typeof second === 'string' ? Uint8Array.from(Buffer.from(second, 'hex')) : second;
  return kernel.ioctl(fd, Number(first), arg);
}

const carryOut = ({ fds, calls }: RemoteOrder): readonly number[] =>
  calls.map((call) => make(call, fds[call.on] ?? -1));

if (isMainThread) process.stdout.write(JSON.stringify(carryOut(JSON.parse(process.argv[2] ?? '{}') as RemoteOrder)));
else parentPort?.postMessage(carryOut(workerData as RemoteOrder));
