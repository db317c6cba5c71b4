// The module: its functions, the names of its system calls, and the frame of the environment.
#include "functions.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  privmem::EnvState* state = privmem::EnvState::Create(env);
  if (state == nullptr) {
    Napi::Error::New(env, "privmem: the environment is shutting down").ThrowAsJavaScriptException();
    return exports;
  }
  struct Entry {
    const char* name;
    napi_callback call;
  };
  const Entry entries[] = {
#define PRIVMEM_ENTRY(function, name) {name, privmem::function},
      PRIVMEM_FUNCTIONS(PRIVMEM_ENTRY)
#undef PRIVMEM_ENTRY
  };
  for (const Entry& entry : entries) {
    napi_value function = nullptr;
    napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.call, nullptr, &function);
    napi_set_named_property(env, exports, entry.name, function);
  }
  napi_set_named_property(env, exports, "names", privmem::CallNames(env));
  napi_set_named_property(env, exports, "frame", state->FrameBuffer());
  return exports;
}

}  // namespace

NODE_API_MODULE(privmem, Init)
