#include "napi_util.h"

namespace privmem {

bool ThrowRange(napi_env env, const std::string& message) {
  napi_throw_range_error(env, nullptr, message.c_str());
  return false;
}

bool ThrowType(napi_env env, const std::string& message) {
  napi_throw_type_error(env, nullptr, message.c_str());
  return false;
}

bool ReadBytes(napi_env env, napi_value value, Bytes* out) {
  napi_typedarray_type type;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &out->length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array) {
    return ThrowType(env, "a buffer must be a Uint8Array");
  }
  out->data = static_cast<uint8_t*>(data);
  return true;
}

}  // namespace privmem
