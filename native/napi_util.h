// Refusing arguments and giving results. Raw Node-API calls, because an ioctl costs about a hundred nanoseconds and
// object wrappers would cost as much again. native.ts checks what numbers may be; what is checked here keeps the
// process alive.
#pragma once
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "env_state.h"
#include "frame.h"
#include "napi.h"

namespace privmem {

// Both return false, for callers that return it.
bool ThrowRange(napi_env env, const std::string& message);
bool ThrowType(napi_env env, const std::string& message);

struct Bytes {
  uint8_t* data = nullptr;
  size_t length = 0;
};

// Of a Uint8Array; a TypeError is thrown for anything else.
bool ReadBytes(napi_env env, napi_value value, Bytes* out);

// The first N values that a function was called with.
template <size_t N>
class Values {
 public:
  Values(napi_env env, napi_callback_info info) { napi_get_cb_info(env, info, &count_, values_, nullptr, nullptr); }
  bool Given(size_t i) const { return i < count_; }
  napi_value operator[](size_t i) const { return values_[i]; }

 private:
  size_t count_ = N;
  napi_value values_[N];
};

// The answer of a function: a value or a negated errno, in the frame.
inline napi_value Answer(Frame* frame, int64_t value) {
  frame->result = static_cast<double>(value);
  frame->wide = value;
  return nullptr;
}

// The result of a system call. Must be the first thing after the call.
inline napi_value SysResult(Frame* frame, long result) { return Answer(frame, result < 0 ? -errno : result); }

}  // namespace privmem
