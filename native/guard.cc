#include "guard.h"

#include "registry.h"

namespace privmem {

Verdict Judge(napi_env env, const char* what, uint64_t address, uint64_t length) {
  uintptr_t start;
  size_t bytes;
  if (address % PageSize() != 0 || !PageRange(address, length, &start, &bytes)) return Verdict::kKernel;
  Registry& registry = Registry::Get();
  if (registry.HasPinned(start, bytes)) {
    ThrowRange(env, std::string(what) + " covers the run page of an attached vCPU; detach it first");
    return Verdict::kRefused;
  }
  if (registry.MayTouch(start, bytes)) return Verdict::kOurs;
  ThrowRange(env, std::string(what) + " covers memory that privmem did not map");
  return Verdict::kRefused;
}

bool MayReach(napi_env env, const char* what, uint64_t address, uint64_t length) {
  uintptr_t start;
  size_t bytes;
  if (length == 0) return true;
  if (!PageRange(address, length, &start, &bytes)) {
    return ThrowRange(env, std::string(what) + " goes beyond the end of the address space");
  }
  if (Registry::Get().MayTouch(start, bytes)) return true;
  return ThrowRange(env, std::string(what) + " covers memory that privmem did not map");
}

}  // namespace privmem
