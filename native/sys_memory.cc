// mmap and munmap, confined to memory that was mapped here and to address space that nobody uses.
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "functions.h"
#include "guard.h"
#include "registry.h"
#include "view.h"

namespace privmem {

namespace {

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

// Whether MAP_FIXED may replace what is there.
bool MayReplace(napi_env env, uint64_t address, uint64_t length) {
  const Verdict verdict = Judge(env, "mmap with MAP_FIXED", address, length);
  uintptr_t start;
  size_t bytes;
  if (verdict != Verdict::kOurs || !PageRange(address, length, &start, &bytes)) return verdict != Verdict::kRefused;
  for (const View* view : Registry::Get().views()) {
    if (view->Overlaps(start, bytes)) {
      return ThrowRange(env, "mmap with MAP_FIXED covers a view; unmap the range first");
    }
  }
  return true;
}

}  // namespace

napi_value Mmap(napi_env env, napi_callback_info) {
  EnvState* state = EnvState::Of(env);
  const int64_t* args = state->frame()->args;
  const uint64_t address = args[0], length = args[1];
  const int prot = static_cast<int>(args[2]), flags = static_cast<int>(args[3]), fd = static_cast<int>(args[4]);
  Registry& registry = Registry::Get();
  std::lock_guard<std::recursive_mutex> lock(registry.mutex());
  if ((flags & MAP_FIXED) != 0 && !MayReplace(env, address, length)) return nullptr;
  void* got = mmap(reinterpret_cast<void*>(address), length, prot, flags, fd, args[5]);
  if (got == MAP_FAILED) return SysResult(state->frame(), -1);
  uintptr_t start;
  size_t bytes;
  const Backing backing = BackingOf(fd, flags);
  if (PageRange(reinterpret_cast<uintptr_t>(got), RoundUp(length, backing.page), &start, &bytes)) {
    registry.AddMapping(start, bytes, state, backing.regular);
  }
  return Answer(state->frame(), reinterpret_cast<intptr_t>(got));
}

napi_value Munmap(napi_env env, napi_callback_info) {
  Frame* frame = EnvState::Of(env)->frame();
  const uint64_t address = frame->args[0], length = frame->args[1];
  std::lock_guard<std::recursive_mutex> lock(Registry::Get().mutex());
  const Verdict verdict = Judge(env, "munmap", address, length);
  if (verdict == Verdict::kRefused) return nullptr;
  if (verdict == Verdict::kKernel) return SysResult(frame, munmap(reinterpret_cast<void*>(address), length));
  uintptr_t start;
  size_t bytes;
  PageRange(address, length, &start, &bytes);
  return Answer(frame, UnmapRange(env, start, bytes));
}

}  // namespace privmem
