#include "registry.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "view.h"

namespace privmem {

Registry& Registry::Get() {
  // Never destroyed: finalizers and threads may outlive static destruction at exit.
  static Registry* registry = new Registry();
  return *registry;
}

size_t PageSize() {
  static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

bool PageRange(uint64_t address, uint64_t length, Range* out) {
#if defined(__aarch64__)
  address &= (uint64_t{1} << 56) - 1;  // the processor ignores the top byte of an access, so it names the same memory
#endif
  const uint64_t mask = PageSize() - 1;
  const uint64_t end = address + length;
  if (length == 0 || end < address || end > UINT64_MAX - mask) return false;
  out->start = address & ~mask;
  out->bytes = ((end + mask) & ~mask) - out->start;
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

void Registry::AddMapping(const Range& range, EnvState* owner, bool regular) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  DropMapping(range);
  mappings_[range.start] = {range.end(), owner, regular};
}

void Registry::DropMapping(const Range& range) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  auto it = mappings_.upper_bound(range.start);
  if (it != mappings_.begin()) --it;
  while (it != mappings_.end() && it->first < range.end()) {
    const uintptr_t from = it->first;
    const Mapping old = it->second;
    if (old.end <= range.start) {
      ++it;
      continue;
    }
    it = mappings_.erase(it);
    if (from < range.start) mappings_[from] = {range.start, old.owner, old.regular};
    if (old.end > range.end()) mappings_[range.end()] = {old.end, old.owner, old.regular};
  }
}

std::map<uintptr_t, Registry::Mapping>::const_iterator Registry::Containing(uintptr_t address) const {
  auto it = mappings_.upper_bound(address);
  if (it == mappings_.begin() || (--it)->second.end <= address) return mappings_.end();
  return it;
}

EnvState* Registry::OwnerOf(const Range& range) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  const auto first = Containing(range.start);
  if (first == mappings_.end()) return nullptr;
  for (uintptr_t at = range.start; at < range.end();) {
    const auto it = Containing(at);
    if (it == mappings_.end() || it->second.owner != first->second.owner) return nullptr;
    at = it->second.end;
  }
  return first->second.owner;
}

bool Registry::IsRegular(uintptr_t address) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  const auto it = Containing(address);
  return it != mappings_.end() && it->second.regular;
}

uintptr_t Registry::CoveredUpTo(uintptr_t address) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  auto it = Containing(address);
  uintptr_t at = address;
  for (; it != mappings_.end() && it->first <= at; ++it) at = it->second.end;
  return at;
}

std::vector<Range> Registry::Gaps(const Range& range) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  std::vector<Range> gaps;
  for (uintptr_t at = range.start; (at = CoveredUpTo(at)) < range.end();) {
    const auto next = mappings_.lower_bound(at);
    const uintptr_t end = next == mappings_.end() ? range.end() : std::min(next->first, range.end());
    gaps.push_back({at, end - at});
    at = end;
  }
  return gaps;
}

// Whether any part of the range that is mapped at all is not ours.
bool Registry::ForeignIn(const Range& range) {
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return true;
  bool foreign = false;
  char line[512];
  while (!foreign && std::fgets(line, sizeof line, maps) != nullptr) {
    unsigned long low, high;
    if (std::sscanf(line, "%lx-%lx", &low, &high) != 2) continue;
    const uintptr_t a = std::max<uintptr_t>(low, range.start);
    const uintptr_t b = std::min<uintptr_t>(high, range.end());
    foreign = a < b && CoveredUpTo(a) < b;
  }
  std::fclose(maps);
  return foreign;
}

bool Registry::MayTouch(const Range& range) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  return Covers(range) || !ForeignIn(range);
}

bool Registry::HasPinned(const Range& range) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  return std::any_of(pinned_.begin(), pinned_.end(), [&](uintptr_t page) { return range.Holds(page); });
}

void Registry::ReleaseAll(EnvState* owner) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  std::vector<Range> ranges;
  for (const auto& [start, mapping] : mappings_) {
    if (mapping.owner == owner) ranges.push_back({start, mapping.end - start});
  }
  for (const Range& range : ranges) UnmapRange(nullptr, range);
  for (auto it = fds_.begin(); it != fds_.end();) {
    if (it->second != owner) {
      ++it;
      continue;
    }
    close(it->first);
    it = fds_.erase(it);
  }
}

}  // namespace privmem
