// The fault-safe copies as native.ts calls them.
#include "functions.h"
#include "guard.h"
#include "safe_copy.h"

namespace privmem {

namespace {

// The address is in the frame; `access` gets it with the buffer and says how many bytes were done.
template <typename Access>
napi_value Guarded(napi_env env, const char* what, Bytes bytes, Access access) {
  Frame* frame = EnvState::Of(env)->frame();
  const uintptr_t address = static_cast<uintptr_t>(frame->args[0]);
  if (!MayReach(env, what, address, bytes.length)) return nullptr;
  WatchHandlers(&frame->handlers_seen);
  frame->fault = Fault();
  return Answer(frame, static_cast<int64_t>(access(address, bytes.data, bytes.length, &frame->fault)));
}

template <typename Access>
napi_value WithBuffer(napi_env env, napi_callback_info info, const char* what, Access access) {
  const Values<1> values(env, info);
  Bytes bytes;
  return ReadBytes(env, values[0], &bytes) ? Guarded(env, what, bytes, access) : nullptr;
}

}  // namespace

napi_value CopyOut(napi_env env, napi_callback_info info) {
  return WithBuffer(env, info, "copyOut",
                    [](uintptr_t at, uint8_t* into, size_t n, Fault* fault) { return SafeRead(into, at, n, fault); });
}

napi_value CopyIn(napi_env env, napi_callback_info info) { return WithBuffer(env, info, "copyIn", SafeWrite); }

napi_value Compare(napi_env env, napi_callback_info info) { return WithBuffer(env, info, "compare", SafeCompare); }

napi_value Fill(napi_env env, napi_callback_info) {
  const Frame* frame = EnvState::Of(env)->frame();
  const uint8_t byte = static_cast<uint8_t>(frame->args[2]);
  return Guarded(env, "fill", {nullptr, static_cast<size_t>(frame->args[1])},
                 [=](uintptr_t at, uint8_t*, size_t n, Fault* fault) { return SafeFill(at, byte, n, fault); });
}

napi_value HandlersChanged(napi_env, napi_callback_info) {
  ForgetHandlers();
  return nullptr;
}

}  // namespace privmem
