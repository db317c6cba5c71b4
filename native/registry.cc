#include "registry.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <vector>

#include "view.h"

namespace privmem {

Afterlife::~Afterlife() { munmap(reinterpret_cast<void*>(address_), length_); }

Registry& Registry::Get() {
  // Never destroyed: finalizers and threads may outlive static destruction at exit.
  static Registry* registry = new Registry();
  return *registry;
}

size_t PageSize() {
  static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

bool PageRange(uint64_t address, uint64_t length, uintptr_t* start, size_t* bytes) {
#if defined(__aarch64__)
  address &= (uint64_t{1} << 56) - 1;  // the processor ignores the top byte of an access, so it names the same memory
#endif
  const uint64_t mask = PageSize() - 1;
  const uint64_t end = address + length;
  if (length == 0 || end < address || end > UINT64_MAX - mask) return false;
  *start = address & ~mask;
  *bytes = ((end + mask) & ~mask) - *start;
  return true;
}

void Registry::AddFd(int fd, EnvState* owner) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  fds_[fd] = owner;
}

bool Registry::OwnsFd(int fd) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  return fds_.count(fd) != 0;
}

void Registry::DropFd(int fd) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  fds_.erase(fd);
}

void Registry::AddMapping(uintptr_t address, size_t length, EnvState* owner, bool regular) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  DropMapping(address, length);
  mappings_[address] = {address + length, owner, regular};
}

void Registry::DropMapping(uintptr_t address, size_t length) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  const uintptr_t end = address + length;
  auto it = mappings_.upper_bound(address);
  if (it != mappings_.begin()) --it;
  while (it != mappings_.end() && it->first < end) {
    const uintptr_t from = it->first;
    const Mapping old = it->second;
    if (old.end <= address) {
      ++it;
      continue;
    }
    it = mappings_.erase(it);
    if (from < address) mappings_[from] = {address, old.owner, old.regular};
    if (old.end > end) mappings_[end] = {old.end, old.owner, old.regular};
  }
}

EnvState* Registry::OwnerOf(uintptr_t address, size_t length) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  const uintptr_t end = address + length;
  auto it = mappings_.upper_bound(address);
  if (it == mappings_.begin()) return nullptr;
  --it;
  EnvState* owner = it->second.owner;
  for (uintptr_t at = address; at < end; ++it) {
    if (it == mappings_.end() || it->first > at || it->second.end <= at || it->second.owner != owner) return nullptr;
    at = it->second.end;
  }
  return owner;
}

bool Registry::IsRegular(uintptr_t address) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  auto it = mappings_.upper_bound(address);
  if (it == mappings_.begin()) return false;
  --it;
  return it->second.end > address && it->second.regular;
}

uintptr_t Registry::CoveredUpTo(uintptr_t address) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  auto it = mappings_.upper_bound(address);
  if (it == mappings_.begin()) return address;
  --it;
  uintptr_t at = address;
  for (; it != mappings_.end() && it->first <= at && it->second.end > at; ++it) at = it->second.end;
  return at;
}

// Whether any part of [from, to) that is mapped at all is not ours.
bool Registry::ForeignIn(uintptr_t from, uintptr_t to) {
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return true;
  bool foreign = false;
  char line[512];
  while (!foreign && std::fgets(line, sizeof line, maps) != nullptr) {
    unsigned long low, high;
    if (std::sscanf(line, "%lx-%lx", &low, &high) != 2) continue;
    const uintptr_t a = low > from ? low : from;
    const uintptr_t b = high < to ? high : to;
    foreign = a < b && CoveredUpTo(a) < b;
  }
  std::fclose(maps);
  return foreign;
}

bool Registry::MayTouch(uintptr_t address, size_t length) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  return Covers(address, length) || !ForeignIn(address, address + length);
}

bool Registry::HasPinned(uintptr_t address, size_t length) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  for (const uintptr_t page : pinned_) {
    if (page >= address && page - address < length) return true;
  }
  return false;
}

void Registry::ReleaseAll(EnvState* owner) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  std::vector<std::pair<uintptr_t, uintptr_t>> ranges;
  for (const auto& [start, mapping] : mappings_) {
    if (mapping.owner == owner) ranges.emplace_back(start, mapping.end);
  }
  for (const auto& [start, end] : ranges) UnmapRange(nullptr, start, end - start);
  std::vector<int> fds;
  for (const auto& [fd, by] : fds_) {
    if (by == owner) fds.push_back(fd);
  }
  for (const int fd : fds) {
    fds_.erase(fd);
    close(fd);
  }
}

}  // namespace privmem
