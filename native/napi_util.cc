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

napi_value Number(napi_env env, double value) {
  napi_value out = nullptr;
  napi_create_double(env, value, &out);
  return out;
}

napi_value Int(napi_env env, int value) {
  napi_value out = nullptr;
  napi_create_int32(env, value, &out);
  return out;
}

napi_valuetype Args::TypeOf(size_t i) const {
  napi_valuetype type = napi_undefined;
  napi_typeof(env_, argv_[i], &type);
  return type;
}

bool Args::Absent(size_t i) const { return argc_ <= i || TypeOf(i) == napi_undefined; }

bool Args::WrongType(const char* name, const char* want) const {
  return ThrowType(env_, std::string(name) + " must be " + want);
}

void Args::NotInt32(size_t i, const char* name) const {
  if (TypeOf(i) != napi_number)
    WrongType(name, "a number");
  else
    ThrowRange(env_, std::string(name) + " must be an integer between -2^31 and 2^31-1");
}

void Args::NotBits32(size_t i, const char* name) const {
  if (TypeOf(i) != napi_number)
    WrongType(name, "a number");
  else
    ThrowRange(env_, std::string(name) + " must be an integer of 32 bits");
}

bool Args::OtherU64(size_t i, const char* name, uint64_t* out) const {
  if (TypeOf(i) == napi_number) {
    return ThrowRange(env_, std::string(name) + " must be an integer between 0 and 2^64-1 (above 2^53-1 as a bigint)");
  }
  bool lossless = false;
  if (napi_get_value_bigint_uint64(env_, argv_[i], out, &lossless) != napi_ok) {
    return WrongType(name, "a number or a bigint");
  }
  if (!lossless) return ThrowRange(env_, std::string(name) + " must be an integer between 0 and 2^64-1");
  return true;
}

bool Args::OtherS64(size_t i, const char* name, int64_t* out) const {
  if (TypeOf(i) == napi_number) {
    return ThrowRange(env_,
                      std::string(name) + " must be an integer between -2^63 and 2^63-1 (beyond 2^53 as a bigint)");
  }
  bool lossless = false;
  if (napi_get_value_bigint_int64(env_, argv_[i], out, &lossless) != napi_ok) {
    return WrongType(name, "a number or a bigint");
  }
  if (!lossless) return ThrowRange(env_, std::string(name) + " must be an integer between -2^63 and 2^63-1");
  return true;
}

bool Args::Text(size_t i, const char* name, std::string* out) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env_, argv_[i], nullptr, 0, &length) != napi_ok) return WrongType(name, "a string");
  out->resize(length + 1);
  napi_get_value_string_utf8(env_, argv_[i], &(*out)[0], length + 1, &length);
  out->resize(length);
  if (out->find('\0') != std::string::npos) return ThrowRange(env_, std::string(name) + " must not contain NUL");
  return true;
}

bool Args::Bytes(size_t i, const char* name, uint8_t** data, size_t* length) {
  napi_typedarray_type type;
  void* pointer = nullptr;
  if (napi_get_typedarray_info(env_, argv_[i], &type, length, &pointer, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array) {
    return WrongType(name, "a Uint8Array");
  }
  *data = static_cast<uint8_t*>(pointer);
  return true;
}

bool Args::Out64(size_t i, const char* name, napi_typedarray_type want, size_t need, uint64_t** out) {
  napi_typedarray_type type;
  size_t length = 0;
  void* pointer = nullptr;
  const char* wanted = want == napi_bigint64_array ? "a BigInt64Array" : "a BigUint64Array";
  if (napi_get_typedarray_info(env_, argv_[i], &type, &length, &pointer, nullptr, nullptr) != napi_ok || type != want) {
    return WrongType(name, wanted);
  }
  if (length < need) {
    return ThrowRange(
        env_, std::string(name) + " must hold " + std::to_string(need) + " values, it holds " + std::to_string(length));
  }
  *out = static_cast<uint64_t*>(pointer);
  return true;
}

bool Args::Function(size_t i, const char* name, napi_value* out) {
  if (TypeOf(i) != napi_function) return WrongType(name, "a function");
  *out = argv_[i];
  return true;
}

}  // namespace privmem
