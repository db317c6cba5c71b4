// The address space: mmap and its family, confined to memory that was mapped here.
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "calls.h"
#include "registry.h"
#include "view.h"

namespace privmem {

namespace {

enum class Verdict { kKernel, kOurs, kRefused };

// kKernel: the kernel refuses these arguments before it touches anything, so that its own errno is seen.
// kOurs: the range may be changed.
Verdict Judge(napi_env env, const char* what, uint64_t address, uint64_t length, bool changes) {
  uintptr_t start;
  size_t bytes;
  if (address % PageSize() != 0 || !PageRange(address, length, &start, &bytes)) return Verdict::kKernel;
  Registry& registry = Registry::Get();
  if (changes && registry.HasPinned(start, bytes)) {
    ThrowRange(env, std::string(what) + " covers the run page of an attached vCPU; detach it first");
    return Verdict::kRefused;
  }
  if (!registry.MayTouch(start, bytes)) {
    ThrowRange(env, std::string(what) + " covers memory that privmem did not map");
    return Verdict::kRefused;
  }
  return Verdict::kOurs;
}

struct Backing {
  bool regular;
  uint64_t page;  // what the kernel rounds the length up to
};

Backing BackingOf(int fd, unsigned flags) {
  constexpr unsigned kHugeShift = 26, kHugeMask = 0x3f;
  constexpr long kHugetlbfs = 0x958458F6;
  constexpr uint64_t kDefaultHuge = 2 << 20;
  const uint64_t base = PageSize();
  if ((flags & MAP_ANONYMOUS) != 0) {
    const unsigned shift = (flags >> kHugeShift) & kHugeMask;
    if ((flags & MAP_HUGETLB) == 0) return {false, base};
    return {false, shift == 0 ? kDefaultHuge : uint64_t{1} << shift};
  }
  struct stat st;
  if (fstat(fd, &st) != 0) return {true, base};
  struct statfs fs;
  const bool large = static_cast<uint64_t>(st.st_blksize) > base && fstatfs(fd, &fs) == 0;
  const bool huge = large && static_cast<long>(fs.f_type) == kHugetlbfs;
  return {S_ISREG(st.st_mode), huge ? static_cast<uint64_t>(fs.f_bsize) : base};
}

uint64_t RoundUp(uint64_t length, uint64_t page) { return (length + page - 1) / page * page; }

void* At(uint64_t address) { return reinterpret_cast<void*>(address); }

}  // namespace

napi_value Mmap(napi_env env, napi_callback_info info) {
  Args args(env, info);
  uint64_t address, length;
  unsigned prot, flags;
  int fd;
  int64_t offset;
  if (!args.U64(0, "address", &address) || !args.U64(1, "length", &length) || !args.Bits32(2, "prot", &prot) ||
      !args.Bits32(3, "flags", &flags) || !args.Int32(4, "fd", &fd) || !args.S64(5, "offset", &offset)) {
    return nullptr;
  }
  Registry& registry = Registry::Get();
  std::lock_guard<std::recursive_mutex> lock(registry.mutex());
  if ((flags & MAP_FIXED) != 0) {
    const Verdict verdict = Judge(env, "mmap with MAP_FIXED", address, length, true);
    if (verdict == Verdict::kRefused) return nullptr;
    uintptr_t start;
    size_t bytes;
    if (verdict == Verdict::kOurs && PageRange(address, length, &start, &bytes)) {
      for (const View* view : registry.views()) {
        if (view->address < start + bytes && start < view->address + view->length) {
          ThrowRange(env, "mmap with MAP_FIXED covers a view; unmap the range first");
          return nullptr;
        }
      }
    }
  }
  void* got = mmap(At(address), length, static_cast<int>(prot), static_cast<int>(flags), fd, offset);
  if (got == MAP_FAILED) return Int(env, -errno);
  uintptr_t start;
  size_t bytes;
  const Backing backing = BackingOf(fd, flags);
  if (PageRange(reinterpret_cast<uintptr_t>(got), RoundUp(length, backing.page), &start, &bytes)) {
    registry.AddMapping(start, bytes, args.state(), backing.regular);
  }
  return Number(env, static_cast<double>(reinterpret_cast<uintptr_t>(got)));
}

napi_value Munmap(napi_env env, napi_callback_info info) {
  Args args(env, info);
  uint64_t address, length;
  if (!args.U64(0, "address", &address) || !args.U64(1, "length", &length)) return nullptr;
  Registry& registry = Registry::Get();
  std::lock_guard<std::recursive_mutex> lock(registry.mutex());
  switch (Judge(env, "munmap", address, length, true)) {
    case Verdict::kRefused:
      return nullptr;
    case Verdict::kKernel:
      return SysResult(env, munmap(At(address), length));
    case Verdict::kOurs:
      break;
  }
  uintptr_t start;
  size_t bytes;
  PageRange(address, length, &start, &bytes);
  return Int(env, UnmapRange(env, start, bytes));
}

napi_value Mprotect(napi_env env, napi_callback_info info) {
  Args args(env, info);
  uint64_t address, length;
  unsigned prot;
  if (!args.U64(0, "address", &address) || !args.U64(1, "length", &length) || !args.Bits32(2, "prot", &prot)) {
    return nullptr;
  }
  std::lock_guard<std::recursive_mutex> lock(Registry::Get().mutex());
  if (Judge(env, "mprotect", address, length, true) == Verdict::kRefused) return nullptr;
  return SysResult(env, mprotect(At(address), length, static_cast<int>(prot)));
}

napi_value Madvise(napi_env env, napi_callback_info info) {
  Args args(env, info);
  uint64_t address, length;
  int advice;
  if (!args.U64(0, "address", &address) || !args.U64(1, "length", &length) || !args.Int32(2, "advice", &advice)) {
    return nullptr;
  }
  std::lock_guard<std::recursive_mutex> lock(Registry::Get().mutex());
  if (Judge(env, "madvise", address, length, true) == Verdict::kRefused) return nullptr;
  return SysResult(env, madvise(At(address), length, advice));
}

napi_value Mincore(napi_env env, napi_callback_info info) {
  Args args(env, info);
  uint64_t address, length;
  uint8_t* vec;
  size_t room;
  if (!args.U64(0, "address", &address) || !args.U64(1, "length", &length) || !args.Bytes(2, "vec", &vec, &room)) {
    return nullptr;
  }
  const uint64_t pages = length / PageSize() + (length % PageSize() != 0 ? 1 : 0);
  if (room < pages) {
    ThrowRange(env, "vec must hold one byte for each of " + std::to_string(pages) + " pages, it holds " +
                        std::to_string(room));
    return nullptr;
  }
  return SysResult(env, mincore(At(address), length, vec));
}

}  // namespace privmem
