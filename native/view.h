// ArrayBuffers that alias mapped memory, and what becomes of them when the mapping goes.
#pragma once
#include <memory>
#include <vector>

#include "napi_util.h"
#include "registry.h"

namespace privmem {

struct View {
  uintptr_t address;
  size_t length;
  EnvState* owner;
  napi_env env;
  napi_ref buffer;  // weak
  bool detached = false;
  bool Overlaps(const Range& range) const { return address < range.end() && range.start < address + length; }
  // Filled when the mapping goes before the buffer: the buffer's last user keeps the address space.
  std::vector<std::shared_ptr<void>> afterlives;
};

// munmap(2) of a page-rounded range. Views into it are detached when `env` is given; because a thread of the
// pool may still hold the old pointer, and because a buffer that was transferred cannot be revoked, the
// address space of a viewed range stays occupied by anonymous pages until the buffers are gone. Returns 0 or
// a negated errno.
int UnmapRange(napi_env env, const Range& range);

}  // namespace privmem
