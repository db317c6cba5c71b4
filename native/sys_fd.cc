// Descriptors: made, closed, and what can be done to the files behind them.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "calls.h"
#include "registry.h"

namespace privmem {

namespace {

// By number, because C libraries of the oldest systems that we run on do not name them.
constexpr long kMemfdSecret = 447;
constexpr long kCachestat = 451;
constexpr unsigned kMfdCloexec = 1;

napi_value Made(Args& args, long fd) {
  const napi_value result = SysResult(args.env(), fd);
  if (fd >= 0) Registry::Get().AddFd(static_cast<int>(fd), args.state());
  return result;
}

}  // namespace

napi_value Open(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::string path;
  unsigned flags, mode;
  if (!args.Text(0, "path", &path) || !args.Bits32(1, "flags", &flags) || !args.Bits32(2, "mode", &mode))
    return nullptr;
  return Made(args, open(path.c_str(), static_cast<int>(flags) | O_CLOEXEC, mode));
}

napi_value Close(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int fd;
  if (!args.Int32(0, "fd", &fd)) return nullptr;
  Registry& registry = Registry::Get();
  std::unique_lock<std::recursive_mutex> lock(registry.mutex());
  if (!registry.OwnsFd(fd)) {
    if (fcntl(fd, F_GETFD) < 0) return Int(env, -errno);
    ThrowRange(env, "fd " + std::to_string(fd) + " was not opened by privmem; adopt it first");
    return nullptr;
  }
  registry.DropFd(fd);
  // Destroying a VM takes time; others need not wait for it.
  lock.unlock();
  // Never repeated: Linux releases the number even when close is interrupted.
  return SysResult(env, close(fd));
}

napi_value Adopt(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int fd;
  if (!args.Int32(0, "fd", &fd)) return nullptr;
  const int flags = fcntl(fd, F_GETFD);
  if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0) return Int(env, -errno);
  Registry::Get().AddFd(fd, args.state());
  return Int(env, 0);
}

napi_value Fcntl(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int fd, command;
  unsigned arg;
  if (!args.Int32(0, "fd", &fd) || !args.Int32(1, "command", &command) || !args.Bits32(2, "arg", &arg))
    return nullptr;
  constexpr int kAddSeals = 1033, kGetSeals = 1034;
  switch (command) {
    case F_DUPFD_CLOEXEC:
      return Made(args, fcntl(fd, command, static_cast<int>(arg)));
    case F_GETFD:
    case F_SETFD:
    case F_GETFL:
    case F_SETFL:
    case kAddSeals:
    case kGetSeals:
      return SysResult(env, fcntl(fd, command, static_cast<int>(arg)));
    default:
      // Other commands take pointers, which a number cannot safely stand for.
      ThrowRange(
          env,
          "command must be F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS or F_GET_SEALS");
      return nullptr;
  }
}

napi_value MemfdCreate(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::string name;
  unsigned flags;
  if (!args.Text(0, "name", &name) || !args.Bits32(1, "flags", &flags)) return nullptr;
  return Made(args, syscall(SYS_memfd_create, name.c_str(), flags | kMfdCloexec));
}

napi_value MemfdSecret(napi_env env, napi_callback_info info) {
  Args args(env, info);
  unsigned flags;
  if (!args.Bits32(0, "flags", &flags)) return nullptr;
  return Made(args, syscall(kMemfdSecret, flags | O_CLOEXEC));
}

napi_value Eventfd(napi_env env, napi_callback_info info) {
  Args args(env, info);
  unsigned initial, flags;
  if (!args.Bits32(0, "initial", &initial) || !args.Bits32(1, "flags", &flags)) return nullptr;
  return Made(args, eventfd(initial, static_cast<int>(flags) | EFD_CLOEXEC));
}

napi_value Ftruncate(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int fd;
  int64_t length;
  if (!args.Int32(0, "fd", &fd) || !args.S64(1, "length", &length)) return nullptr;
  return SysResult(env, ftruncate(fd, length));
}

