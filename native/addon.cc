// The module: its functions, the names of its system calls, and the frame of the environment.
#include "functions.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  privmem::EnvState* state = privmem::EnvState::Create(env);
  if (state == nullptr) {
    Napi::Error::New(env, "privmem: the environment is shutting down").ThrowAsJavaScriptException();
    return exports;
  }
#define PRIVMEM_PROPERTY(function, name) \
  {name, nullptr, privmem::function, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  const napi_property_descriptor functions[] = {PRIVMEM_FUNCTIONS(PRIVMEM_PROPERTY)};
#undef PRIVMEM_PROPERTY
  napi_define_properties(env, exports, std::size(functions), functions);
  napi_set_named_property(env, exports, "names", privmem::CallNames(env));
  napi_set_named_property(env, exports, "frame", state->FrameBuffer());
  return exports;
}

}  // namespace

NODE_API_MODULE(privmem, Init)
