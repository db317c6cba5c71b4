/**
 * Linux error numbers (x86-64 and arm64 share them), named as errno.h does. Not taken from Node: its table calls 95 ENOTSUP, lacks
 * 133, and on other platforms holds other numbers, while the simulated kernel answers with these everywhere.
 */
const TABLE: readonly (readonly [number: number, name: string, text: string])[] = [
  [1, 'EPERM', 'operation not permitted'],
  [2, 'ENOENT', 'no such file or directory'],
  [3, 'ESRCH', 'no such process'],
  [4, 'EINTR', 'interrupted'],
  [5, 'EIO', 'input/output error'],
  [6, 'ENXIO', 'no such device or address'],
  [7, 'E2BIG', 'argument list too long'],
  [8, 'ENOEXEC', 'exec format error'],
  [9, 'EBADF', 'bad file descriptor'],
  [10, 'ECHILD', 'no child processes'],
  [11, 'EAGAIN', 'resource temporarily unavailable'],
  [12, 'ENOMEM', 'out of memory, or over a memory limit'],
  [13, 'EACCES', 'permission denied'],
  [14, 'EFAULT', 'bad address'],
  [15, 'ENOTBLK', 'block device required'],
  [16, 'EBUSY', 'device or resource busy'],
  [17, 'EEXIST', 'exists already'],
  [18, 'EXDEV', 'crosses devices'],
  [19, 'ENODEV', 'no such device, or not for this one'],
  [20, 'ENOTDIR', 'not a directory'],
  [21, 'EISDIR', 'is a directory'],
  [22, 'EINVAL', 'invalid argument'],
  [23, 'ENFILE', 'too many open files in the system'],
  [24, 'EMFILE', 'too many open files in the process'],
  [25, 'ENOTTY', 'request unknown to this descriptor'],
  [26, 'ETXTBSY', 'file is in use'],
  [27, 'EFBIG', 'file too large'],
  [28, 'ENOSPC', 'no space left'],
  [29, 'ESPIPE', 'illegal seek'],
  [30, 'EROFS', 'read-only file system'],
  [31, 'EMLINK', 'too many links'],
  [32, 'EPIPE', 'broken pipe'],
  [33, 'EDOM', 'argument out of domain'],
  [34, 'ERANGE', 'result out of range'],
  [35, 'EDEADLK', 'deadlock avoided'],
  [36, 'ENAMETOOLONG', 'name too long'],
  [38, 'ENOSYS', 'system call not implemented'],
  [39, 'ENOTEMPTY', 'not empty'],
  [40, 'ELOOP', 'too many links followed'],
  [61, 'ENODATA', 'no data'],
  [62, 'ETIME', 'timer expired'],
  [71, 'EPROTO', 'protocol error'],
  [74, 'EBADMSG', 'bad message'],
  [75, 'EOVERFLOW', 'value too large'],
  [77, 'EBADFD', 'descriptor in bad state'],
  [84, 'EILSEQ', 'illegal sequence'],
  [90, 'EMSGSIZE', 'message too long'],
  [95, 'EOPNOTSUPP', 'operation not supported'],
  [105, 'ENOBUFS', 'no buffer space'],
  [110, 'ETIMEDOUT', 'timed out'],
  [114, 'EALREADY', 'already under way'],
  [117, 'EUCLEAN', 'structure needs cleaning'],
  [121, 'EREMOTEIO', 'remote input/output error'],
  [122, 'EDQUOT', 'quota exceeded'],
  [125, 'ECANCELED', 'cancelled'],
  [126, 'ENOKEY', 'required key not available'],
  [129, 'EKEYREJECTED', 'key rejected'],
  [131, 'ENOTRECOVERABLE', 'state not recoverable'],
  [132, 'ERFKILL', 'blocked by RF-kill'],
  [133, 'EHWPOISON', 'memory page has a hardware error'],
];

const byNumber = new Map(TABLE.map(([number, name, text]) => [number, { name, text }]));
const byName = new Map(TABLE.map(([number, name]) => [name, number]));

/** `EINVAL` for 22; `E<number>` for a number without a name here. */
export const errnoName = (errno: number): string => byNumber.get(errno)?.name ?? `E${errno}`;

/** A few words on the number, in lower case. */
export const errnoText = (errno: number): string => byNumber.get(errno)?.text ?? 'unknown error';

/** 22 for `EINVAL`. RangeError for a name that is not here. */
export function errnoOf(name: string): number {
  const number = byName.get(name);
  if (number === undefined) throw new RangeError(`no error number is called ${name}`);
  return number;
}
