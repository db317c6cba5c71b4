// System calls of which the kernel judges every argument by itself: one row each.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "functions.h"
#include "guard.h"
#include "safe_copy.h"

namespace privmem {

namespace {

enum Trait : uint8_t {
  kPlain = 0,
  kMakesFd = 1,
  // The first two arguments are a range of memory that must be ours:
  kChangesPages = 2,  // of pages, and the kernel refuses what does not begin at one
  kRoundsOut = 4,     // of bytes, of which the kernel takes all pages that they lie in, also when there are none
};

// What the kernel takes for the length of a buffer.
enum class Told : uint8_t {
  kNothing,      // it touches `least` bytes
  kZeroEnd,      // it stops at a zero
  kPagesBefore,  // it touches one byte for each page of the length that comes before the buffer
  kBytes,        // the argument that follows, in bytes,
  kPollFds,      // or in descriptors,
  kNodes,        // or in bits and one more, as get_mempolicy(2) wants it
};

struct Buffer {
  int8_t at = -1;  // the argument that gets its address, null when it is left out; -1: there is no such buffer
  Told told = Told::kNothing;
  uint8_t least = 0;
};

constexpr Buffer Data(int8_t at) { return {at, Told::kBytes}; }
constexpr Buffer Path(int8_t at) { return {at, Told::kZeroEnd}; }
constexpr Buffer Struct(int8_t at, uint8_t least) { return {at, Told::kNothing, least}; }
constexpr Buffer Nodes(int8_t at) { return {at, Told::kNodes}; }
// Pointers that are always null here.
constexpr Buffer Null(int8_t at) { return {at}; }

struct Row {
  const char* name;
  long number;
  uint8_t traits = kPlain;
  Buffer buffers[2] = {};
};

// By number, because C libraries of the oldest systems that we run on do not name them.
constexpr long kMemfdSecret = 447, kCachestat = 451;

constexpr Row kRows[] = {
    {"openat", SYS_openat, kMakesFd, {Path(1)}},
    {"memfd_create", SYS_memfd_create, kMakesFd, {Path(0)}},
    {"memfd_secret", kMemfdSecret, kMakesFd},
    {"eventfd2", SYS_eventfd2, kMakesFd},
    {"ftruncate", SYS_ftruncate},
    {"fchmod", SYS_fchmod},
    {"fallocate", SYS_fallocate},
    {"fstat", SYS_fstat, kPlain, {Struct(1, sizeof(struct stat))}},
    {"fstatfs", SYS_fstatfs, kPlain, {Struct(1, 120)}},
    {"lseek", SYS_lseek},
    {"read", SYS_read, kPlain, {Data(1)}},
    {"write", SYS_write, kPlain, {Data(1)}},
    {"pread64", SYS_pread64, kPlain, {Data(1)}},
    {"pwrite64", SYS_pwrite64, kPlain, {Data(1)}},
    {"cachestat", kCachestat, kPlain, {Struct(1, 16), Struct(2, 40)}},
    {"fchown", SYS_fchown},
    {"readlinkat", SYS_readlinkat, kPlain, {Path(1), Data(2)}},
    {"flock", SYS_flock},
    {"ppoll", SYS_ppoll, kPlain, {{0, Told::kPollFds}, Struct(2, 16)}},
    {"fsync", SYS_fsync},
    {"fdatasync", SYS_fdatasync},
    {"sync_file_range", SYS_sync_file_range},
    {"fadvise64", SYS_fadvise64},
    {"readahead", SYS_readahead},
    {"splice", SYS_splice, kPlain, {Null(1), Null(3)}},
    {"sendfile", SYS_sendfile, kPlain, {Null(2)}},
    {"copy_file_range", SYS_copy_file_range, kPlain, {Null(1), Null(3)}},
    {"mprotect", SYS_mprotect, kChangesPages},
    {"madvise", SYS_madvise, kChangesPages},
    {"mlock2", SYS_mlock2, kRoundsOut},
    {"munlock", SYS_munlock, kRoundsOut},
    {"msync", SYS_msync, kChangesPages},
    {"mbind", SYS_mbind, kChangesPages, {Nodes(3)}},
    {"get_mempolicy", SYS_get_mempolicy, kPlain, {Struct(0, 4), Nodes(1)}},
    {"mincore", SYS_mincore, kPlain, {{2, Told::kPagesBefore}}},
};

// False when the buffer is too short for what the kernel will touch: then a RangeError was thrown.
bool Place(napi_env env, const Buffer& buffer, const Bytes& bytes, long* args) {
  args[buffer.at] = reinterpret_cast<long>(bytes.data);
  size_t least = bytes.data == nullptr ? 0 : buffer.least;
  switch (buffer.told) {
    case Told::kNothing:
      break;
    case Told::kZeroEnd:
      if (bytes.length == 0 || bytes.data[bytes.length - 1] != 0) return ThrowRange(env, "a path must end in a zero");
      break;
    case Told::kPagesBefore: {
      const uint64_t length = static_cast<uint64_t>(args[buffer.at - 1]);
      least = length / PageSize() + (length % PageSize() != 0 ? 1 : 0);
      break;
    }
    case Told::kBytes:
      args[buffer.at + 1] = static_cast<long>(bytes.length);
      break;
    case Told::kPollFds:
      args[buffer.at + 1] = static_cast<long>(bytes.length / 8);
      break;
    case Told::kNodes:
      if (bytes.length < 8) args[buffer.at] = 0;
      args[buffer.at + 1] = static_cast<long>(bytes.length / 8 * 64 + 1);
      break;
  }
  if (bytes.length >= least) return true;
  return ThrowRange(env,
                    "a buffer must hold " + std::to_string(least) + " bytes, it holds " + std::to_string(bytes.length));
}

napi_value Make(napi_env env, const Bytes (&given)[2]) {
  EnvState* state = EnvState::Of(env);
  Frame* frame = state->frame();
  if (frame->row < 0 || frame->row >= static_cast<int64_t>(std::size(kRows))) {
    ThrowRange(env, "there is no such system call");
    return nullptr;
  }
  const Row& row = kRows[frame->row];
  long args[kFrameArgs];
  std::copy(std::begin(frame->args), std::end(frame->args), args);
  for (size_t i = 0; i < std::size(row.buffers); i++) {
    if (row.buffers[i].at >= 0 && !Place(env, row.buffers[i], given[i], args)) return nullptr;
  }
  std::unique_lock<std::recursive_mutex> lock(Registry::Get().mutex(), std::defer_lock);
  if (row.traits >= kChangesPages) lock.lock();
  const uint64_t address = args[0], length = args[1], offset = address % PageSize();
  if ((row.traits & kRoundsOut) != 0 && !MayReach(env, row.name, address - offset, length + offset)) return nullptr;
  if ((row.traits & kChangesPages) != 0) {
    Range range;
    if (Judge(env, row.name, address, length, &range) == Verdict::kRefused) return nullptr;
    // madvise(MADV_HWPOISON) sends SIGBUS to the thread that asks for it.
    WatchHandlers(&frame->handlers_seen);
  }
  const long result = syscall(row.number, args[0], args[1], args[2], args[3], args[4], args[5]);
  SysResult(frame, result);
  if (result >= 0 && (row.traits & kMakesFd) != 0) Registry::Get().AddFd(static_cast<int>(result), state);
  return nullptr;
}

}  // namespace

napi_value Call(napi_env env, napi_callback_info) { return Make(env, {}); }

napi_value CallWithBytes(napi_env env, napi_callback_info info) {
  const Values<2> values(env, info);
  Bytes given[2];
  for (size_t i = 0; i < 2; i++) {
    if (values.Given(i) && !ReadBytes(env, values[i], &given[i])) return nullptr;
  }
  return Make(env, given);
}

napi_value CallNames(napi_env env) {
  napi_value names = nullptr, name = nullptr;
  napi_create_array(env, &names);
  for (uint32_t i = 0; i < std::size(kRows); i++) {
    napi_create_string_utf8(env, kRows[i].name, NAPI_AUTO_LENGTH, &name);
    napi_set_element(env, names, i, name);
  }
  return names;
}

}  // namespace privmem
