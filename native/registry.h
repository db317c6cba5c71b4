// What this process got through the addon: descriptors and mappings, each with the environment that made it.
//
// JavaScript hands in plain numbers. Closing a descriptor of the event loop or unmapping the heap would kill
// the process, so calls that destroy or overwrite are confined to what was made here, and to address space
// that nobody uses. All else is left to the kernel.
#pragma once
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace privmem {

class EnvState;
struct View;

// Whole pages.
struct Range {
  uintptr_t start;
  size_t bytes;
  uintptr_t end() const { return start + bytes; }
  bool Holds(uintptr_t at) const { return at >= start && at - start < bytes; }
};

class Registry {
 public:
  static Registry& Get();

  // Held by callers across a check and the system call that depends on it.
  std::recursive_mutex& mutex() { return mutex_; }

  void AddFd(int fd, EnvState* owner);
  bool OwnsFd(int fd);
  void DropFd(int fd);

  // `regular`: backed by a file that can be truncated, so that its pages may vanish.
  void AddMapping(const Range& range, EnvState* owner, bool regular);
  void DropMapping(const Range& range);
  // The owner of the mappings that cover the whole range, or null when there is a gap or more than one owner.
  EnvState* OwnerOf(const Range& range);
  bool Covers(const Range& range) { return CoveredUpTo(range.start) >= range.end(); }
  bool InMappings(const void* at) {
    return CoveredUpTo(reinterpret_cast<uintptr_t>(at)) != reinterpret_cast<uintptr_t>(at);
  }
  // The parts of the range that are not ours.
  std::vector<Range> Gaps(const Range& range);
  bool IsRegular(uintptr_t address);
  // True when every page of the range is ours, or not mapped by anybody.
  bool MayTouch(const Range& range);

  void Pin(uintptr_t page) { pinned_.insert(page); }
  void Unpin(uintptr_t page) { pinned_.erase(page); }
  bool HasPinned(const Range& range);

  std::list<View*>& views() { return views_; }

  // Everything that an environment left behind.
  void ReleaseAll(EnvState* owner);

 private:
  struct Mapping {
    uintptr_t end;
    EnvState* owner;
    bool regular;
  };

  // The mapping that `address` lies in, or the end.
  std::map<uintptr_t, Mapping>::const_iterator Containing(uintptr_t address) const;
  // End of the unbroken stretch of our mappings that begins at `address`; `address` itself when it is not
  // ours.
  uintptr_t CoveredUpTo(uintptr_t address);
  bool ForeignIn(const Range& range);

  std::recursive_mutex mutex_;
  std::unordered_map<int, EnvState*> fds_;
  std::map<uintptr_t, Mapping> mappings_;
  std::unordered_set<uintptr_t> pinned_;
  std::list<View*> views_;
};

size_t PageSize();
// The range rounded out to whole pages. False when it wraps or is empty: then the kernel refuses it by
// itself.
bool PageRange(uint64_t address, uint64_t length, Range* out);

}  // namespace privmem
