// Calls on open files. Offsets and lengths are signed as in the kernel, so that it can refuse negative ones itself.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "calls.h"
#include "napi_util.h"

namespace privmem {

// The C library and kernel headers of long-lived distributions predate cachestat(2).
static constexpr long kSysCachestat = 451;

napi_value callFtruncate(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  int32_t fd;
  int64_t length;
  if (!readInt32(env, args.at[0], "fd", &fd) || !readInt64(env, args.at[1], "length", &length)) return nullptr;
  return give(env, orErrno(ftruncate(fd, length)));
}

napi_value callFallocate(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  int32_t fd;
  uint32_t mode;
  int64_t offset, length;
  if (!readInt32(env, args.at[0], "fd", &fd) || !readFlags(env, args.at[1], "mode", &mode) ||
      !readInt64(env, args.at[2], "offset", &offset) || !readInt64(env, args.at[3], "length", &length)) {
    return nullptr;
  }
  return give(env, orErrno(fallocate(fd, static_cast<int>(mode), offset, length)));
}

napi_value callFstat(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  int32_t fd;
  void* data;
  if (!readInt32(env, args.at[0], "fd", &fd) || !readInts64(env, args.at[1], "out", napi_bigint64_array, 8, &data)) {
    return nullptr;
  }
  struct stat file;
  struct statfs system;
  if (fstat(fd, &file) == -1 || fstatfs(fd, &system) == -1) return give(env, -errno);
  int64_t* out = static_cast<int64_t*>(data);
  out[0] = static_cast<int64_t>(file.st_dev);
  out[1] = static_cast<int64_t>(file.st_ino);
  out[2] = file.st_mode;
  out[3] = static_cast<int64_t>(file.st_nlink);
  out[4] = file.st_size;
  out[5] = file.st_blksize;
  out[6] = file.st_blocks;
  out[7] = static_cast<int64_t>(system.f_type);
  return give(env, 0);
}

napi_value callLseek(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  int32_t fd;
  int64_t offset;
  uint32_t whence;
  void* out;
  if (!readInt32(env, args.at[0], "fd", &fd) || !readInt64(env, args.at[1], "offset", &offset) ||
      !readFlags(env, args.at[2], "whence", &whence) ||
      !readInts64(env, args.at[3], "out", napi_bigint64_array, 1, &out)) {
    return nullptr;
  }
  const int64_t result = lseek(fd, offset, static_cast<int>(whence));
  if (result == -1) return give(env, -errno);
  *static_cast<int64_t*>(out) = result;
  return give(env, 0);
}

napi_value callRead(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  int32_t fd;
  Bytes into;
  if (!readInt32(env, args.at[0], "fd", &fd) || !readBytes(env, args.at[1], "into", &into)) return nullptr;
  return give(env, orErrno(read(fd, into.data, into.length)));
}

napi_value callWrite(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  int32_t fd;
  Bytes from;
  if (!readInt32(env, args.at[0], "fd", &fd) || !readBytes(env, args.at[1], "from", &from)) return nullptr;
  return give(env, orErrno(write(fd, from.data, from.length)));
}

napi_value callPread(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  int32_t fd;
  Bytes into;
  int64_t offset;
  if (!readInt32(env, args.at[0], "fd", &fd) || !readBytes(env, args.at[1], "into", &into) ||
      !readInt64(env, args.at[2], "offset", &offset)) {
    return nullptr;
  }
  return give(env, orErrno(pread(fd, into.data, into.length, offset)));
}

napi_value callPwrite(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  int32_t fd;
  Bytes from;
  int64_t offset;
  if (!readInt32(env, args.at[0], "fd", &fd) || !readBytes(env, args.at[1], "from", &from) ||
      !readInt64(env, args.at[2], "offset", &offset)) {
    return nullptr;
  }
  return give(env, orErrno(pwrite(fd, from.data, from.length, offset)));
}

napi_value callCachestat(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  int32_t fd;
  int64_t range[2];
  void* out;
  if (!readInt32(env, args.at[0], "fd", &fd) || !readInt64(env, args.at[1], "offset", &range[0]) ||
      !readInt64(env, args.at[2], "length", &range[1]) ||
      !readInts64(env, args.at[3], "out", napi_biguint64_array, 5, &out)) {
    return nullptr;
  }
  return give(env, orErrno(syscall(kSysCachestat, fd, range, out, 0)));
}

}  // namespace privmem
