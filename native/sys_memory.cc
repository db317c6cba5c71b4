// mmap, munmap and the calls with vectors, confined to memory that was mapped here and to address space that nobody
// uses.
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>

#include "functions.h"
#include "guard.h"
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

void* At(uint64_t address) { return reinterpret_cast<void*>(address); }

uint64_t RoundUp(uint64_t length, uint64_t page) { return (length + page - 1) / page * page; }

// What MAP_FIXED may replace: memory of ours, and address space that nobody has. The latter is taken first, so that
// what another part of the process maps there meanwhile is met and not replaced.
class Place {
 public:
  bool Take(napi_env env, uint64_t address, uint64_t length) {
    const char* what = "mmap with MAP_FIXED";
    Range range;
    const Verdict verdict = Judge(env, what, address, length, &range);
    if (verdict != Verdict::kOurs) return verdict == Verdict::kKernel;
    const std::list<View*>& views = Registry::Get().views();
    if (std::any_of(views.begin(), views.end(), [&](const View* view) { return view->Overlaps(range); })) {
      return ThrowRange(env, "mmap with MAP_FIXED covers a view; unmap the range first");
    }
    for (const Range& gap : Registry::Get().Gaps(range)) {
      constexpr int kTake = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
      if (mmap(At(gap.start), gap.bytes, PROT_NONE, kTake | kNoReplace, -1, 0) != MAP_FAILED) {
        taken_.push_back(gap);
      } else if (errno == EEXIST) {
        return RefuseForeign(env, what);
      } else {
        flags_ = kNoReplace;  // the kernel says why not
      }
    }
    return true;
  }

  // To be added to the call's own.
  int flags() const { return flags_; }
  void Keep() { taken_.clear(); }
  ~Place() {
    for (const Range& gap : taken_) munmap(At(gap.start), gap.bytes);
  }

 private:
  static constexpr int kNoReplace = 0x100000;  // MAP_FIXED_NOREPLACE, which older headers do not name
  std::vector<Range> taken_;
  int flags_ = 0;
};

// process_vm_readv(2) or process_vm_writev(2) of this process: the kernel pins the pages, as it does for a device.
napi_value ProcessVm(napi_env env, napi_callback_info info, const char* what, long number) {
  const Values<1> values(env, info);
  Frame* frame = EnvState::Of(env)->frame();
  Bytes bytes;
  if (!ReadBytes(env, values[0], &bytes) || !MayReach(env, what, frame->args[0], bytes.length)) return nullptr;
  const struct iovec local = {bytes.data, bytes.length}, remote = {At(frame->args[0]), bytes.length};
  return SysResult(frame, syscall(number, getpid(), &local, 1, &remote, 1, 0));
}

}  // namespace

napi_value ProcessVmReadv(napi_env env, napi_callback_info info) {
  return ProcessVm(env, info, "processVmReadv", SYS_process_vm_readv);
}

napi_value ProcessVmWritev(napi_env env, napi_callback_info info) {
  return ProcessVm(env, info, "processVmWritev", SYS_process_vm_writev);
}

napi_value Vmsplice(napi_env env, napi_callback_info) {
  Frame* frame = EnvState::Of(env)->frame();
  const int64_t* args = frame->args;
  // From the end of a pipe that can be read, vmsplice writes to memory.
  if (!MayReach(env, "vmsplice", args[1], args[2])) return nullptr;
  const struct iovec memory = {At(args[1]), static_cast<size_t>(args[2])};
  return SysResult(frame, syscall(SYS_vmsplice, args[0], &memory, 1, args[3]));
}

napi_value Mmap(napi_env env, napi_callback_info) {
  EnvState* state = EnvState::Of(env);
  const int64_t* args = state->frame()->args;
  const uint64_t address = args[0], length = args[1];
  const int prot = static_cast<int>(args[2]), flags = static_cast<int>(args[3]), fd = static_cast<int>(args[4]);
  Registry& registry = Registry::Get();
  std::lock_guard<std::recursive_mutex> lock(registry.mutex());
  const Backing backing = BackingOf(fd, flags);
  Place place;
  if ((flags & MAP_FIXED) != 0 && !place.Take(env, address, RoundUp(length, backing.page))) return nullptr;
  void* got = mmap(At(address), length, prot, flags | place.flags(), fd, args[5]);
  if (got == MAP_FAILED) return SysResult(state->frame(), -1);
  place.Keep();
  Range range;
  if (PageRange(reinterpret_cast<uintptr_t>(got), RoundUp(length, backing.page), &range)) {
    registry.AddMapping(range, state, backing.regular);
  }
  return Answer(state->frame(), reinterpret_cast<intptr_t>(got));
}

napi_value Munmap(napi_env env, napi_callback_info) {
  Frame* frame = EnvState::Of(env)->frame();
  const uint64_t address = frame->args[0], length = frame->args[1];
  std::lock_guard<std::recursive_mutex> lock(Registry::Get().mutex());
  Range range;
  const Verdict verdict = Judge(env, "munmap", address, length, &range);
  if (verdict == Verdict::kRefused) return nullptr;
  if (verdict == Verdict::kKernel) return SysResult(frame, munmap(At(address), length));
  return Answer(frame, UnmapRange(env, range));
}

}  // namespace privmem