napi_value Fallocate(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int fd;
  unsigned mode;
  int64_t offset, length;
  if (!args.Int32(0, "fd", &fd) || !args.Bits32(1, "mode", &mode) || !args.S64(2, "offset", &offset) ||
      !args.S64(3, "length", &length)) {
    return nullptr;
  }
  return SysResult(env, fallocate(fd, static_cast<int>(mode), offset, length));
}

napi_value Fstat(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int fd;
  uint64_t* out;
  if (!args.Int32(0, "fd", &fd) || !args.Out64(1, "out", napi_bigint64_array, 8, &out)) return nullptr;
  struct stat st;
  struct statfs fs;
  if (fstat(fd, &st) != 0) return Int(env, -errno);
  if (fstatfs(fd, &fs) != 0) fs.f_type = 0;
  const uint64_t values[] = {static_cast<uint64_t>(st.st_dev),    static_cast<uint64_t>(st.st_ino),
                             static_cast<uint64_t>(st.st_mode),   static_cast<uint64_t>(st.st_nlink),
                             static_cast<uint64_t>(st.st_size),   static_cast<uint64_t>(st.st_blksize),
                             static_cast<uint64_t>(st.st_blocks), static_cast<uint64_t>(fs.f_type)};
  for (size_t i = 0; i < 8; i++) out[i] = values[i];
  return Int(env, 0);
}

napi_value Lseek(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int fd, whence;
  int64_t offset;
  uint64_t* out;
  if (!args.Int32(0, "fd", &fd) || !args.S64(1, "offset", &offset) || !args.Int32(2, "whence", &whence) ||
      !args.Out64(3, "out", napi_bigint64_array, 1, &out)) {
    return nullptr;
  }
  const off_t at = lseek(fd, offset, whence);
  if (at < 0) return Int(env, -errno);
  out[0] = static_cast<uint64_t>(at);
  return Int(env, 0);
}

namespace {

// read, write, pread and pwrite: the same arguments, with an offset for the last two.
template <typename Call>
napi_value Transfer(napi_env env, napi_callback_info info, bool positioned, Call call) {
  Args args(env, info);
  int fd;
  uint8_t* data;
  size_t length;
  int64_t offset = 0;
  if (!args.Int32(0, "fd", &fd) || !args.Bytes(1, "buffer", &data, &length)) return nullptr;
  if (positioned && !args.S64(2, "offset", &offset)) return nullptr;
  return SysResult(env, call(fd, data, length, offset));
}

}  // namespace

napi_value Read(napi_env env, napi_callback_info info) {
  return Transfer(env, info, false, [](int fd, uint8_t* p, size_t n, int64_t) { return read(fd, p, n); });
}

napi_value Write(napi_env env, napi_callback_info info) {
  return Transfer(env, info, false, [](int fd, uint8_t* p, size_t n, int64_t) { return write(fd, p, n); });
}

napi_value Pread(napi_env env, napi_callback_info info) {
  return Transfer(env, info, true,
                  [](int fd, uint8_t* p, size_t n, int64_t o) { return pread(fd, p, n, o); });
}

napi_value Pwrite(napi_env env, napi_callback_info info) {
  return Transfer(env, info, true,
                  [](int fd, uint8_t* p, size_t n, int64_t o) { return pwrite(fd, p, n, o); });
}

napi_value Cachestat(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int fd;
  uint64_t range[2];
  uint64_t* out;
  if (!args.Int32(0, "fd", &fd) || !args.U64(1, "offset", &range[0]) || !args.U64(2, "length", &range[1]) ||
      !args.Out64(3, "out", napi_biguint64_array, 5, &out)) {
    return nullptr;
  }
  return SysResult(env, syscall(kCachestat, fd, range, out, 0));
}

}  // namespace privmem
