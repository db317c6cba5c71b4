#include "guard.h"

namespace privmem {

bool RefuseForeign(napi_env env, const char* what) {
  return ThrowRange(env, std::string(what) + " covers memory that privmem did not map");
}

Verdict Judge(napi_env env, const char* what, uint64_t address, uint64_t length, Range* range) {
  if (address % PageSize() != 0 || !PageRange(address, length, range)) return Verdict::kKernel;
  Registry& registry = Registry::Get();
  if (registry.HasPinned(*range)) {
    ThrowRange(env, std::string(what) + " covers the run page of an attached vCPU; detach it first");
    return Verdict::kRefused;
  }
  return registry.MayTouch(*range) || RefuseForeign(env, what) ? Verdict::kOurs : Verdict::kRefused;
}

bool MayReach(napi_env env, const char* what, uint64_t address, uint64_t length) {
  Range range;
  if (length == 0) return true;
  if (!PageRange(address, length, &range)) {
    return ThrowRange(env, std::string(what) + " goes beyond the end of the address space");
  }
  return Registry::Get().MayTouch(range) || RefuseForeign(env, what);
}

}  // namespace privmem
