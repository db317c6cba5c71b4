/** What elsewhere.ts starts: makes the calls and gives their results back. */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { selectKernel } from '../kernel/select.ts';
import { MAP, PROT } from '../uapi/index.ts';
import type { RemoteCall, RemoteOrder } from './elsewhere.ts';

const { PROT_READ, PROT_WRITE } = PROT.value;
const { MAP_SHARED } = MAP.value;
const { kernel } = selectKernel({ backend: 'kvm' }).sys;

function make({ call, args }: RemoteCall, fd: number): number {
  const [first = 0, second = 0, third = 0] = args;
  if (call === 'fallocate') return kernel.fallocate(fd, Number(first), Number(second), Number(third));
  if (call === 'advise') {
    const length = Number(third);
    const at = kernel.mmap(0, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, Number(second));
    return at < 0 ? at : kernel.madvise(at, length, Number(first));
  }
  const arg = typeof second === 'string' ? Uint8Array.from(Buffer.from(second, 'hex')) : second;
  return kernel.ioctl(fd, Number(first), arg);
}

const carryOut = ({ fds, calls }: RemoteOrder): readonly number[] =>
  calls.map((call) => make(call, fds[call.on] ?? -1));

if (isMainThread) process.stdout.write(JSON.stringify(carryOut(JSON.parse(process.argv[2] ?? '{}') as RemoteOrder)));
else parentPort?.postMessage(carryOut(workerData as RemoteOrder));
