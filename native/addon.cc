// The module: one table of functions for each environment, with the environment's state as their data.
#include "calls.h"
#include "env_state.h"

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
      PRIVMEM_CALLS(PRIVMEM_ENTRY)
#undef PRIVMEM_ENTRY
  };
  for (const Entry& entry : entries) {
    napi_value function = nullptr;
    napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.call, state, &function);
    napi_set_named_property(env, exports, entry.name, function);
  }
  return exports;
}

}  // namespace

NODE_API_MODULE(privmem, Init)
