// What keeps a call with an address away from memory that others in this process use.
#pragma once
#include "napi_util.h"
#include "registry.h"

namespace privmem {

enum class Verdict { kKernel, kOurs, kRefused };

// For calls that change pages. kKernel: the kernel refuses these arguments before it touches anything, so that its own
// errno is seen. kOurs: `range` may be changed. kRefused: a RangeError was thrown. The registry must be locked until
// the call is over.
Verdict Judge(napi_env env, const char* what, uint64_t address, uint64_t length, Range* range);

// Throws; always false.
bool RefuseForeign(napi_env env, const char* what);

// For calls that reach bytes. False when a RangeError was thrown.
bool MayReach(napi_env env, const char* what, uint64_t address, uint64_t length);

}  // namespace privmem
