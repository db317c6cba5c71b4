/** Error numbers as the simulated kernel answers them: negated at the return, as in the kernel's own sources. */
import { errnoOf } from '../kernel/errno.ts';

export const EPERM = errnoOf('EPERM');
export const ENOENT = errnoOf('ENOENT');
export const EINTR = errnoOf('EINTR');
export const EIO = errnoOf('EIO');
export const ENXIO = errnoOf('ENXIO');
export const E2BIG = errnoOf('E2BIG');
export const EBADF = errnoOf('EBADF');
export const EAGAIN = errnoOf('EAGAIN');
export const ENOMEM = errnoOf('ENOMEM');
export const EACCES = errnoOf('EACCES');
export const EFAULT = errnoOf('EFAULT');
export const EBUSY = errnoOf('EBUSY');
export const EEXIST = errnoOf('EEXIST');
export const ENODEV = errnoOf('ENODEV');
export const ENOTDIR = errnoOf('ENOTDIR');
export const EINVAL = errnoOf('EINVAL');
export const EMFILE = errnoOf('EMFILE');
export const ENOTTY = errnoOf('ENOTTY');
export const EFBIG = errnoOf('EFBIG');
export const ENOSPC = errnoOf('ENOSPC');
export const ESPIPE = errnoOf('ESPIPE');
export const ENAMETOOLONG = errnoOf('ENAMETOOLONG');
export const ENOSYS = errnoOf('ENOSYS');
export const EOVERFLOW = errnoOf('EOVERFLOW');
export const EOPNOTSUPP = errnoOf('EOPNOTSUPP');
export const EHWPOISON = errnoOf('EHWPOISON');
