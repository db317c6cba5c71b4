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

namespace privmem {

class EnvState;
struct View;

// Address space that a view may still point into after its mapping is gone; unmapped with the last reference.
class Afterlife {
 public:
  Afterlife(uintptr_t address, size_t length) : address_(address), length_(length) {}
  ~Afterlife();
  Afterlife(const Afterlife&) = delete;
  Afterlife& operator=(const Afterlife&) = delete;

 private:
  uintptr_t address_;
  size_t length_;
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
  void AddMapping(uintptr_t address, size_t length, EnvState* owner, bool regular);
  void DropMapping(uintptr_t address, size_t length);
  // The owner of the mappings that cover the whole range, or null when there is a gap or more than one owner.
  EnvState* OwnerOf(uintptr_t address, size_t length);
  bool Covers(uintptr_t address, size_t length) {
    return length <= UINTPTR_MAX - address && CoveredUpTo(address) >= address + length;
  }
  bool InMappings(const void* at) {
    return CoveredUpTo(reinterpret_cast<uintptr_t>(at)) != reinterpret_cast<uintptr_t>(at);
  }
  bool IsRegular(uintptr_t address);
  // True when every page of the range is ours, or not mapped by anybody.
  bool MayTouch(uintptr_t address, size_t length);

  void Pin(uintptr_t page) { pinned_.insert(page); }
  void Unpin(uintptr_t page) { pinned_.erase(page); }
  bool HasPinned(uintptr_t address, size_t length);

  std::list<View*>& views() { return views_; }

  // Everything that an environment left behind.
  void ReleaseAll(EnvState* owner);

 private:
  struct Mapping {
    uintptr_t end;
    EnvState* owner;
    bool regular;
  };

  // End of the unbroken stretch of our mappings that begins at `address`; `address` itself when it is not
  // ours.
  uintptr_t CoveredUpTo(uintptr_t address);
  bool ForeignIn(uintptr_t from, uintptr_t to);

  std::recursive_mutex mutex_;
  std::unordered_map<int, EnvState*> fds_;
  std::map<uintptr_t, Mapping> mappings_;
  std::unordered_set<uintptr_t> pinned_;
  std::list<View*> views_;
};

size_t PageSize();
// The range rounded out to whole pages. False when it wraps or is empty: then the kernel refuses it by
// itself.
bool PageRange(uint64_t address, uint64_t length, uintptr_t* start, size_t* bytes);

}  // namespace privmem
