// Descriptors: made, closed, and what can be done to the files behind them.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "calls.h"
#include "simple_call.h"

namespace privmem {

namespace {

// By number, because C libraries of the oldest systems that we run on do not name them.
constexpr long kMemfdSecret = 447;
constexpr long kCachestat = 451;
constexpr unsigned kMfdCloexec = 1;
constexpr int kAddSeals = 1033, kGetSeals = 1034;

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

napi_value Open(napi_env env, napi_callback_info info) {
  const auto call = [](const std::string& path, unsigned flags, unsigned mode) {
    return open(path.c_str(), static_cast<int>(flags) | O_CLOEXEC, mode);
  };
  return MakingCall(env, info, call, Text{"path"}, Bits{"flags"}, Bits{"mode"});
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
  std::tuple<int, int, unsigned> values;
  if (!ReadAll(args, &values, Fd{}, Fd{"command"}, Bits{"arg"})) return nullptr;
  const auto [fd, command, arg] = values;
  switch (command) {
    case F_DUPFD_CLOEXEC:
    case F_GETFD:
    case F_SETFD:
    case F_GETFL:
    case F_SETFL:
    case kAddSeals:
    case kGetSeals:
      break;
    default:
      // Other commands take pointers, which a number cannot safely stand for.
      ThrowRange(env,
                 "command must be F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS or F_GET_SEALS");
      return nullptr;
  }
  const int result = fcntl(fd, command, static_cast<int>(arg));
  const napi_value value = SysResult(env, result);
  if (command == F_DUPFD_CLOEXEC && result >= 0) Registry::Get().AddFd(result, args.state());
  return value;
}

napi_value MemfdCreate(napi_env env, napi_callback_info info) {
  const auto call = [](const std::string& name, unsigned flags) {
    return syscall(SYS_memfd_create, name.c_str(), flags | kMfdCloexec);
  };
  return MakingCall(env, info, call, Text{"name"}, Bits{"flags"});
}

napi_value MemfdSecret(napi_env env, napi_callback_info info) {
  return MakingCall(
      env, info, [](unsigned flags) { return syscall(kMemfdSecret, flags | O_CLOEXEC); }, Bits{"flags"});
}

napi_value Eventfd(napi_env env, napi_callback_info info) {
  const auto call = [](unsigned initial, unsigned flags) {
    return eventfd(initial, static_cast<int>(flags) | EFD_CLOEXEC);
  };
  return MakingCall(env, info, call, Bits{"initial"}, Bits{"flags"});
}

napi_value Ftruncate(napi_env env, napi_callback_info info) {
  return SimpleCall(env, info, ftruncate, Fd{}, Offset{"length"});
}

napi_value Fchmod(napi_env env, napi_callback_info info) { return SimpleCall(env, info, fchmod, Fd{}, Bits{"mode"}); }

napi_value Fallocate(napi_env env, napi_callback_info info) {
  const auto call = [](int fd, unsigned mode, int64_t offset, int64_t length) {
    return fallocate(fd, static_cast<int>(mode), offset, length);
  };
  return SimpleCall(env, info, call, Fd{}, Bits{"mode"}, Offset{"offset"}, Offset{"length"});
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

napi_value Read(napi_env env, napi_callback_info info) {
  return Transfer(env, info, false, [](int fd, uint8_t* p, size_t n, int64_t) { return read(fd, p, n); });
}

napi_value Write(napi_env env, napi_callback_info info) {
  return Transfer(env, info, false, [](int fd, uint8_t* p, size_t n, int64_t) { return write(fd, p, n); });
}

napi_value Pread(napi_env env, napi_callback_info info) {
  return Transfer(env, info, true, [](int fd, uint8_t* p, size_t n, int64_t o) { return pread(fd, p, n, o); });
}

napi_value Pwrite(napi_env env, napi_callback_info info) {
  return Transfer(env, info, true, [](int fd, uint8_t* p, size_t n, int64_t o) { return pwrite(fd, p, n, o); });
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
